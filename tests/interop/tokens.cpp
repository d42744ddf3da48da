// Tokens of texts, for tests/interop/compare_tokenizers.py.
//
//   interop_tokens FILE TEXTS IDS    reads the tokenizer FILE and TEXTS, each the length in bytes, uint32, and the
//   bytes; writes
//                                    to IDS what stands before texts and behind them, and of each text the pieces, then
//                                    the text that they read back: lists are their length, uint32, and their ids,
//                                    int32, texts as in TEXTS. Prints how many texts a second of the processor are cut.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/tokenizer.h"

namespace triptych::test {
namespace {

std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> read_texts(const std::string& bytes) {
  std::vector<std::string> texts;
  for (std::size_t at = 0; at < bytes.size();) {
    uint32_t size = 0;
    std::memcpy(&size, bytes.data() + at, sizeof size);
    texts.push_back(bytes.substr(at + sizeof size, size));
    at += sizeof size + size;
  }
  return texts;
}

void append_word(std::string& out, uint32_t word) {
  out.append(reinterpret_cast<const char*>(&word), sizeof word);
}

void append_ids(std::string& out, std::span<const int32_t> ids) {
  append_word(out, static_cast<uint32_t>(ids.size()));
  out.append(reinterpret_cast<const char*>(ids.data()), ids.size_bytes());
}

int write_tokens(char** arguments) {
  const auto tokenizer = Tokenizer::from_file(arguments[1]);
  const std::vector<std::string> texts = read_texts(read_file(arguments[2]));
  std::vector<std::vector<int32_t>> tokens(texts.size());
  const std::clock_t begin = std::clock();
  for (std::size_t i = 0; i < texts.size(); ++i) tokens[i] = tokenizer->pieces(texts[i]);
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  std::string out;
  append_ids(out, tokenizer->before());
  append_ids(out, tokenizer->after());
  for (const std::vector<int32_t>& pieces : tokens) {
    append_ids(out, pieces);
    const std::string text = tokenizer->decode(pieces);
    append_word(out, static_cast<uint32_t>(text.size()));
    out += text;
  }
  std::ofstream(arguments[3], std::ios::binary) << out;
  std::printf("%.0f\n", static_cast<double>(texts.size()) / seconds);
  return 0;
}

}  // namespace
}  // namespace triptych::test

int main(int count, char** arguments) {
  try {
    if (count == 4) return triptych::test::write_tokens(arguments);
    std::fprintf(stderr, "usage: interop_tokens FILE TEXTS IDS\n");
    return 2;
  } catch (const triptych::base::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
}
