#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/checkpoint_writer.h"
#include "data/tokenizer.h"
#include "optim/adamw.h"
#include "training/session.h"

// What a run puts into its checkpoints, and takes out of them on any mesh.

namespace triptych::training {

/// The file of a checkpoint that holds the tokenizer.
inline constexpr std::string_view kTokenizerFile = "tokenizer.model";

/// Where a checkpoint's cursor holds Dataset::content_hash.
inline constexpr const char* kDataHashKey = "data_hash";

/// What this rank writes to a checkpoint: its parameters, and the moments of those that were trained by then, each
/// global element by one rank. The pieces point to the tensors, or, where the host cannot read the device's memory, to
/// copies in `memory`.
struct OwnedPieces {
  std::vector<TensorPiece> pieces;
  std::vector<std::vector<std::byte>> memory;
};
OwnedPieces owned_pieces(const Mesh& mesh, std::span<AdamW::State> states);

/// Throws UserError, with both fingerprints, if the checkpoint is of another model than the session's.
void require_same_model(const CheckpointReader& reader, const Session& session);
/// Reads parameters, and the moments of those that have some by now (any mesh), then refreshes the compute copies.
void load_states(CheckpointReader& reader, Session& session, std::span<AdamW::State> states);
/// Reads parameters alone, for evaluation.
void load_parameters(CheckpointReader& reader, Session& session);

/// The tokenizer that a run was trained with, out of its checkpoint; null if its task reads no text.
std::shared_ptr<const Tokenizer> read_tokenizer(CheckpointReader& reader, const Task& task);
/// The files that a checkpoint carries beside its tensors. `tokenizer` may be null.
std::vector<ExtraFile> extra_files(const Tokenizer* tokenizer);

}  // namespace triptych::training
