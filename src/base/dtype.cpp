#include "base/dtype.h"

namespace triptych::base {

Float16::Float16(float value) : bits(std::bit_cast<uint16_t>(static_cast<_Float16>(value))) {}

Float16::operator float() const {
  return static_cast<float>(std::bit_cast<_Float16>(bits));
}

}  // namespace triptych::base
