#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rooms.h"

namespace triptych::interop {

using Dims = std::vector<int64_t>;

/// Elements of a parameter of Triptych's that are elements of another library's tensor: a run of `count` of both, from
/// `our_begin` and `their_begin` on in row-major order. Turned, they are all of both: theirs is [I, O], ours [O..., I].
/// So nothing is computed, and what is imported and exported again has the same bits.
struct TensorLink {
  std::string ours;
  Dims our_shape;
  std::string theirs;
  Dims their_shape;
  int64_t our_begin = 0, their_begin = 0, count = 0;
  bool turned = false;
};

/// A tensor of theirs that is none of the model's parameters, by a pattern with `*`.
struct TensorLeft {
  std::string pattern;
  std::string reason;  ///< a clause: "the next-sentence head"; empty: not worth telling, such as a table of positions
};

/// A family's table of parameters and tensors, for a model of given sizes. Every tensor stands in it whole.
class TensorTable {
 public:
  /// The same elements, be the shape another.
  void same(const std::string& ours, const Dims& our_shape, const std::string& theirs, const Dims& their_shape);
  void same(const std::string& ours, const std::string& theirs, const Dims& shape) { same(ours, shape, theirs, shape); }
  /// Ours [O..., I], theirs [I, O]: the product of all O.
  void turned(const std::string& ours, const Dims& our_shape, const std::string& theirs);
  /// Theirs one after another along our first dim: ours [parts, ...].
  void stacked(const std::string& ours, const Dims& part_shape, const std::vector<std::string>& theirs);
  /// Ours one after another along their first dim.
  void packed(const std::vector<std::pair<std::string, Dims>>& ours, const std::string& theirs,
              const Dims& their_shape);

  /// "<ours>.weight" [outputs, inputs], "<ours>.bias" [outputs], and so theirs.
  void product(const std::string& ours, const std::string& theirs, int64_t outputs, int64_t inputs, bool bias = true);
  /// "<ours>.weight" and "<ours>.bias" [width], and so theirs.
  void norm(const std::string& ours, const std::string& theirs, int64_t width);

  /// Theirs that are there in some files and are not read.
  void left(std::string pattern, std::string reason = "") { left_.push_back({std::move(pattern), std::move(reason)}); }
  /// Theirs that may stand there a second time, equal to another: tied matrices.
  void copy(std::string theirs, std::string of) { copies_.emplace_back(std::move(theirs), std::move(of)); }

  /// Theirs that end so are called otherwise.
  void respell(std::string_view end, std::string_view instead);

  const std::vector<TensorLink>& links() const { return links_; }
  const std::vector<TensorLeft>& left() const { return left_; }
  const std::vector<std::pair<std::string, std::string>>& copies() const { return copies_; }

 private:
  std::vector<TensorLink> links_;
  std::vector<TensorLeft> left_;
  std::vector<std::pair<std::string, std::string>> copies_;
};

/// The product of the dims.
int64_t volume(const Dims& shape);

}  // namespace triptych::interop
