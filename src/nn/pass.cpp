#include "nn/pass.h"

namespace triptych::nn {

std::string_view recompute_name(Recompute recompute) {
  switch (recompute) {
    case Recompute::kSelective:
      return "selective";
    case Recompute::kFull:
      return "full";
    case Recompute::kNone:
      break;
  }
  return "none";
}

}  // namespace triptych::nn
