#pragma once

#include <map>
#include <string>

#include "tensor/tensor.h"

namespace triptych::nn {

/// What a decoder keeps while it writes token by token: the keys and values of the tokens before, and those of what it
/// attends to across, by the name of the attention. Belongs to one rank, which has its heads of its stages' blocks.
class DecodingCache {
 public:
  /// Of sequences of at most `length` tokens.
  explicit DecodingCache(int64_t length) : length_(length) {}

  /// Of the token that is being read, from 0.
  int64_t position() const { return position_; }
  /// Goes on to the next token.
  void advance() { ++position_; }

  /// Adds the new token's kv [R, 1, 2, H]; returns those of all tokens so far, [R, length, 2, H], undefined beyond the
  /// new one.
  Tensor append(const std::string& name, const Tensor& kv);
  /// How many of these count: int32 [R].
  const Tensor& num_tokens(Device& device, int64_t rows);
  /// Something that is the same at every position; undefined tensor if it is not kept yet.
  const Tensor& kept(const std::string& name) { return kept_[name]; }
  void keep(const std::string& name, const Tensor& tensor) { kept_[name] = tensor; }

  /// Row r becomes what row `rows[r]` was; there may be more rows than before, or fewer.
  void reorder(Device& device, std::span<const int32_t> rows);

 private:
  int64_t length_, position_ = 0;
  std::map<std::string, Tensor> appended_, kept_;
  Tensor num_tokens_;
  int64_t num_tokens_at_ = -1;  // the position that num_tokens_ is of
};

}  // namespace triptych::nn
