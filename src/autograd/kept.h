#pragma once

#include <functional>
#include <memory>

#include "autograd/variable.h"

namespace triptych::autograd {

/// A tensor that a backward will read: one that is kept, or one that is made again from what is kept. Copies refer to
/// the same: what one of them makes again is there for all, until the last of them is gone.
class Kept {
 public:
  Kept() = default;
  explicit Kept(Tensor tensor);
  /// `make` must give the very bits that were there before, and runs at most once: a pure function of what it holds, of
  /// parameters and of random keys.
  explicit Kept(std::function<Tensor()> make);

  bool defined() const { return state_ != nullptr; }
  const Tensor& tensor() const;

 private:
  struct State {
    Tensor tensor;
    std::function<Tensor()> make;
  };
  std::shared_ptr<State> state_;
};

/// `x`, of which operations behind it keep `again` where they would keep its elements (selective recomputation). The
/// graph is x's, so x's own operation must not keep these either for their memory to be saved.
Variable made_again(const Variable& x, Kept again);

/// How operations keep x, where it is made again; undefined where they keep its elements.
Kept kept_again(const Variable& x);

/// What an operation keeps of its input `x` whose backward reads `elements`, x's own in an order that the operation can
/// take: these, or how x is made again.
Kept keep(const Variable& x, const Tensor& elements);

}  // namespace triptych::autograd
