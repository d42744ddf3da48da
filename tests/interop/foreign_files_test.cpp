#include <filesystem>
#include <functional>
#include <string>

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint_reader.h"
#include "interop/export_model.h"
#include "interop/import_model.h"
#include "interop/small_models.h"
#include "interop/tensor_files.h"
#include "tasks/standard_tasks.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

SmallModel model_of(const Family& family) {
  for (SmallModel& model : small_models()) {
    if (model.family == &family) return model;
  }
  throw std::runtime_error("no such model");
}

class ForeignFiles : public ::testing::Test {
 protected:
  ImportResult import(const fs::path& from, Library library = Library::kHuggingFace, const std::string& out = "ours") {
    return import_model({.library = library, .from = from, .out = folder_ / out}, standard_tasks());
  }
  // What is thrown says all of these, and nothing was written.
  void expect_refused(const std::vector<std::string>& parts, const fs::path& from,
                      Library library = Library::kHuggingFace) {
    try {
      import(from, library);
      ADD_FAILURE() << "it was imported";
    } catch (const std::exception& error) {
      for (const std::string& part : parts) {
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << "no `" << part << "` in\n"
                                                                           << error.what();
      }
    }
    EXPECT_FALSE(fs::exists(folder_ / "ours"));
  }
  // One of our parameters, as it was imported.
  std::vector<float> parameter(const std::string& name, const std::string& out = "ours") {
    CheckpointReader reader = CheckpointReader::open(folder_ / out, "latest");
    const Dims shape = reader.manifest().tensors.at(name).shape;
    std::vector<float> values(static_cast<std::size_t>(volume(shape)));
    reader.read(
        {.name = name, .dtype = DType::kFloat32, .global_shape = shape, .begin = Dims(shape.size(), 0), .shape = shape},
        reinterpret_cast<std::byte*>(values.data()));
    return values;
  }
  void write_config(const json& config, const std::string& folder = "theirs") {
    write_file_atomically(folder_ / folder / "config.json", config.dump());
  }

  ScratchFolder folder_;
};

TEST_F(ForeignFiles, KeysThatNothingHereHasAreNamedTogether) {
  SmallModel model = model_of(kClipOfHuggingFace);
  write_model(folder_ / "theirs", model);
  model.config["vision_config"]["num_channels"] = 4;
  model.config["vision_config"]["hidden_act"] = "relu";
  model.config["text_config"]["num_hidden_layers"] = -3;
  model.config["text_config"]["vocab_size"] = "many";
  write_config(model.config);
  expect_refused({"vision_config.num_channels must be 3, found 4", "vision_config.hidden_act must be one of gelu",
                  "found \"relu\"", "text_config.num_hidden_layers must be a whole number", "found -3",
                  "text_config.vocab_size", "\"many\""},
                 folder_ / "theirs");
}

TEST_F(ForeignFiles, SizesThatOursRefusesAreNamedBeforeAnythingIsAllocated) {
  SmallModel model = model_of(kGpt2);
  write_model(folder_ / "theirs", model);
  model.config["n_layer"] = 2000000000;
  model.config["n_embd"] = 2000000000;
  write_config(model.config);
  expect_refused({"model.text.layers", "at most 1024", "model.text.width"}, folder_ / "theirs");
}

TEST_F(ForeignFiles, KeysThatChangeNoOutputAreNotes) {
  SmallModel model = model_of(kBert);
  write_model(folder_ / "theirs", model);
  model.config["a_new_key"] = {{"deep", 3}};
  model.config["transformers_version"] = "5.24.0";
  write_config(model.config);
  const ImportResult result = import(folder_ / "theirs");
  ASSERT_EQ(result.notes.size(), 2u) << fmt::format("{}", fmt::join(result.notes, "\n"));
  EXPECT_NE(result.notes[0].find("no counterpart: a_new_key.deep = 3"), std::string::npos) << result.notes[0];
  EXPECT_EQ(result.notes[0].find("transformers_version"), std::string::npos);
  EXPECT_NE(result.notes[1].find("tokenizer"), std::string::npos);
}

// Nobody vouches for a config: whatever stands in the place of one of its values, it is read or refused in words.
TEST_F(ForeignFiles, ValuesOfAnyKindAreReadOrRefused) {
  const json values[] = {nullptr, true, 0, -1, 7, 1e300, uint64_t{1} << 63, "x", json::array(), {{"a", 1}}};
  for (const SmallModel& model : small_models()) {
    write_model(folder_ / "theirs", model);
    const bool is_open_clip = model.family->library == Library::kOpenClip;
    const fs::path path = folder_ / "theirs" / (is_open_clip ? "open_clip_config.json" : "config.json");
    const json flat = model.config.flatten();
    for (const auto& [pointer, old] : flat.items()) {
      for (const json& value : values) {
        json config = model.config;
        config[json::json_pointer(pointer)] = value;
        write_file_atomically(path, config.dump());
        fs::remove_all(folder_ / "ours");
        try {
          import(folder_ / "theirs", model.family->library);
        } catch (const Error& error) {
          EXPECT_NE(error.kind(), ErrorKind::kInternal) << pointer << " = " << value << ": " << error.what();
        }
      }
    }
    fs::remove_all(folder_ / "theirs");
  }
}

TEST_F(ForeignFiles, AnotherModelIsNamed) {
  write_model(folder_ / "theirs", model_of(kVit));
  write_config({{"model_type", "resnet"}});
  expect_refused({"model_type must be one of clip, siglip, vit, bert, gpt2, llama", "\"resnet\""}, folder_ / "theirs");
  write_file_atomically(folder_ / "theirs" / "config.json", "[1, 2]");
  expect_refused({"must hold a JSON object"}, folder_ / "theirs");
  write_file_atomically(folder_ / "theirs" / "config.json", std::string(1000, '['));
  expect_refused({"config.json"}, folder_ / "theirs");
  fs::remove(folder_ / "theirs" / "config.json");
  expect_refused({"--model-config"}, folder_ / "theirs");
}

TEST_F(ForeignFiles, TowersOfOtherLibrariesInOpenClipAreRefused) {
  SmallModel model = model_of(kClipOfOpenClip);
  model.config["model_cfg"]["vision_cfg"]["timm_model_name"] = "vit_base_patch16_siglip_224";
  fs::create_directories(folder_ / "theirs");
  write_tensors<float>(folder_ / "theirs" / "open_clip_model.safetensors", {});
  write_file_atomically(folder_ / "theirs" / "open_clip_config.json", model.config.dump());
  expect_refused({"tower of another kind"}, folder_ / "theirs", Library::kOpenClip);
}

TEST_F(ForeignFiles, WeightsThatRunCodeAreRefused) {
  fs::create_directories(folder_ / "theirs");
  write_file_atomically(folder_ / "theirs" / "pytorch_model.bin", "PK");
  expect_refused({"safetensors", "pytorch_model.bin", "pickle"}, folder_ / "theirs");
  expect_refused({"save them as safetensors"}, folder_ / "theirs" / "pytorch_model.bin");
  expect_refused({"no such file"}, folder_ / "nowhere");
}

TEST_F(ForeignFiles, NothingThatIsThereIsOverwritten) {
  write_model(folder_ / "theirs", model_of(kVit));
  fs::create_directories(folder_ / "ours");
  write_file_atomically(folder_ / "ours" / "mine.txt", "mine");
  EXPECT_THROW(import(folder_ / "theirs"), UserError);
  EXPECT_EQ(read_text_file(folder_ / "ours" / "mine.txt", 10), "mine");
}

TEST_F(ForeignFiles, HalvesAreReadExactly) {
  const SmallModel model = model_of(kLlama);
  write_model(folder_ / "theirs", model);
  auto tensors = tensors_of(model);
  write_tensors<BFloat16>(folder_ / "theirs" / "model.safetensors", tensors);
  import(folder_ / "theirs");
  const std::vector<float>& whole = tensors.at("model.embed_tokens.weight").second;
  const std::vector<float> read = parameter("text.embed.tokens.weight");
  for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_EQ(read[i], static_cast<float>(BFloat16(whole[i])));
  write_tensors<Float16>(folder_ / "theirs" / "model.safetensors", tensors);
  import(folder_ / "theirs", Library::kHuggingFace, "again");
  const std::vector<float> again = parameter("text.embed.tokens.weight", "again");
  for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_EQ(again[i], static_cast<float>(Float16(whole[i])));
  write_tensors<double>(folder_ / "theirs" / "model.safetensors", tensors);
  try {
    import(folder_ / "theirs", Library::kHuggingFace, "third");
    ADD_FAILURE() << "float64 would be rounded";
  } catch (const WorldError& error) {
    EXPECT_NE(std::string(error.what()).find("found float64"), std::string::npos) << error.what();
  }
}

// Queries, keys and values that lie apart there are one parameter here, in this order; a product with its inputs first
// is turned.
TEST_F(ForeignFiles, PartsAndTurnedProductsAreWhereTheyBelong) {
  const SmallModel model = model_of(kGpt2);
  write_model(folder_ / "theirs", model);
  const auto tensors = tensors_of(model);
  import(folder_ / "theirs");
  const std::vector<float>& theirs = tensors.at("transformer.h.1.attn.c_attn.weight").second;  // [8, 24]
  const std::vector<float> ours = parameter("text.blocks.1.attention.qkv.weight");             // [3, 8, 8]
  for (std::size_t input = 0; input < 8; ++input) {
    for (std::size_t output = 0; output < 24; ++output)
      EXPECT_EQ(ours[output * 8 + input], theirs[input * 24 + output]);
  }
  write_model(folder_ / "llama", model_of(kLlama));
  const auto of_llama = tensors_of(model_of(kLlama));
  import(folder_ / "llama", Library::kHuggingFace, "from_llama");
  std::vector<float> expected = of_llama.at("model.layers.0.self_attn.k_proj.weight").second;
  const std::vector<float>& values = of_llama.at("model.layers.0.self_attn.v_proj.weight").second;
  expected.insert(expected.end(), values.begin(), values.end());
  EXPECT_EQ(parameter("text.blocks.0.attention.kv.weight", "from_llama"), expected);
}

// The files of the first GPT-2 and BERT are spelt otherwise, and have what later ones leave out.
TEST_F(ForeignFiles, OlderSpellingsAreRead) {
  SmallModel gpt2 = model_of(kGpt2);
  std::map<std::string, std::pair<Dims, std::vector<float>>> bare;
  for (const auto& [name, tensor] : tensors_of(gpt2)) bare[name.substr(std::string("transformer.").size())] = tensor;
  bare["h.0.attn.bias"] = {{1, 1, 2, 2}, {1, 0, 1, 1}};
  bare["lm_head.weight"] = bare["wte.weight"];
  write_model(folder_ / "gpt2", gpt2);
  write_tensors<float>(folder_ / "gpt2" / "model.safetensors", bare);
  import(folder_ / "gpt2", Library::kHuggingFace, "from_gpt2");
  EXPECT_EQ(parameter("text.embed.tokens.weight", "from_gpt2"), bare["wte.weight"].second);

  SmallModel bert = model_of(kBert);
  std::map<std::string, std::pair<Dims, std::vector<float>>> old;
  for (const auto& [name, tensor] : tensors_of(bert)) {
    std::string spelt = name;
    for (const auto& [now, then] :
         {std::pair("LayerNorm.weight", "LayerNorm.gamma"), {"LayerNorm.bias", "LayerNorm.beta"}}) {
      if (const std::size_t at = spelt.find(now); at != std::string::npos)
        spelt.replace(at, std::string(now).size(), then);
    }
    old[spelt] = tensor;
  }
  old["bert.pooler.dense.weight"] = {{8, 8}, std::vector<float>(64, 1)};
  write_model(folder_ / "bert", bert);
  write_tensors<float>(folder_ / "bert" / "model.safetensors", old);
  const ImportResult result = import(folder_ / "bert", Library::kHuggingFace, "from_bert");
  EXPECT_EQ(parameter("text.embed.norm.weight", "from_bert"), old["bert.embeddings.LayerNorm.gamma"].second);
  EXPECT_NE(result.notes[0].find("left out: the pooler"), std::string::npos) << result.notes[0];
}

TEST_F(ForeignFiles, TiedMatricesMustBeOne) {
  SmallModel model = model_of(kGpt2);
  write_model(folder_ / "theirs", model);
  auto tensors = tensors_of(model);
  tensors["lm_head.weight"] = tensors["transformer.wte.weight"];
  tensors["lm_head.weight"].second[17] += 1;
  write_tensors<float>(folder_ / "theirs" / "model.safetensors", tensors);
  expect_refused({"lm_head.weight must equal transformer.wte.weight"}, folder_ / "theirs");
}

TEST_F(ForeignFiles, SeveralFilesAreWrittenAndReadByTheirIndex) {
  const SmallModel model = model_of(kBert);
  write_model(folder_ / "theirs", model);
  const ImportResult imported = import(folder_ / "theirs");
  const RunConfig config = load_run_config(imported.config, {}, standard_tasks());
  CheckpointReader checkpoint = CheckpointReader::open(folder_ / "ours", "latest");
  const ExportResult exported = export_model(
      {.library = Library::kHuggingFace, .out = folder_ / "many", .max_file_bytes = 2000}, config, checkpoint);
  const TensorFiles many = TensorFiles::open(folder_ / "many", Library::kHuggingFace);
  EXPECT_GT(many.num_files(), 3u);
  const json index = read_json_file(folder_ / "many" / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], 4 * exported.num_parameters);
  EXPECT_EQ(index["weight_map"].size(), many.tensors().size());
  import(folder_ / "many", Library::kHuggingFace, "again");
  for (const auto& [name, tensor] : checkpoint.manifest().tensors) {
    EXPECT_EQ(parameter(name, "again"), parameter(name)) << name;
  }
}

TEST_F(ForeignFiles, AnIndexThatDoesNotSayWhatIsThereIsRefused) {
  const fs::path folder = folder_ / "theirs", index = folder / "model.safetensors.index.json";
  fs::create_directories(folder);
  write_config({{"model_type", "gpt2"}});
  write_tensors<float>(folder / "a.safetensors", {{"x", {{2}, {1, 2}}}});
  write_tensors<float>(folder / "b.safetensors", {{"y", {{2}, {1, 2}}}});
  const auto expect = [&](const json& map, const std::vector<std::string>& parts) {
    write_file_atomically(index, json{{"weight_map", map}}.dump());
    expect_refused(parts, folder);
  };
  expect({{"x", "b.safetensors"}, {"y", "b.safetensors"}}, {"b.safetensors", "x"});
  expect({{"x", "a.safetensors"}, {"z", "a.safetensors"}}, {"1 that are not where it says", "z"});
  expect({{"x", "a.safetensors"}, {"y", "a.safetensors"}}, {"1 that are not where it says"});
  expect({{"x", "gone.safetensors"}}, {"gone.safetensors"});
  expect({{"x", "../theirs/a.safetensors"}}, {"beside the index"});
  expect({{"x", "/etc/passwd"}}, {"beside the index"});
  expect({{"x", "config.json"}}, {"beside the index"});
  expect({{"x", 3}}, {"beside the index"});
  expect(json::object(), {"weight_map"});
  write_file_atomically(index, "{\"weight_map\": {\"x\": \"a.safetensors\", \"x\": \"b.safetensors\"}}");
  expect_refused({"model.safetensors.index.json"}, folder);
}

TEST_F(ForeignFiles, AFileOfTensorsThatIsCutOrNoneIsRefused) {
  const SmallModel model = model_of(kVit);
  write_model(folder_ / "theirs", model);
  const fs::path file = folder_ / "theirs" / "model.safetensors";
  fs::resize_file(file, fs::file_size(file) - 5);
  expect_refused({"model.safetensors"}, folder_ / "theirs");
  write_file_atomically(file, "no tensors");
  expect_refused({"model.safetensors"}, folder_ / "theirs");
}

TEST_F(ForeignFiles, PreparationOfPicturesFollowsThePreprocessor) {
  const SmallModel model = model_of(kVit);
  write_model(folder_ / "theirs", model);
  const auto keys_of = [&](const json& preprocessor, const std::string& out) {
    write_file_atomically(folder_ / "theirs" / "preprocessor_config.json", preprocessor.dump());
    return read_text_file(import(folder_ / "theirs", Library::kHuggingFace, out).config, 1 << 20);
  };
  const auto expect = [](const std::string& config, const std::vector<std::string>& lines) {
    for (const std::string& line : lines) EXPECT_NE(config.find("\n" + line + "\n"), std::string::npos) << line;
  };
  expect(keys_of({{"image_mean", {0.1, 0.2, 0.3}},
                  {"image_std", {0.4, 0.5, 0.6}},
                  {"resample", 3},
                  {"do_center_crop", true},
                  {"size", {{"shortest_edge", 8}}},
                  {"crop_size", {{"height", 8}, {"width", 8}}}},
                 "a"),
         {"pixel_mean = [0.1, 0.2, 0.3]", "pixel_std = [0.4, 0.5, 0.6]", "fit = \"crop\"", "filter = \"cubic\""});
  expect(keys_of({{"size", 8}, {"resample", 2}}, "b"),
         {"pixel_mean = [0.5, 0.5, 0.5]", "fit = \"stretch\"", "filter = \"linear\""});
  write_file_atomically(folder_ / "theirs" / "preprocessor_config.json", json{{"do_normalize", false}}.dump());
  expect_refused({"preprocessor.do_normalize must be true, found false"}, folder_ / "theirs");
}

TEST_F(ForeignFiles, AModelThatNoFamilyHasIsNotExported) {
  write_model(folder_ / "theirs", model_of(kClipOfHuggingFace));
  const ImportResult imported = import(folder_ / "theirs");
  CheckpointReader checkpoint = CheckpointReader::open(folder_ / "ours", "latest");
  const auto refused = [&](const std::vector<std::string>& overrides, Library library) -> std::string {
    try {
      const RunConfig config = load_run_config(imported.config, overrides, standard_tasks());
      export_model({.library = library, .out = folder_ / "out"}, config, checkpoint);
      return "";
    } catch (const UserError& error) {
      EXPECT_FALSE(fs::exists(folder_ / "out"));
      return error.what();
    }
  };
  EXPECT_NE(refused({"model.image.pooling=mean"}, Library::kHuggingFace).find("another model"), std::string::npos);
  EXPECT_EQ(refused({}, Library::kOpenClip), "") << "what came from one library goes to the other";
}

}  // namespace
}  // namespace triptych::test
