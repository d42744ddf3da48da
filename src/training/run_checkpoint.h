#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/checkpoint_writer.h"
#include "optim/adamw.h"
#include "text/tokenizer.h"
#include "training/session.h"

// What a run puts into its checkpoints, and takes out of them on any mesh.

namespace triptych::training {

/// The file of a checkpoint that holds the tokenizer.
inline constexpr std::string_view kTokenizerFile = "tokenizer.model";

/// Where a checkpoint's cursor holds Dataset::content_hash.
inline constexpr const char* kDataHashKey = "data_hash";
/// And how samples are drawn from several sources, or in windows of shards; absent of one source and without windows.
inline constexpr const char* kDataOrderKey = "data_order";

/// What this rank writes to a checkpoint: its parameters, and of those that were trained by then the moments and the
/// average, each global element by one rank. The pieces point to the tensors, or, where the host cannot read the
/// device's memory, to copies in `memory`.
struct OwnedPieces {
  std::vector<TensorPiece> pieces;
  std::vector<std::vector<std::byte>> memory;
};
OwnedPieces owned_pieces(const Mesh& mesh, std::span<AdamW::State> states);

/// Throws UserError, with both fingerprints, if the checkpoint is of another model than the session's.
void require_same_model(const CheckpointReader& reader, const Session& session);
/// Reads parameters, and the moments and averages of those that have some by now (any mesh), then refreshes the compute
/// copies. An average that the checkpoint lacks begins as the parameter is.
void load_states(CheckpointReader& reader, Session& session, std::span<AdamW::State> states);
/// Reads parameters alone, for evaluation. Throws UserError if `weights` are the averages and there are none.
void load_parameters(CheckpointReader& reader, Session& session, SavedWeights weights);

/// This rank's part of the tensor `name`, which has the parameter's shape and layout.
TensorBox box_of(const Parameter& parameter, const Mesh& mesh, const std::string& name);
/// Reads a box of a checkpoint into a tensor on the device.
void read_into(CheckpointReader& reader, const TensorBox& box, const Tensor& tensor);
/// Whether a checkpoint's tensor is no parameter but a moment or an average of one.
bool is_of_optimizer(const Manifest& manifest, std::string_view name);
/// The tensor that holds these weights of a parameter. One that was frozen has no average: it is the parameter then.
std::string saved_name(const Manifest& manifest, const std::string& parameter, SavedWeights weights);
/// Throws UserError if the checkpoint has no average of any parameter.
void require_averages(const CheckpointReader& reader);

/// The tokenizer that a run was trained with, out of its checkpoint; null if its task reads no text.
std::shared_ptr<const Tokenizer> read_tokenizer(CheckpointReader& reader, const Task& task);
/// The files that a checkpoint carries beside its tensors. `tokenizer` may be null.
std::vector<ExtraFile> extra_files(const Tokenizer* tokenizer);

}  // namespace triptych::training
