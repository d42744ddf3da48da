#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::text {

/// Ids of the tokenizers that train_tokenizer makes.
inline constexpr int32_t kOwnPadId = 0, kOwnUnknownId = 1, kOwnBeginId = 2, kOwnEndId = 3;

/// What stands behind a model that train_tokenizer made: a protobuf field of our own (number 1000, 16 bytes) with the
/// hash of all bytes before it. Other readers pass over it.
std::string seal_of(std::string_view model);

enum class Seal { kNone, kSound, kBroken };
/// Broken: the field is there, but its hash is of other bytes.
Seal find_seal(std::string_view bytes);

/// Whether the file is a tokenizer that train_tokenizer made, whole. Throws WorldError if it cannot be read.
bool is_own_tokenizer(const std::filesystem::path& path);

}  // namespace triptych::text
