#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/variable.h"

namespace triptych::ops {

/// An operation's layout rule, out of index letters as in `einsum`. One line says which layouts it takes and gives,
/// how its gradients are laid out, and what the errors say:
///
///   "bsi,oi->bso"      a letter is an index: dims with one letter have one size and must be sharded alike
///   "bsh!->bsh"        `!`: no axis may shard this index
///   "...h!,h->...h"    `...`: further dims in front, as many as the operand has, the same in all that have them
///   "+bs,+bs->bs"      `+`: the operation is linear in these operands together: they may be Partial, all of them, on
///                      axes that shard nothing. An index that is summed over is in all of them
///
/// An index of the operands that the result lacks is summed over: if an axis shards it, the result is Partial there.
class IndexRule {
 public:
  /// `operation` and `rule` are literals or outlive this.
  IndexRule(std::string_view operation, std::string_view rule) : operation_(operation), rule_(rule) {}

  struct Operand {
    const Shape& global_shape;
    const Layout& layout;
  };

  /// What the rule says for given operands. A value; kept by the operation's backward.
  class Applied {
   public:
    /// Of the result.
    const Layout& layout(std::size_t result = 0) const { return results_[result].layout; }
    /// By the letters' sizes. Every letter of the result must be an operand's.
    Shape global_shape(std::size_t result = 0) const;
    /// Of the gradient of an operand, if that of the result is laid out as `dy`: complete, or Partial where the result
    /// is Replicate. Throws LayoutError if it is neither.
    Layout gradient(std::size_t operand, const Layout& dy, std::size_t result = 0) const;

   private:
    friend class IndexRule;
    struct Term {
      std::string letters;
      Layout layout;
    };
    std::string_view operation_;
    std::vector<Term> operands_, results_;
    std::vector<std::pair<char, int64_t>> sizes_;  // of the operands' letters
  };

  /// Throws LayoutError, naming the axis and the index, for layouts that the rule does not take.
  Applied apply(std::span<const Operand> operands) const;
  Applied apply(std::initializer_list<const Variable*> operands) const;

 private:
  std::string_view operation_, rule_;
};

}  // namespace triptych::ops
