#include "launcher/ingest.h"

#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "data/ingest.h"
#include "data/parallel_for.h"
#include "launcher/progress_count.h"

namespace triptych::launcher {
namespace {

int ingest(IngestOptions options) {
  ProgressCount progress("samples");
  options.progress = [&](uint64_t samples) { progress.show(samples); };
  const IngestSummary summary = ingest_pairs(options);
  progress.end();
  const std::string boxes = summary.num_boxes == 0 ? "" : fmt::format(", {} boxes", summary.num_boxes);
  print("{}: {} samples in {} shards, {} images, {} captions{}, data set {}\n", options.out.string(),
        summary.num_samples, summary.num_shards, summary.num_images, summary.num_captions, boxes, summary.data_set_id);
  for (const auto& [remark, met] : summary.remarks) {
    print("{} image{}, the first of line {}: {}\n", met.count, met.count == 1 ? "" : "s", met.first_line, remark);
  }
  for (const std::string& name : summary.kept) {
    print("kept {} of the older data set; train it again if the captions have changed much\n", name);
  }
  for (const auto& [key, count] : summary.ignored_keys) {
    print(
        "ignored the key '{}' of {} lines: only image, captions, question, answers, boxes, classes, phrases, id and "
        "label are "
        "packed\n",
        key, count);
  }
  return 0;
}

}  // namespace

void register_ingest(CLI::App& app, std::function<int()>& run) {
  CLI::App* ingest_command = app.add_subcommand("ingest", "Makes a data set of HDF5 shards");
  ingest_command->require_subcommand(1);
  CLI::App* pairs = ingest_command->add_subcommand("pairs", "Packs images and captions into shards with an index");
  const auto options = std::make_shared<IngestOptions>();
  pairs->add_option("--captions", options->captions, "a file of JSON lines, one sample each; see below")->required();
  pairs->add_option("--images", options->images,
                    "the folder that image names are relative to; needed if any line names an image");
  pairs->add_option("--classes", options->classes,
                    "a text file with the names of the labels 0, 1, ..., one a line; becomes classes.txt");
  pairs
      ->add_option(
          "--out", options->out,
          "the data set's folder: absent, empty, or an older data set of an ingest, which is replaced when the "
          "new one is complete; a tokenizer trained there is kept")
      ->required();
  pairs->add_option("--samples-per-shard", options->samples_per_shard, "a shard also ends at 1 GiB of images")
      ->capture_default_str();
  pairs->add_flag("--decode", options->decode,
                  "decodes every image whole, so that cut and damaged ones are found now and not in training");
  options->threads = num_processors();
  pairs->add_option("--threads", options->threads, "threads of --decode")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  pairs->footer(
      "A line is an object with these keys; others are ignored, but for other tools' names of these (file_name, "
      "text):\n"
      "  image      file name relative to --images (JPEG, PNG or WebP, packed as it is), or null or absent\n"
      "  captions   array of strings; or caption, one string; may be absent if there is an image\n"
      "  id         integer 0 to 2^64-1, unique; without it, the line's number\n"
      "  label      integer, 0 or more; optional\n"
      "  question   a string, with answers, an array of strings (or answer, one string); optional\n"
      "  boxes      array of [left, top, right, bottom] in pixels, with classes (integers) or phrases (strings),\n"
      "             one each; optional\n"
      "\n"
      "All lines are checked; if any is wrong, the first 20 are named and nothing is written. The same input gives "
      "the\n"
      "same bytes. docs/shard-format.md has the format, for other programs that write it.\n"
      "\n"
      "Examples:\n"
      "  triptych ingest pairs --images photos --captions photos/captions.jsonl --out data/mine\n"
      "  triptych ingest pairs --captions text.jsonl --out data/text --samples-per-shard 100000\n"
      "with lines such as\n"
      "  {\"image\": \"fruit/apple.png\", \"captions\": [\"a red apple\", \"un fruit\"], \"id\": 17}");
  pairs->callback([options, &run] { run = [options] { return ingest(*options); }; });
}

}  // namespace triptych::launcher
