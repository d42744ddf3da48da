#include "kernels/contrastive.h"

#include "device/work_log.h"

namespace triptych::kernels {

namespace {

// Reads the similarities, and leaves others in their place.
void moves(Stream& stream, const ContrastiveBlock& block) {
  static_cast<WorkLog*>(stream.native())
      ->add({.bytes = 8 * static_cast<double>(block.rows * block.cols), .num_kernels = 1});
}

}  // namespace

void info_nce_statistics(Stream& stream, const ContrastiveBlock& block, const ContrastiveTerms&,
                         const InfoNceStatistics&, const InfoNceStatistics&) {
  moves(stream, block);
}
void info_nce_rescale(Stream& stream, const float*, const InfoNceStatistics&, const float*, int64_t n) {
  static_cast<WorkLog*>(stream.native())->add({.bytes = 16 * static_cast<double>(n), .num_kernels = 1});
}
void info_nce_softmax(Stream& stream, const InfoNceSoftmaxArgs& args, const ContrastiveTerms&) {
  static_cast<WorkLog*>(stream.native())->add({.bytes = 24 * static_cast<double>(args.n), .num_kernels = 1});
}
void info_nce_gradients(Stream& stream, const ContrastiveBlock& block, const ContrastiveTerms&, const InfoNceSoftmax&,
                        const InfoNceSoftmax&) {
  moves(stream, block);
}
void sigmoid_block(Stream& stream, const ContrastiveBlock& block, const ContrastiveTerms&) {
  moves(stream, block);
}

}  // namespace triptych::kernels
