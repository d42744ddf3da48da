#include "interop/towers.h"

#include <cmath>
#include <optional>

#include "base/error.h"

namespace triptych::interop {

void link_encoder(ConfigLinks& links, const std::string& section, const std::string& place,
                  const EncoderDefaults& defaults) {
  links.integer(section + ".width", place + "hidden_size", defaults.width);
  links.integer(section + ".layers", place + "num_hidden_layers", defaults.layers);
  links.integer(section + ".heads", place + "num_attention_heads", defaults.heads);
  links.integer(section + ".feed_forward", place + "intermediate_size", defaults.feed_forward);
  links.word(
      section + ".activation", place + "hidden_act",
      {{"gelu", "gelu"}, {"gelu_tanh", "gelu_pytorch_tanh"}, {"gelu_tanh", "gelu_new"}, {"gelu_quick", "quick_gelu"}},
      defaults.activation);
  links.number(section + ".norm_epsilon", place + "layer_norm_eps", defaults.epsilon);
  links.ours_free({section + ".drop_path"});
}

void link_patches(ConfigLinks& links, const std::string& place, int64_t size, int64_t patch) {
  links.integer("model.image.size", place + "image_size", size);
  links.integer("model.image.patch", place + "patch_size", patch);
  links.theirs_is(place + "num_channels", 3);
}

namespace {

// A side of a square that is given as a number, or as both sides; 0: it is neither.
int64_t square_side(const nlohmann::json& size) {
  if (size.is_number_unsigned()) return size.get<int64_t>();
  if (!size.is_object() || !size.contains("height") || !size.contains("width") || size["height"] != size["width"]) {
    return 0;
  }
  return size["height"].is_number_unsigned() ? size["height"].get<int64_t>() : 0;
}

void import_fit(ConfigLinks& links, const Preparation& usual) {
  using nlohmann::json;
  const std::optional<json> size = links.read("preprocessor.size"), crop = links.read("preprocessor.do_center_crop");
  const std::optional<json> crop_size = links.read("preprocessor.crop_size");
  const bool crops = crop ? *crop == true : usual.fit == "crop";
  links.set("data.fit", std::string(crops ? "crop" : "stretch"));
  const int64_t side = links.ours().integer("model.image.size");
  int64_t resized = side;  // the shorter side, or both
  if (size && size->is_object() && size->contains("shortest_edge")) {
    const json& edge = (*size)["shortest_edge"];
    resized = edge.is_number_unsigned() ? edge.get<int64_t>() : 0;
    if (!crops) resized = 0;
  } else if (size) {
    resized = square_side(*size);
  }
  if (resized != side || (crops && crop_size && square_side(*crop_size) != side)) {
    links.note(
        fmt::format("pictures are prepared in another way there: size {}, crop_size {}; here the square in the "
                    "middle, or all of a picture, is resized to {} straight away",
                    size.value_or(json()).dump().substr(0, 80), crop_size.value_or(json()).dump().substr(0, 80), side));
  }
}

}  // namespace

void link_preprocessor(ConfigLinks& links, std::string_view processor, const Preparation& usual) {
  links.numbers("model.image.pixel_mean", "preprocessor.image_mean", usual.mean);
  links.numbers("model.image.pixel_std", "preprocessor.image_std", usual.std);
  links.theirs_is("preprocessor.do_normalize", true);
  links.theirs_is("preprocessor.do_rescale", true);
  links.theirs_is("preprocessor.do_resize", true);
  if (links.imports()) {
    if (!links.read("preprocessor")) {
      links.note("there is no preprocessor_config.json: pictures are prepared as this family's usually are");
    }
    import_fit(links, usual);
    const int64_t resample = links.read_integer("preprocessor.resample", usual.filter == "cubic" ? 3 : 2);
    if (resample != 2 && resample != 3) {
      links.problem(fmt::format("preprocessor.resample must be 2 or 3, PIL's BILINEAR or BICUBIC, found {}", resample));
    }
    links.set("data.filter", std::string(resample == 3 ? "cubic" : "linear"));
    const double factor = links.read_number("preprocessor.rescale_factor", 1.0 / 255);
    if (std::abs(factor * 255 - 1) > 1e-6) {
      links.problem(fmt::format("preprocessor.rescale_factor must be 1/255, found {}", factor));
    }
    links.theirs_free({"preprocessor.do_convert_rgb", "preprocessor.image_processor_type",
                       "preprocessor.feature_extractor_type", "preprocessor.processor_class"});
    return;
  }
  const int64_t side = links.our_integer("model.image.size");
  const bool crops = links.our_word("data.fit") == "crop";
  links.write("preprocessor.image_processor_type", std::string(processor));
  links.write("preprocessor.do_convert_rgb", true);
  links.write("preprocessor.rescale_factor", 1.0 / 255);
  links.write("preprocessor.resample", links.our_word("data.filter") == "cubic" ? 3 : 2);
  links.write("preprocessor.do_center_crop", crops);
  if (crops) {
    links.write("preprocessor.size", {{"shortest_edge", side}});
    links.write("preprocessor.crop_size", {{"height", side}, {"width", side}});
  } else {
    links.write("preprocessor.size", {{"height", side}, {"width", side}});
  }
}

void link_common_keys(ConfigLinks& links, const std::string& place) {
  if (!links.imports()) return;
  // Of PretrainedConfig: how results are wrapped, how texts were generated, where the files came from.
  constexpr std::string_view kKeys[] = {"architectures",
                                        "transformers_version",
                                        "torch_dtype",
                                        "dtype",
                                        "_name_or_path",
                                        "initializer_range",
                                        "initializer_factor",
                                        "model_type",
                                        "bos_token_id",
                                        "eos_token_id",
                                        "pad_token_id",
                                        "sep_token_id",
                                        "decoder_start_token_id",
                                        "use_cache",
                                        "return_dict",
                                        "output_attentions",
                                        "output_hidden_states",
                                        "torchscript",
                                        "use_bfloat16",
                                        "is_encoder_decoder",
                                        "max_length",
                                        "min_length",
                                        "do_sample",
                                        "early_stopping",
                                        "num_beams",
                                        "num_beam_groups",
                                        "diversity_penalty",
                                        "temperature",
                                        "top_k",
                                        "top_p",
                                        "typical_p",
                                        "repetition_penalty",
                                        "length_penalty",
                                        "no_repeat_ngram_size",
                                        "encoder_no_repeat_ngram_size",
                                        "bad_words_ids",
                                        "num_return_sequences",
                                        "output_scores",
                                        "return_dict_in_generate",
                                        "forced_bos_token_id",
                                        "forced_eos_token_id",
                                        "remove_invalid_values",
                                        "exponential_decay_length_penalty",
                                        "suppress_tokens",
                                        "begin_suppress_tokens",
                                        "finetuning_task",
                                        "task_specific_params.*",
                                        "problem_type",
                                        "prefix",
                                        "tokenizer_class",
                                        "chunk_size_feed_forward",
                                        "tf_legacy_loss",
                                        "gradient_checkpointing",
                                        "attn_implementation",
                                        "_attn_implementation_autoset",
                                        "pruned_heads",
                                        "id2label.*",
                                        "label2id.*",
                                        "transformers.js_config.*"};
  for (const std::string_view key : kKeys) {
    const std::string path = place + std::string(key);
    links.theirs_free({path});
  }
}

Stack stack_of(const ModelKeys& ours, const std::string& section) {
  return {.width = ours.integer(section + ".width"),
          .layers = ours.integer(section + ".layers"),
          .feed_forward = ours.integer(section + ".feed_forward")};
}

int64_t image_sequence(const ModelKeys& ours, bool class_token) {
  const int64_t across = ours.integer("model.image.size") / ours.integer("model.image.patch");
  return across * across + (class_token ? 1 : 0);
}

Dims patch_weight(const ModelKeys& ours) {
  const int64_t patch = ours.integer("model.image.patch");
  return {ours.integer("model.image.width"), 3, patch, patch};
}

void add_blocks(TensorTable& table, const std::string& ours, const std::string& theirs, const Stack& stack,
                const BlockNames& names) {
  const int64_t h = stack.width;
  for (int64_t i = 0; i < stack.layers; ++i) {
    const std::string mine = fmt::format("{}.blocks.{}", ours, i);
    const auto other = [&](std::string_view part) { return fmt::format("{}.{}.{}", theirs, i, part); };
    table.norm(mine + ".attention.norm", other(names.attention_norm), h);
    for (const auto& [part, shape] : {std::pair(".weight", Dims{h, h}), std::pair(".bias", Dims{h})}) {
      table.stacked(mine + ".attention.qkv" + part, shape,
                    {other(names.query) + part, other(names.key) + part, other(names.value) + part});
    }
    table.product(mine + ".attention.out", other(names.out), h, h);
    table.norm(mine + ".feed_forward.norm", other(names.feed_forward_norm), h);
    table.product(mine + ".feed_forward.in", other(names.inner), stack.feed_forward, h);
    table.product(mine + ".feed_forward.out", other(names.outer), h, stack.feed_forward);
  }
}

}  // namespace triptych::interop
