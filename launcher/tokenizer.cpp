#include "launcher/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "data/captions.h"
#include "data/dataset.h"
#include "text/tokenizer.h"
#include "text/training.h"

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
    num_pieces += static_cast<uint64_t>(lengths.back()) - tokenizer.num_around();
    const auto pieces = std::span(ids).first(static_cast<std::size_t>(lengths.back()) - tokenizer.after().size());
    num_unknown += static_cast<uint64_t>(
        std::ranges::count(pieces.subspan(tokenizer.before().size()), tokenizer.special().unknown.value_or(-1)));
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

void print_tokens(const Tokenizer& tokenizer, std::span<const int32_t> ids) {
  for (const int32_t id : ids) print("{:6}  {}\n", id, tokenizer.piece(id));
}

int encode(const std::string& file, const std::string& text) {
  const auto tokenizer = Tokenizer::from_file(file);
  std::vector<int32_t> ids(tokenizer->num_around() + tokenizer->pieces(text).size());
  ids.resize(static_cast<std::size_t>(tokenizer->encode(text, ids)));
  print_tokens(*tokenizer, ids);
  print("{} tokens; they read: {}\n", ids.size(), tokenizer->decode(ids));
  return 0;
}

int decode(const std::string& file, const std::vector<int32_t>& ids) {
  const auto tokenizer = Tokenizer::from_file(file);
  print("{}\n", tokenizer->decode(ids));
  return 0;
}

std::string named(const Tokenizer& tokenizer, std::optional<int32_t> id) {
  return id ? fmt::format("{} {}", *id, tokenizer.piece(*id)) : "none";
}

std::string around(const Tokenizer& tokenizer) {
  std::vector<std::string> names;
  for (const int32_t id : tokenizer.before()) names.push_back(tokenizer.piece(id));
  names.emplace_back("TEXT");
  for (const int32_t id : tokenizer.after()) names.push_back(tokenizer.piece(id));
  return fmt::format("{}", fmt::join(names, " "));
}

int info(const std::string& file) {
  const auto tokenizer = Tokenizer::from_file(file);
  const SpecialTokens& special = tokenizer->special();
  print("kind      {}\npieces    {}; a model's vocabulary must be at least as large\nhash      {}\n", tokenizer->kind(),
        tokenizer->size(), tokenizer->hash().hex());
  print("a text    {}\npadding   {}\nbegin     {}\nend       {}\nunknown   {}\nmask      {}\n", around(*tokenizer),
        named(*tokenizer, special.pad), named(*tokenizer, special.begin), named(*tokenizer, special.end),
        named(*tokenizer, special.unknown), named(*tokenizer, special.mask));
  print("special   {} tokens stand for no text\n", special.all.size());
  return 0;
}

}  // namespace

void register_tokenizer(CLI::App& app, std::function<int()>& run) {
  CLI::App* tokenizer = app.add_subcommand("tokenizer", "Trains tokenizers, and shows what one does, of any kind");
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

  const auto file = std::make_shared<std::string>(), text = std::make_shared<std::string>();
  const char* file_help =
      "a tokenizer: one of `triptych tokenizer train`, a SentencePiece model, a tokenizer.json, or CLIP's "
      "bpe_simple_vocab_16e6.txt.gz";
  CLI::App* encode_command = tokenizer->add_subcommand("encode", "Prints the tokens of a text");
  encode_command->add_option("FILE", *file, file_help)->required();
  encode_command->add_option("TEXT", *text, "the text, UTF-8")->required();
  encode_command->footer(
      "Prints id and piece of each token as the file has it, those around the text with them.\n"
      "Example:\n"
      "  triptych tokenizer encode data/mine/tokenizer.model \"a red apple\"");
  encode_command->callback([file, text, &run] { run = [file, text] { return encode(*file, *text); }; });

  CLI::App* decode_command = tokenizer->add_subcommand("decode", "Prints the text of tokens");
  const auto ids = std::make_shared<std::vector<int32_t>>();
  decode_command->add_option("FILE", *file, file_help)->required();
  decode_command->add_option("ID", *ids, "ids of tokens; special ones are passed over")->required();
  decode_command->footer(
      "Example:\n"
      "  triptych tokenizer decode tokenizer.json 49406 320 736 3055 49407");
  decode_command->callback([file, ids, &run] { run = [file, ids] { return decode(*file, *ids); }; });

  CLI::App* info_command = tokenizer->add_subcommand("info", "Prints what a tokenizer is");
  info_command->add_option("FILE", *file, file_help)->required();
  info_command->footer(
      "Prints its kind, how many pieces it has, what it puts around a text, and its special tokens.\n"
      "Example:\n"
      "  triptych tokenizer info tokenizer.json");
  info_command->callback([file, &run] { run = [file] { return info(*file); }; });
}

}  // namespace triptych::launcher
