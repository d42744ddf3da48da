#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// How the loaders of several ranks agree on the samples of a batch. Ranks that share rows read them for themselves,
/// and what one of them cannot read (a disk's error, a damaged copy) all of them must replace, or they would train on
/// different samples. Every call is collective: the ranks make the same ones in the same order.
class RowAgreement {
 public:
  virtual ~RowAgreement() = default;

  /// Each value becomes the greatest that any rank has in its place. As many on every rank.
  virtual void raise(std::span<int32_t> values) = 0;
  /// Every rank's text, by rank.
  virtual std::vector<std::string> gather(const std::string& mine) = 0;
  /// Runs `work` on every rank; if it throws on any, every rank throws alike.
  virtual void together(const std::function<void()>& work) = 0;
  /// This rank, for messages: "node3, rank 5/8".
  virtual const std::string& name() const = 0;
};

}  // namespace triptych::data
