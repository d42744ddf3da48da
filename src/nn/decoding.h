#pragma once

#include <map>
#include <string>

#include "tensor/tensor.h"

namespace triptych::nn {

/// What a decoder keeps while it writes token by token: the keys and values of the tokens before, and those of what it
/// attends to across, by the name of the attention. Belongs to one rank, which has its heads of its stages' blocks.
class DecodingCache {
 public:
  /// Of texts of at most `length` tokens. A sequence may have others in front of the text, its prefix: they come with
  /// the first token.
  explicit DecodingCache(int64_t length) : length_(length) {}

  /// Of the token of the text that is being read, from 0.
  int64_t position() const { return position_; }
  /// Goes on to the next token.
  void advance() { ++position_; }

  /// Adds the new tokens' kv [R, n, 2, H]: of the first token and its prefix, later of one; returns those of all tokens
  /// so far, [R, prefix + length, 2, H], undefined beyond the new ones.
  Tensor append(const std::string& name, const Tensor& kv);
  /// How many of these count, from the second token on: int32 [R].
  const Tensor& num_tokens(const std::string& name, Device& device, int64_t rows);
  /// Where the new tokens stand in the sequence, of an attention by its name.
  int64_t first(const std::string& name) const { return position_ == 0 ? 0 : prefix(name) + position_; }
  /// Something that is the same at every position; undefined tensor if it is not kept yet.
  const Tensor& kept(const std::string& name) { return kept_[name]; }
  void keep(const std::string& name, const Tensor& tensor) { kept_[name] = tensor; }

  /// Row r becomes what row `rows[r]` was; there may be more rows than before, or fewer.
  void reorder(Device& device, std::span<const int32_t> rows);

 private:
  int64_t prefix(const std::string& name) const { return appended_.at(name).size(1) - length_; }

  int64_t length_, position_ = 0;
  std::map<std::string, Tensor> appended_, kept_;
  Tensor num_tokens_;
  int64_t num_tokens_of_ = -1;  // the number that num_tokens_ has in all rows
};

}  // namespace triptych::nn
