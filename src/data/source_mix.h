#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

inline constexpr std::size_t kMaxSources = 256;

/// Which source each position of an endless stream is of, so that each has its share of any stretch of it: a pure
/// function of weights and position, the same on every machine.
///
/// The first source has as many of the first T positions as its share of T comes to, rounded; the second likewise of
/// what the first leaves, and so on. So a source's count is off its share by 1/2 and what the ones before it leave of
/// their rounding: by less than 1 of two sources, and by 1 + ln(S) / 2 at most of S with equal weights. Nothing is
/// drawn: sources alternate as evenly as whole numbers allow, also within a microbatch and a rank's rows.
///
/// Cost: a position takes time of the order of the number of sources.
class SourceMix {
 public:
  /// Weights are finite and above 0; shares are taken to 2^-32. Throws UserError if one is not, or if there are none or
  /// more than kMaxSources.
  explicit SourceMix(std::span<const double> weights);

  std::size_t num_sources() const { return parts_.size(); }
  double share(std::size_t source) const;
  /// Equal for weights of the same shares: "2147483648 2147483648".
  std::string text() const;

  /// How many of the first `position` positions are of a source.
  uint64_t count(std::size_t source, uint64_t position) const;
  struct Place {
    std::size_t source;
    uint64_t index;  ///< among the positions of that source
  };
  Place place(uint64_t position) const;
  /// The first position that has `count` ones of the source before it.
  uint64_t position_after(std::size_t source, uint64_t count) const;
  /// At most so many of any `length` positions in a row are of a source.
  uint64_t most(std::size_t source, uint64_t length) const;

 private:
  std::vector<uint64_t> parts_;  // of the whole, each about 2^32 times the share
  std::vector<uint64_t> rest_;   // the sum of the parts from each source on
};

}  // namespace triptych::data
