#include "kernels/box_loss.h"

#include "kernels/box_loss_row.h"

namespace triptych::kernels {

void box_loss(Stream&, const BoxLossArgs& args) {
  double sum = 0;
  for (int64_t i = 0; i < args.rows; ++i) {
    const BoxLossRow row =
        args.present[i] < 0 ? BoxLossRow() : box_loss_row(args.boxes + 4 * i, args.truths + 4 * i, args.l1, args.giou);
    sum += row.loss;
    for (int k = 0; k < 4; ++k) args.gradients[4 * i + k] = static_cast<float>(row.gradient[k]);
  }
  *args.loss += sum;
}

}  // namespace triptych::kernels
