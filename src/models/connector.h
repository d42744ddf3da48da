#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "models/parts.h"

namespace triptych::models {

/// What stands between an image encoder and what reads it: the part that is trained where both are frozen.
enum class ConnectorKind {
  kNone,       ///< nothing: the image's tokens as they are
  kLinear,     ///< a product with a bias (Liu et al. 2023, LLaVA)
  kMlp,        ///< two products with a GELU between them (Liu et al. 2024, LLaVA-1.5)
  kResampler,  ///< learned queries that attend to the image (Li et al. 2023, BLIP-2's Q-Former without its text)
};
inline constexpr ConnectorKind kConnectorKinds[] = {ConnectorKind::kNone, ConnectorKind::kLinear, ConnectorKind::kMlp,
                                                    ConnectorKind::kResampler};
/// "none", "linear", "mlp", "resampler".
std::string_view connector_name(ConnectorKind kind);

struct ConnectorConfig {
  ConnectorKind kind = ConnectorKind::kNone;
  int64_t queries = 8;  ///< tokens that a resampler makes of an image, however many that has
  int64_t layers = 2;   ///< of a resampler: blocks of self-attention, attention to the image, and feed-forward

  /// "mlp", "resampler queries=8 layers=2", for fingerprints.
  std::string to_string() const;
};

inline constexpr const char* kConnectedSlot = "connected";

/// "connector" and, of a resampler, "connector.blocks.i" and "connector.norm": from the slot `image` [P, Hi], whole and
/// normed, to kConnectedSlot, [P, H] or [queries, H], whole.
///
///   reader    sizes of the stack that reads it: H is its width, and a resampler's blocks are of its kind
///   returns   the slot to read: `image` itself where there is no connector
Slot append_connector(std::vector<BlockSpec>& blocks, const Slot& image, const ConnectorConfig& config,
                      const TransformerSizes& reader, float dropout);

}  // namespace triptych::models
