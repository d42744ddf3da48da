#pragma once

#include "kernels/contrastive.h"
#include "objectives/contrastive.h"
#include "parallel/mesh.h"
#include "tensor/tensor.h"

namespace triptych::objectives {

/// The queries and candidates of a contrastive loss over the global batch, as one rank sees them. Every query meets
/// every candidate once: ranks of `dp` have different queries, and those of `cp` and `tp`, which have the same ones,
/// share out the candidates.
struct ContrastiveRows {
  Tensor queries;     ///< float32 [R, E], packed: the batch over `dp`
  Tensor candidates;  ///< float32 [C, E]: of the same samples, this rank's share over `cp`, then `tp`
  int64_t first = 0;  ///< candidate i is query `first + i`'s own
  int64_t batch = 0;  ///< of all ranks
  Tensor present;     ///< uint8 [R], 0 where a sample is no pair; undefined: all are
};

/// Which gradients are wanted; the scalars' ones come with any of them.
struct ContrastiveNeeds {
  bool queries = true, candidates = true, scalars = true;
  bool any() const { return queries || candidates || scalars; }
};

/// The loss's gradients, float32; undefined where not wanted.
struct ContrastiveGradients {
  Tensor queries;     ///< [R, E], this rank's summand: Partial on `cp` and `tp`
  Tensor candidates;  ///< [C, E], complete
};

/// How much is there at once.
struct ContrastiveBlockSizes {
  int64_t queries = 256;      ///< in a tile of similarities: with 4096 candidates they take 4 MiB
  int64_t candidates = 4096;  ///< in a block, of all ranks of `dp` together: for products that keep a device busy
};

/// Adds this rank's summands of the loss, and of the scalars' gradients if any is wanted, to `terms.sums`, in blocks:
/// a few candidates of every rank of `dp` are gathered, met by the queries, and their gradients summed and shared out,
/// while the next ones and the last ones' gradients are on their way.
///
/// Memory: beside what it returns at most two blocks of candidates and two of gradients, B*E floats each with
/// B = min(candidates of a share, max(4096, dp)), 256*B similarities, and of InfoNCE 6 floats a query and candidate.
/// Cost, with N candidates in a share, and of cp*tp shares: 6*R*N*E FLOPs, of InfoNCE 8; 2 without gradients. Gathers
/// N*E floats over `dp`, of InfoNCE all but one block once more, and reduce-scatters N*E.
/// Collective over `dp`, and of InfoNCE over `cp` and `tp` (three floats a query): by `redistribute`, in an order that
/// depends on sizes alone.
/// Source: Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, for the loss apart
/// from the towers; Milakov and Gimelshein 2018 for the softmax in blocks.
ContrastiveGradients evaluate_in_blocks(ContrastiveConfig::Kind kind, const ContrastiveRows& rows,
                                        const ContrastiveTerms& terms, const ContrastiveNeeds& needs, Mesh& mesh,
                                        const ContrastiveBlockSizes& sizes = {});

}  // namespace triptych::objectives
