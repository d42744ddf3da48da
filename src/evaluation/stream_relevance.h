#pragma once

#include <cstdint>

#include "evaluation/attention_maps.h"

namespace triptych::evaluation {

/// How relevant the tokens of a stream s, and those of another, q, which it attends to, are to each token of s, for the
/// scalar whose gradients the attentions have (Chefer et al. 2021, "Generic attention-model explainability"). Fed with
/// the attentions of s in the order in which they run; a is relevant_weights of one.
struct StreamRelevance {
  /// Of what no attention has mixed yet: R^ss = I, R^sq = 0.
  StreamRelevance(int64_t tokens, int64_t other_tokens);

  /// Equations 6 and 7, of a self-attention: R^ss += a R^ss, R^sq += a R^sq.
  void attend_within(const AttentionWeights& attention);
  /// Equations 10 and 11, of an attention to q's tokens as they are by then: R^sq += R'^ss^T a R'^qq, and with what q
  /// has of s by then, R^ss += a R^qs; R' is normalized_relevance of R.
  void attend_across(const AttentionWeights& attention, const StreamRelevance& q);

  Matrix own;    ///< R^ss [tokens, tokens]
  Matrix other;  ///< R^sq [tokens, other tokens]
};

}  // namespace triptych::evaluation
