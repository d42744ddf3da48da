#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nn/parameter_store.h"
#include "nn/pass.h"

namespace triptych::nn {

/// How a sequence's tokens are told where they stand.
enum class PositionKind {
  kLearned,     ///< a parameter [S, H], added before the first block
  kSinusoidal,  ///< fixed waves [S, H], added there
  kRotary,      ///< queries and keys of every block's self-attention are turned; nothing is added
  kNone,
};
inline constexpr PositionKind kPositionKinds[] = {PositionKind::kLearned, PositionKind::kSinusoidal,
                                                  PositionKind::kRotary, PositionKind::kNone};
/// "learned", "sinusoidal", "rotary", "none".
std::string_view position_name(PositionKind kind);

/// [S, H] of waves whose lengths grow from 2 pi to 10000 * 2 pi.
///
/// In a line, H even (Vaswani et al. 2017, section 3.5):
///   position p, element 2 i: sin(p / 10000^(2 i / H)), element 2 i + 1: the cosine.
/// In a grid, H a multiple of 4, as He et al. 2022 (MAE) have them: the first half of the row from the patch's column,
/// the second from its row; each half the sines of H / 4 waves, then their cosines. Tokens in front have zeros.
std::vector<float> sinusoidal_positions(const PositionGrid& grid, int64_t width);

/// [S, D] for kernels/rotary.h: cosines of the D / 2 angles of each position, then their sines.
///
/// In a line, D even (Su et al. 2021): angle i of position p is p / base^(2 i / D).
/// In a grid, D a multiple of 4, as in Wang et al. 2024, Qwen2-VL: the first D / 4 angles are those of the patch's row
/// in a head of D / 2, the others those of its column. Tokens in front are not turned.
std::vector<float> rotary_angles(const PositionGrid& grid, int64_t head_dim, double base);

/// Learned positions [S, H], small random values at first, added to a sequence.
class LearnedPositions {
 public:
  LearnedPositions(ParameterStore& store, const std::string& name, const PositionGrid& grid, int64_t width);
  /// x [B, S, H] in any layout; returns the stream.
  Variable add_to(const Variable& x, const Pass& pass) const;
  /// All of them, [S, H] whole, float32.
  Variable all(const Pass& pass) const;

 private:
  Parameter* positions_;
};

/// What a sequence is given before the first block, of any kind.
class Positions {
 public:
  Positions(ParameterStore& store, const std::string& name, PositionKind kind, const PositionGrid& grid, int64_t width);
  /// x [B, S, H] in any layout; returns the stream.
  Variable add_to(const Variable& x, const Pass& pass) const;
  /// What is added, [S, H] whole, float32; undefined if nothing is.
  Variable all(const Pass& pass) const;

 private:
  std::optional<LearnedPositions> learned_;
  Tensor fixed_;  // float32 [S, H], or undefined
};

/// Learned positions of a grid for another grid: by the cubic convolution (Keys 1981) with a = -0.75, samples at the
/// patches' centres, edges repeated and no smoothing where the grid shrinks, which is what published ViT code does
/// (PyTorch's `interpolate` with mode "bicubic" and align_corners off).
///
///   positions [from.sequence, width]; returns [to.sequence, width], in front the same tokens, of which both have as
///   many
/// Throws InternalError if one of the two is a line, or if they have different numbers of tokens in front.
std::vector<float> interpolate_positions(std::span<const float> positions, const PositionGrid& from,
                                         const PositionGrid& to, int64_t width);

}  // namespace triptych::nn
