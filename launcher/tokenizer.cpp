#include "launcher/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "data/captions.h"
#include "data/dataset.h"
#include "data/tokenizer.h"

namespace triptych::launcher {
namespace {

struct TrainOptions {
  std::filesystem::path data_set, out;
  TokenizerTraining training;
};

/// What a choice of data.text_length needs: how many tokens captions have.
void print_lengths(const Tokenizer& tokenizer, const std::shared_ptr<const Dataset>& data_set) {
  constexpr uint64_t kMaxCounted = 20000;
  const uint64_t stride = std::max<uint64_t>(1, data_set->num_captions() / kMaxCounted);
  std::vector<int32_t> ids(4096), lengths;
  uint64_t num_pieces = 0, num_unknown = 0, number = 0;
  const CaptionSource source = dataset_captions(data_set);
  for (std::string caption; source(caption); ++number) {
    if (number % stride != 0) continue;
    lengths.push_back(tokenizer.encode(caption, ids));
    num_pieces += static_cast<uint64_t>(lengths.back()) - 2;
    num_unknown += static_cast<uint64_t>(std::count(ids.begin(), ids.begin() + lengths.back(), kUnknownId));
  }
  std::sort(lengths.begin(), lengths.end());
  const auto quantile = [&](double q) {
    return lengths[static_cast<std::size_t>(q * static_cast<double>(lengths.size() - 1))];
  };
  print("tokens a caption, begin and end included: median {}, 99 % at most {}, longest {}; unknown pieces {:.3g} %\n",
        quantile(0.5), quantile(0.99), lengths.back(),
        100.0 * static_cast<double>(num_unknown) / static_cast<double>(std::max<uint64_t>(num_pieces, 1)));
}

int train(const TrainOptions& options) {
  const auto data_set = std::make_shared<const Dataset>(Dataset::open(options.data_set));
  const std::filesystem::path out = options.out.empty() ? data_set->path() / "tokenizer.model" : options.out;
  std::error_code ignored;
  if (std::filesystem::is_directory(out, ignored)) {
    throw UserError(out.string(), "is a folder, where the tokenizer is to be written. Name a file with --out.");
  }
  const auto num_captions = static_cast<int64_t>(data_set->num_captions());
  const auto tokenizer =
      Tokenizer::from_bytes(train_tokenizer(dataset_captions(data_set), num_captions, options.training), out.string());
  write_file_atomically(out, tokenizer->bytes());
  print("{}: {} pieces ({}) from {} captions, {}, hash {}\n", out.string(), tokenizer->size(), options.training.model,
        num_captions, human_bytes(static_cast<double>(tokenizer->bytes().size())), tokenizer->hash().hex());
  print_lengths(*tokenizer, data_set);
  return 0;
}

int encode(const std::string& file, const std::string& text) {
  const auto tokenizer = Tokenizer::from_file(file);
  std::vector<int32_t> ids(std::max<std::size_t>(64, 4 * text.size() + 2));
  const int32_t length = tokenizer->encode(text, ids);
  ids.resize(static_cast<std::size_t>(length));
  for (const int32_t id : ids) print("{:6}  {}\n", id, tokenizer->piece(id));
  print("{} tokens; they read: {}\n", length, tokenizer->decode(ids));
  return 0;
}

}  // namespace

void register_tokenizer(CLI::App& app, std::function<int()>& run) {
  CLI::App* tokenizer = app.add_subcommand("tokenizer", "Trains and tries the tokenizer (SentencePiece)");
  tokenizer->require_subcommand(1);

  CLI::App* train_command = tokenizer->add_subcommand("train", "Trains a tokenizer on a data set's captions");
  const auto options = std::make_shared<TrainOptions>();
  train_command->add_option("DATASET_DIR", options->data_set, "an indexed data set; its images are not read")
      ->required();
  train_command
      ->add_option("--vocabulary", options->training.vocabulary,
                   "at most this many pieces, four special ones included; a small corpus gives fewer. The model's "
                   "vocabulary must be at least as large")
      ->required();
  train_command
      ->add_option("--model", options->training.model,
                   "unigram: pieces of the likeliest segmentation; bpe: pieces merged by frequency")
      ->check(CLI::IsMember({"unigram", "bpe"}))
      ->capture_default_str();
  train_command
      ->add_option("--character-coverage", options->training.character_coverage,
                   "share of the corpus's characters that get pieces, 0.98 to 1; the rest becomes unknown")
      ->capture_default_str();
  train_command
      ->add_option("--max-captions", options->training.max_captions,
                   "of a larger corpus, so many evenly spaced captions are used")
      ->capture_default_str();
  train_command->add_option("--out", options->out, "the file to write; default DATASET_DIR/tokenizer.model");
  train_command->footer(
      "Text is normalised (NFKC) and case-folded. The same captions give the same file.\n"
      "Examples:\n"
      "  triptych tokenizer train data/mine --vocabulary 8192\n"
      "  triptych tokenizer train data/mine --vocabulary 32000 --model bpe --out data/bpe.model");
  train_command->callback([options, &run] { run = [options] { return train(*options); }; });

  CLI::App* encode_command = tokenizer->add_subcommand("encode", "Prints the tokens of a text");
  const auto file = std::make_shared<std::string>(), text = std::make_shared<std::string>();
  encode_command->add_option("FILE", *file, "a tokenizer that `triptych tokenizer train` wrote")->required();
  encode_command->add_option("TEXT", *text, "the text, UTF-8")->required();
  encode_command->footer(
      "Prints id and piece of each token; the mark before a piece is a space.\n"
      "Example:\n"
      "  triptych tokenizer encode data/mine/tokenizer.model \"a red apple\"");
  encode_command->callback([file, text, &run] { run = [file, text] { return encode(*file, *text); }; });
}

}  // namespace triptych::launcher
