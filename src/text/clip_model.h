#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/token_model.h"

namespace triptych::text {

/// Whether bytes are gzip's, or begin as CLIP's merges do.
bool is_clip_merges(std::string_view bytes);

/// CLIP's tokenizer, of its `bpe_simple_vocab_16e6.txt.gz`, packed or not: byte-level BPE of text that was cleaned,
/// whose vocabulary follows from the file's first 48,894 merges. `<start_of_text>` and `<end_of_text>` are written in a
/// text as open_clip takes them. Throws UserError if it is no such file, or has more than 64 MiB. Source: Radford et
/// al. 2021, simple_tokenizer.py; open_clip, tokenizer.py.
std::unique_ptr<const TokenModel> read_clip_model(const std::string& bytes, std::string_view where);

}  // namespace triptych::text
