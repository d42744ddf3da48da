#include "launcher/embed.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "launcher/embedding_files.h"
#include "launcher/ranks.h"
#include "parallel/agreement.h"
#include "tasks/search.h"
#include "training/trained_model.h"

namespace triptych::launcher {
namespace {

struct EmbedOptions {
  explicit EmbedOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  std::string checkpoint = "latest";
  std::string data;
  bool of_images = false, of_texts = false;
  std::filesystem::path out;
  std::string dtype = "float32";
};

int embed(const EmbedOptions& options, const RunConfig& config, World& world) {
  Group& group = world.group();
  std::shared_ptr<const Dataset> dataset;
  std::vector<SharedFact> facts;
  together(group, [&] {
    if (options.of_images == options.of_texts) {
      throw UserError("embed", fmt::format("needs one of --images and --texts, found {}. Name what is to be embedded",
                                           options.of_images ? "both" : "neither"));
    }
    ids_file_of(options.out);  // a name that both files can have
    if (!config.task->shared_space()) {
      throw UserError("task", "a model of this task does not compare texts with pictures. Embed with one that does");
    }
    dataset = std::make_shared<const Dataset>(Dataset::open(options.data));
    if (options.of_images ? !dataset->has_images() : !dataset->has_captions()) {
      throw UserError(options.data, fmt::format("has no {} to embed. Name another data set with --data",
                                                options.of_images ? "images" : "captions"));
    }
    facts.push_back({"samples (hash)", dataset->content_hash().hex()});
  });
  require_equal_facts(group, options.data, world.host(), facts,
                      "Put the same data before every node: an older copy may be left on one");
  TrainedModel model(config, world, options.checkpoint);
  Inference& inference = model.inference();
  const NpyType type = options.dtype == "float16" ? NpyType::kFloat16 : NpyType::kFloat32;
  std::optional<EmbeddingWriter> writer;  // of the first rank
  int64_t width = 0;
  embed_set(inference, *config.task, model.tokenizer(), dataset,
            options.of_texts ? EvaluationItems::kCaptions : EvaluationItems::kSamples,
            [&](std::span<const EmbeddedItem> items, std::span<const float> rows) {
              if (!inference.is_first()) return;
              width = static_cast<int64_t>(rows.size() / items.size());
              if (!writer) writer.emplace(options.out, type, width);
              writer->append(*dataset, items, rows);
            });
  together(group, [&] {
    if (!inference.is_first()) return;
    if (!writer) throw WorldError(options.data, "has nothing that can be read, so nothing was written. Look at it");
    writer->finish();
  });
  if (!inference.is_first()) return 0;
  print("{}\n{}: {} [{}, {}]\n{}: uint64 [{}, 3]: sample, id, caption\n", model.folder().string(), options.out.string(),
        options.dtype, writer->num_rows(), width, ids_file_of(options.out).string(), writer->num_rows());
  return 0;
}

}  // namespace

void register_embed(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command =
      app.add_subcommand("embed", "Writes the embeddings of a data set's pictures or texts as a NumPy file");
  const auto options = std::make_shared<EmbedOptions>(tasks);
  add_config_arguments(*command, options->config);
  command->add_option("--data", options->data, "Data set to embed")->required();
  command->add_flag("--images", options->of_images, "Embed every sample's picture");
  command->add_flag("--texts", options->of_texts, "Embed every caption of every sample");
  command
      ->add_option("--out", options->out,
                   "FILE.npy to write: rows of length 1, in the order of the data set; beside it FILE.ids.npy, uint64 "
                   "[n, 3]: of each row the number of its sample, the sample's id, and which caption it is")
      ->required();
  command->add_option("--dtype", options->dtype, "Of the numbers")
      ->check(CLI::IsMember({"float32", "float16"}))
      ->capture_default_str();
  command->add_option("--checkpoint", options->checkpoint, "latest, best, a step or a path; of any mesh")
      ->capture_default_str();
  command->footer(
      "On as many ranks as are started, as `triptych eval`; a batch is in memory at a time. What cannot be read is\n"
      "left out, and told. `triptych search --embeddings FILE.npy` looks in what was written.\n"
      "Examples:\n"
      "  triptych embed configs/quickstart.toml --data data/emoji/unseen_style --images --out pictures.npy\n"
      "  mpirun -np 2 triptych embed configs/quickstart.toml --data data/emoji/train --texts --dtype float16 \\\n"
      "    --out texts.npy");
  command->callback([options, &run] {
    run = [options] {
      return run_on_ranks(options->config, MeshUse::kForward,
                          [&](const RunConfig& config, World& world) { return embed(*options, config, world); });
    };
  });
}

}  // namespace triptych::launcher
