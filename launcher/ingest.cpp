#include "launcher/ingest.h"

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "data/ingest.h"
#include "data/ingest_coco.h"
#include "data/ingest_csv.h"
#include "data/ingest_folder.h"
#include "data/ingest_pairs.h"
#include "data/ingest_parquet.h"
#include "data/ingest_webdataset.h"
#include "data/input_files.h"
#include "data/parallel_for.h"
#include "launcher/progress_count.h"

namespace triptych::launcher {
namespace {

using OpenSource = std::function<std::unique_ptr<IngestSource>()>;
using Words = std::vector<std::string>;

/// "1%", "0.5" or "2 %" as a number of percent.
double percent_of(std::string text) {
  while (text.ends_with('%') || text.ends_with(' ')) text.pop_back();
  std::size_t used = 0;
  double percent = -1;
  try {
    percent = std::stod(text, &used);
  } catch (const std::exception&) {
  }
  if (used != text.size() || !(percent >= 0 && percent <= 100)) {
    throw UserError("ingest", fmt::format("--skip-bad must be 0% to 100%, found '{}'.", text));
  }
  return percent;
}

int run_ingest(IngestOptions options, const OpenSource& open) {
  ProgressCount progress("samples");
  options.progress = [&](uint64_t samples, uint64_t) { progress.show(samples); };
  options.tell = [](const std::string& text) { print("{}\n", text); };
  const std::unique_ptr<IngestSource> source = open();
  const IngestSummary summary = ingest(*source, options);
  progress.end();
  const std::string_view unit = source->unit();
  const std::string boxes = summary.num_boxes == 0 ? "" : fmt::format(", {} boxes", summary.num_boxes);
  print("{}: {} samples in {} shards, {} images, {} captions{}, data set {}\n", options.out.string(),
        summary.num_samples, summary.num_shards, summary.num_images, summary.num_captions, boxes, summary.data_set_id);
  const IngestCounts& counts = summary.counts;
  if (counts.left_out > 0) {
    print("left out {} of {} {}s ({:.4g} %), listed in {}:\n", counts.left_out, counts.seen, unit,
          100.0 * static_cast<double>(counts.left_out) / static_cast<double>(counts.seen),
          (options.out / kSkippedName).string());
    for (const auto& [reason, count] : counts.left_out_by_reason) print("  {} {}\n", count, reason);
  }
  for (const auto& [remark, met] : counts.remarks) {
    print("{} image{}, the first of {}: {}\n", met.count, met.count == 1 ? "" : "s", met.first, remark);
  }
  for (const std::string& name : summary.kept) {
    print("kept {} of the older data set; train it again if the captions have changed much\n", name);
  }
  for (const auto& [what, count] : counts.ignored) print("not packed: {}, {} times\n", what, count);
  return 0;
}

/// A subcommand with what all formats share.
struct Format {
  CLI::App* command;
  std::shared_ptr<IngestOptions> options;
};

class Formats {
 public:
  Formats(CLI::App& ingest, std::function<int()>& run) : ingest_(ingest), run_(run) {}

  /// `has_classes`: the labels' names may be given in a file.
  Format add(const std::string& name, const std::string& description, bool has_classes) {
    Format format{ingest_.add_subcommand(name, description), std::make_shared<IngestOptions>()};
    IngestOptions& options = *format.options;
    CLI::App* command = format.command;
    command
        ->add_option(
            "--out", options.out,
            "the data set's folder: absent, empty, or an older data set of an ingest, which is replaced when the "
            "new one is complete; a tokenizer trained there is kept")
        ->required();
    command->add_option("--samples-per-shard", options.samples_per_shard, "a shard also ends at 1 GiB of images")
        ->capture_default_str();
    command->add_flag("--decode", options.decode,
                      "decodes every image whole, so that cut and damaged ones are found now and not in training");
    command
        ->add_option_function<std::string>(
            "--skip-bad", [&options](const std::string& text) { options.skip_bad_percent = percent_of(text); },
            "leaves out samples that are bad, if they are at most so many percent of all, and lists them in "
            "OUT/skipped.jsonl; without it, none may be bad")
        ->type_name("PERCENT");
    options.threads = num_processors();
    command
        ->add_option("--threads", options.threads, "threads that read, check and decode images; the result is the same")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
    if (has_classes) {
      command->add_option("--classes", options.classes,
                          "a text file with the names of the labels 0, 1, ..., one a line; becomes classes.txt");
    }
    return format;
  }

  template <typename Input>
  void finish(const Format& format, const std::shared_ptr<Input>& input,
              std::unique_ptr<IngestSource> (*open)(const Input&), std::vector<std::filesystem::path> Input::*paths,
              const std::shared_ptr<Words>& patterns, const std::string& footer) {
    format.command->footer(
        footer +
        "\nA pattern may count ({000..099}), list ({a,b}), and have *, ? and [abc]; quote it. An ingest that "
        "was interrupted goes\non where it was when the same command is called again. docs/ingest.md "
        "says more.");
    format.command->callback([options = format.options, input, open, paths, patterns, &run = run_] {
      run = [=] {
        return run_ingest(*options, [=] {
          (*input).*paths = expand_inputs(*patterns);
          return open(*input);
        });
      };
    });
  }

 private:
  CLI::App& ingest_;
  std::function<int()>& run_;
};

void add_pairs(Formats& formats) {
  const Format format = formats.add("pairs", "Lines of JSON: the name of an image and its captions", true);
  const auto input = std::make_shared<PairsInput>();
  const auto patterns = std::make_shared<Words>();
  format.command->add_option("--captions", *patterns, "files of JSON lines, one sample each; see below")->required();
  format.command->add_option("--images", input->images,
                             "the folder that image names are relative to; needed if any line names an image");
  formats.finish(
      format, input, open_pairs, &PairsInput::captions, patterns,
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
      "  {\"image\": \"fruit/apple.png\", \"captions\": [\"a red apple\", \"un fruit\"], \"id\": 17}\n");
}

void add_webdataset(Formats& formats) {
  const Format format = formats.add("webdataset", "Tar archives of samples: 0007.jpg, 0007.txt, 0007.cls, ...", true);
  const auto input = std::make_shared<WebdatasetInput>();
  const auto patterns = std::make_shared<Words>();
  format.command->add_option("archives", *patterns, ".tar or .tar.gz files, which are read without unpacking")
      ->required();
  format.command
      ->add_option("--images", input->images,
                   "extensions of the image; the first that a sample has counts; '' for none")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  format.command
      ->add_option("--captions", input->captions,
                   "extensions of captions; the first that a sample has counts; json is looked into; '' for none")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  format.command
      ->add_option("--json-keys", input->json_keys,
                   "where a sample's json has a caption or an array of them; the first that is there counts")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  formats.finish(
      format, input, open_webdataset, &WebdatasetInput::archives, patterns,
      "Files of an archive that follow each other and are called the same up to the first dot are a sample. Its .cls\n"
      "is its label, an integer or one of the names of --classes. A sample must have an image, and a caption or a\n"
      "label.\n"
      "\n"
      "Examples:\n"
      "  triptych ingest webdataset 'laion/{00000..00099}.tar' --out data/laion --skip-bad 1% --decode\n"
      "  triptych ingest webdataset 'cc3m-*.tar.gz' --captions json --json-keys caption --out data/cc3m\n");
}

void add_coco(Formats& formats) {
  const Format format = formats.add("coco", "COCO's annotations: captions_*.json, instances_*.json, or both", false);
  const auto input = std::make_shared<CocoInput>();
  const auto patterns = std::make_shared<Words>();
  format.command->add_option("annotations", *patterns, "JSON files; several are of the same images, and are joined")
      ->required();
  format.command->add_option("--images", input->images, "the folder that file names are relative to")->required();
  formats.finish(
      format, input, open_coco, &CocoInput::annotations, patterns,
      "A sample is an image with its captions and boxes; its id is the image's. The categories, in the order of\n"
      "their ids, become the classes 0, 1, ... and classes.txt. Boxes are rounded outwards to whole pixels; those of\n"
      "crowds and those without area are left out and counted.\n"
      "\n"
      "Examples:\n"
      "  triptych ingest coco annotations/captions_train2017.json --images train2017 --out data/coco\n"
      "  triptych ingest coco annotations/{captions,instances}_val2017.json --images val2017 --out data/val\n");
}

void add_table(Formats& formats, const std::string& name, const std::string& description, char separator) {
  const Format format = formats.add(name, description, true);
  const auto input = std::make_shared<CsvInput>();
  input->separator = separator;
  const auto patterns = std::make_shared<Words>();
  format.command->add_option("tables", *patterns, "files whose first row names the columns")->required();
  format.command->add_option("--images", input->images,
                             "the folder that image names are relative to (default: that of the first table)");
  format.command->add_option("--image-column", input->image_column, "names of images; '' for none")
      ->capture_default_str();
  format.command
      ->add_option("--caption-column", input->caption_columns,
                   "captions; several columns give several, an empty field gives none; '' for none")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  format.command->add_option("--label-column", input->label_column, "integers, or names of --classes");
  format.command->add_option("--id-column", input->id_column,
                             "integers 0 to 2^64-1, unique; without it, the row's number");
  formats.finish(
      format, input, open_csv, &CsvInput::tables, patterns,
      fmt::format(
          "Fields may stand in double quotes (RFC 4180). The columns' names are open_clip's where nothing else is "
          "said.\n\nExamples:\n"
          "  triptych ingest {0} pairs.{0} --images photos --out data/mine\n"
          "  triptych ingest {0} 'part-*.{0}' --image-column file --caption-column en,de --out data/mine\n",
          name));
}

void add_parquet(Formats& formats) {
  const Format format = formats.add("parquet", "Parquet files with images or their names, and captions", true);
  const auto input = std::make_shared<ParquetInput>();
  const auto patterns = std::make_shared<Words>();
  format.command->add_option("tables", *patterns, "Parquet files")->required();
  format.command->add_option("--images", input->images,
                             "the folder that names are relative to, if the column has names");
  format.command->add_option(
      "--image-column", input->image_column,
      "encoded images, names of files, or both as Hugging Face has them (default: image, jpg, png, "
      "... whichever is there)");
  format.command->add_option("--caption-column", input->caption_column,
                             "strings or lists of strings (default: caption, captions, text, TEXT, title, whichever is "
                             "there)");
  format.command->add_option("--label-column", input->label_column, "integers, or names of --classes");
  format.command->add_option("--python", input->python, "an interpreter that has pyarrow, which reads the files")
      ->capture_default_str();
  formats.finish(format, input, open_parquet, &ParquetInput::tables, patterns,
                 "Debian has no C++ library for Parquet, so Python's pyarrow reads the files in a process of its own:\n"
                 "  python3 -m venv arrow && arrow/bin/pip install pyarrow\n"
                 "\n"
                 "Examples:\n"
                 "  triptych ingest parquet 'part-{00000..00009}.parquet' --python arrow/bin/python3 --out data/laion\n"
                 "  triptych ingest parquet train.parquet --image-column img --caption-column alt --out data/mine\n");
}

void add_image_folder(Formats& formats) {
  const Format format = formats.add("imagefolder", "A folder with a folder of images for each class", false);
  const auto input = std::make_shared<FolderInput>();
  const auto patterns = std::make_shared<Words>();
  format.command->add_option("folders", *patterns, "ROOT/class/any/where/0007.jpg; several are joined")->required();
  formats.finish(
      format, input, open_image_folder, &FolderInput::folders, patterns,
      "Classes are the folders just below the root, numbered by their names in byte order, which become\n"
      "classes.txt. A root that has images and no folder gives images without labels. Images end in .jpg, .jpeg,\n"
      ".png or .webp; what else lies there is counted.\n"
      "\n"
      "Example:\n"
      "  triptych ingest imagefolder imagenet/train --out data/imagenet --decode --skip-bad 0.1%\n");
}

}  // namespace

void register_ingest(CLI::App& app, std::function<int()>& run) {
  CLI::App* command = app.add_subcommand("ingest", "Makes a data set of HDF5 shards out of what you have");
  command->require_subcommand(1);
  command->footer(
      "`triptych ingest FORMAT --help` has a format's options and examples; a file of another format is recognised and "
      "named.");
  Formats formats(*command, run);
  add_webdataset(formats);
  add_coco(formats);
  add_table(formats, "csv", "Tables with commas between the columns: the name of an image, and captions", ',');
  add_table(formats, "tsv", "Tables with tabs between the columns", '\t');
  add_parquet(formats);
  add_image_folder(formats);
  add_pairs(formats);
}

}  // namespace triptych::launcher
