#include "ops/index_rule.h"

#include <algorithm>
#include <array>

namespace triptych::ops {
namespace {

constexpr std::string_view kFurther = "ABCDEF";  // the letters of the dims that `...` stands for

struct ParsedTerm {
  std::string letters;
  bool has_further = false, is_linear = false;
};

struct Parsed {
  std::vector<ParsedTerm> operands, results;
  std::string whole;  // letters that no axis may shard
};

Parsed parse(std::string_view rule) {
  Parsed parsed;
  std::vector<ParsedTerm>* side = &parsed.operands;
  side->emplace_back();
  for (std::size_t i = 0; i < rule.size(); ++i) {
    ParsedTerm& term = side->back();
    if (rule.substr(i, 3) == "...") {
      term.has_further = true;
      i += 2;
    } else if (rule.substr(i, 2) == "->") {
      side = &parsed.results;
      side->emplace_back();
      ++i;
    } else if (rule[i] == ',') {
      side->emplace_back();
    } else if (rule[i] == '+') {
      term.is_linear = true;
    } else if (rule[i] == '!') {
      parsed.whole += term.letters.back();
    } else {
      term.letters += rule[i];
    }
  }
  return parsed;
}

// How one axis acts on an operation: through the index that it shards, or through summands.
struct AxisUse {
  char letter = 0;  // 0: it shards nothing
  int level = 0;
  bool partial = false;
};

}  // namespace

Shape IndexRule::Applied::global_shape(std::size_t result) const {
  std::vector<int64_t> dims;
  for (const char letter : results_[result].letters) {
    const auto found =
        std::find_if(sizes_.begin(), sizes_.end(), [&](const auto& size) { return size.first == letter; });
    TRIPTYCH_CHECK(found != sizes_.end(), "{}: no operand has index {}", operation_, letter);
    dims.push_back(found->second);
  }
  return Shape(dims);
}

IndexRule::Applied IndexRule::apply(std::initializer_list<const Variable*> operands) const {
  std::vector<Operand> list;
  for (const Variable* variable : operands) list.push_back({variable->global_shape(), variable->layout()});
  return apply(list);
}

IndexRule::Applied IndexRule::apply(std::span<const Operand> operands) const {
  const Parsed parsed = parse(rule_);
  TRIPTYCH_CHECK(parsed.operands.size() == operands.size(), "{}: {} operands for {}", operation_, operands.size(),
                 rule_);
  Applied applied;
  applied.operation_ = operation_;
  std::string further;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const ParsedTerm& term = parsed.operands[i];
    const Shape& shape = operands[i].global_shape;
    const auto num_named = static_cast<int>(term.letters.size());
    TRIPTYCH_CHECK(term.has_further ? shape.rank() >= num_named : shape.rank() == num_named,
                   "{}: operand {} is {}, the rule is {}", operation_, i, shape.to_string(), rule_);
    std::string letters = term.letters;
    if (term.has_further) {
      const std::string front(kFurther.substr(0, static_cast<std::size_t>(shape.rank() - num_named)));
      TRIPTYCH_CHECK(further.empty() || further == front, "{}: operands of different numbers of dims for {}",
                     operation_, rule_);
      further = front;
      letters = front + letters;
    }
    for (int dim = 0; dim < shape.rank(); ++dim) {
      const char letter = letters[static_cast<std::size_t>(dim)];
      const auto known = std::find_if(applied.sizes_.begin(), applied.sizes_.end(),
                                      [&](const auto& size) { return size.first == letter; });
      if (known == applied.sizes_.end()) {
        applied.sizes_.emplace_back(letter, shape[dim]);
        continue;
      }
      TRIPTYCH_CHECK(known->second == shape[dim], "{}: the operands disagree on the size of index {} of {}: {} is {}",
                     operation_, letter, rule_, i, shape.to_string());
    }
    applied.operands_.push_back({std::move(letters), operands[i].layout});
  }
  for (const ParsedTerm& term : parsed.results) {
    applied.results_.push_back({(term.has_further ? further : "") + term.letters, Layout()});
  }

  for (const Axis axis : kAxes) {
    AxisUse use;
    for (std::size_t i = 0; i < operands.size(); ++i) {
      const Placement p = operands[i].layout[axis];
      if (p.is_partial()) {
        if (!parsed.operands[i].is_linear || p.reduce != ReduceOp::kSum) {
          throw LayoutError(axis_name(axis), fmt::format("{} needs complete operands, found {} as operand {}. "
                                                         "Redistribute it",
                                                         operation_, p.to_string(), i));
        }
        use.partial = true;
      } else if (p.is_shard()) {
        use.letter = applied.operands_[i].letters[static_cast<std::size_t>(p.dim)];
        use.level = p.level;
      }
    }
    if (use.letter != 0 && parsed.whole.find(use.letter) != std::string::npos) {
      throw LayoutError(axis_name(axis), fmt::format("{} needs index {} of {} whole, and this axis shards it. "
                                                     "Redistribute the operand",
                                                     operation_, use.letter, rule_));
    }
    for (std::size_t i = 0; i < operands.size(); ++i) {
      const std::string& letters = applied.operands_[i].letters;
      const std::size_t at = use.letter != 0 ? letters.find(use.letter) : std::string::npos;
      const Placement expected = at != std::string::npos ? Placement::shard(static_cast<int>(at), use.level)
                                 : use.letter == 0 && use.partial && parsed.operands[i].is_linear
                                     ? Placement::partial()
                                     : Placement::replicate();
      if (!(operands[i].layout[axis] == expected)) {
        const std::string reason = use.letter != 0
                                       ? fmt::format("shards index {} of {}", use.letter, rule_)
                                       : fmt::format("has summands of the operands of {} that are linear", rule_);
        throw LayoutError(
            axis_name(axis),
            fmt::format("{}: this axis {}, so operand {} must be {}, found {}. Redistribute it", operation_, reason, i,
                        expected.to_string(), operands[i].layout[axis].to_string()));
      }
    }
    for (Applied::Term& result : applied.results_) {
      const std::size_t at = use.letter != 0 ? result.letters.find(use.letter) : std::string::npos;
      const Placement p = at != std::string::npos          ? Placement::shard(static_cast<int>(at), use.level)
                          : use.letter != 0 || use.partial ? Placement::partial()
                                                           : Placement::replicate();
      result.layout = result.layout.with(axis, p);
    }
  }
  return applied;
}

Layout IndexRule::Applied::gradient(std::size_t operand, const Layout& dy, std::size_t result) const {
  const Term& x = operands_[operand];
  const Term& y = results_[result];
  Layout layout;
  for (const Axis axis : kAxes) {
    const Placement yp = y.layout[axis], dyp = dy[axis];
    const Placement complete = yp.is_partial() ? Placement::replicate() : yp;
    if (!(dyp == complete) && !(dyp.is_partial() && yp.is_replicate())) {
      throw LayoutError(axis_name(axis),
                        fmt::format("{}: the gradient of a result that is {} must be {}, found {}", operation_,
                                    yp.to_string(), complete.to_string(), dyp.to_string()));
    }
    // An operand that lacks the index which the axis shards has a summand of its gradient on each rank.
    const bool lacks = yp.is_shard() || (yp.is_partial() && x.layout[axis].is_replicate());
    layout = layout.with(axis, x.layout[axis].is_shard()     ? x.layout[axis]
                               : x.layout[axis].is_partial() ? Placement::replicate()
                               : lacks                       ? Placement::partial()
                                                             : dyp);
  }
  return layout;
}

}  // namespace triptych::ops
