#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/shard_format.h"

namespace triptych::data {

/// All of one sample but its image's bytes, as a captions file or another source describes it.
struct SampleDescription {
  std::string image;               ///< the name of its file; empty if the sample has none
  std::vector<std::string> texts;  ///< captions, question, answers, and each phrase once
  std::vector<TextRole> roles;     ///< of the texts
  std::vector<BoxRecord> boxes;    ///< whether they lie in the image is not known yet
  std::optional<uint64_t> id;
  std::optional<int64_t> label;
  std::vector<std::string> ignored;  ///< what it has that is not packed, for messages: long names are cut
};

/// Adds a text. Throws SampleFault if it is not UTF-8, empty, without a visible character, or too long.
void add_text(std::string text, TextRole role, SampleDescription& sample);

/// Adds a caption of a file, without the white space around it. Throws as add_text.
void add_stripped_caption(std::string_view text, SampleDescription& sample);

/// A name from outside as messages quote it: at most 60 bytes of it.
std::string shown_name(std::string_view name);

}  // namespace triptych::data
