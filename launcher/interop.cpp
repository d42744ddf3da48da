#include "launcher/interop.h"

#include <filesystem>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "base/error.h"
#include "checkpoint/checkpoint_folder.h"
#include "interop/export_model.h"
#include "interop/import_model.h"
#include "training/init_from.h"
#include "training/run_inputs.h"

namespace triptych::launcher {
namespace {

namespace fs = std::filesystem;

void print_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) print("note: {}\n", note);
}

void register_import(CLI::App& app, std::function<int()>& run, TaskTable tasks, Library library) {
  const bool is_open_clip = library == Library::kOpenClip;
  CLI::App* command = app.add_subcommand(
      std::string(library_name(library)),
      is_open_clip ? "CLIP of open_clip: open_clip_config.json and open_clip_model.safetensors"
                   : "CLIP, SigLIP, ViT, BERT, GPT-2 and Llama of transformers: config.json and model.safetensors");
  const auto request = std::make_shared<ImportRequest>();
  request->library = library;
  command->add_option("FROM", request->from, "the model's folder, its .safetensors file or .safetensors.index.json")
      ->required();
  command->add_option("--out", request->out, "New folder for the checkpoint and its config.toml")->required();
  command->add_option("--model-config", request->model_config,
                      is_open_clip ? "JSON of the model, if it does not lie beside the weights; open_clip's own for a "
                                     "name will do (its model_configs/ViT-B-32.json)"
                                   : "JSON of the model, if it is not config.json beside the weights");
  command->add_option("--tokenizer", request->tokenizer, "Its file, if it does not lie beside the weights");
  command->callback([request, tasks, &run] {
    run = [request, tasks] {
      const ImportResult result = import_model(*request, tasks);
      print_notes(result.notes);
      print("{} of {} parameters: {}\nits config: {}\n", result.family, result.num_parameters,
            result.checkpoint.string(), result.config.string());
      return 0;
    };
  });
}

struct ExportArguments {
  explicit ExportArguments(TaskTable known_tasks) : tasks(known_tasks) {}

  TaskTable tasks;
  ExportRequest request;
  fs::path from;
  std::string checkpoint = "latest", weights = "last";
  double max_file_gb = 5;
};

int export_from(const ExportArguments& arguments) {
  ExportRequest request = arguments.request;
  request.weights = arguments.weights == "ema" ? SavedWeights::kAverage : SavedWeights::kLast;
  request.max_file_bytes = static_cast<uint64_t>(arguments.max_file_gb * 1e9);
  const auto write = [&](const RunConfig& config, CheckpointReader& checkpoint) {
    const ExportResult result = export_model(request, config, checkpoint);
    print_notes(result.notes);
    print("{} of {} parameters, out of {}:\n", result.family, result.num_parameters, checkpoint.folder().string());
    for (const std::string& file : result.files) print("  {}\n", (request.out / file).string());
    return 0;
  };
  if (arguments.from.extension() == ".toml") {
    const RunConfig config = load_run_config(arguments.from, {}, arguments.tasks);
    CheckpointReader checkpoint = CheckpointReader::open(checkpoints_of(config), arguments.checkpoint);
    return write(config, checkpoint);
  }
  if (arguments.checkpoint != "latest") {
    throw UserError("--checkpoint", "is for a config, found a checkpoint as well. Name one of them");
  }
  CheckpointReader checkpoint =
      CheckpointReader::open(checkpoint_to_begin_with(arguments.from.string()), std::string(kLatestName));
  const RunConfig config =
      parse_run_config(checkpoint.manifest().run.config, checkpoint.folder().string() + "'s config", arguments.tasks);
  return write(config, checkpoint);
}

void register_export(CLI::App& app, std::function<int()>& run, TaskTable tasks, Library library) {
  CLI::App* command =
      app.add_subcommand(std::string(library_name(library)),
                         library == Library::kOpenClip ? "For open_clip.create_model_and_transforms(\"local-dir:DIR\")"
                                                       : "For transformers' from_pretrained(DIR)");
  const auto arguments = std::make_shared<ExportArguments>(tasks);
  arguments->request.library = library;
  command
      ->add_option("FROM", arguments->from,
                   "a run's config (*.toml), a run's folder, or a checkpoint, which carries its config")
      ->required();
  command->add_option("--out", arguments->request.out, "New folder for the model's files")->required();
  command->add_option("--checkpoint", arguments->checkpoint, "Of a config: latest, a step or a path")
      ->capture_default_str();
  command->add_option("--weights", arguments->weights, "last, or ema: the moving average")
      ->check(CLI::IsMember({"last", "ema"}))
      ->capture_default_str();
  if (library == Library::kHuggingFace) {
    command->add_option("--max-file-gb", arguments->max_file_gb, "Tensors beyond it go to further files, with an index")
        ->check(CLI::Range(1e-6, 1e6))
        ->capture_default_str();
  }
  command->callback([arguments, &run] { run = [arguments] { return export_from(*arguments); }; });
}

}  // namespace

void register_interop(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* import = app.add_subcommand("import", "Makes a checkpoint and its config of another library's model");
  import->require_subcommand(1);
  import->footer(
      "Nothing is rounded: the checkpoint has the model's numbers bit by bit, as float32. What of the model has no\n"
      "counterpart is an error if it would change its outputs, else a note. docs/interop.md has the families.\n"
      "Examples:\n"
      "  triptych import hf clip-vit-base-patch32 --out models/clip\n"
      "  triptych import open_clip open_clip_model.safetensors --model-config ViT-B-32.json --out models/laion\n"
      "  triptych train mine.toml --init-from models/clip");
  CLI::App* exports = app.add_subcommand("export", "Writes a checkpoint as another library's model");
  exports->require_subcommand(1);
  exports->footer(
      "The checkpoint may be of any mesh; moments of the optimizer are left out, adapters must be merged first.\n"
      "Examples:\n"
      "  triptych export open_clip runs/mine --out mine_open_clip\n"
      "  triptych export hf configs/mine.toml --checkpoint 1000 --weights ema --out mine_hf");
  for (const Library library : {Library::kOpenClip, Library::kHuggingFace}) {
    register_import(*import, run, tasks, library);
    register_export(*exports, run, tasks, library);
  }
}

}  // namespace triptych::launcher
