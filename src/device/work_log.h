#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/rooms.h"

namespace triptych::device {

/// What kernels have to do, by what bounds them.
struct Work {
  double product_flops = 0, half_product_flops = 0;      ///< of matrix products, of float32 and of 16-bit inputs
  double attention_flops = 0, half_attention_flops = 0;  ///< of attention's two (backward: five) products
  double bytes = 0;  ///< that kernels read and write, those of products and attention apart
  double num_kernels = 0;

  Work& operator+=(const Work& other) {
    product_flops += other.product_flops;
    half_product_flops += other.half_product_flops;
    attention_flops += other.attention_flops;
    half_attention_flops += other.half_attention_flops;
    bytes += other.bytes;
    num_kernels += other.num_kernels;
    return *this;
  }
  Work operator*(double factor) const {
    return {product_flops * factor,   half_product_flops * factor,
            attention_flops * factor, half_attention_flops * factor,
            bytes * factor,           num_kernels * factor};
  }
};

/// What a device that computes nothing was asked for, in order: the work of kernels, and the operations of groups,
/// where they start and where somebody waits for them.
class WorkLog {
 public:
  struct Operation {
    std::string group;  ///< "dp", "dp+tp", "pp": without the coordinates
    std::string kind;   ///< "all_reduce", "send"
    double bytes = 0;   ///< of its larger buffer on a rank; of a reduce-scatter that is what it sends, of all ranks
    std::vector<int> world_ranks;
  };
  struct Entry {
    enum class Kind : uint8_t { kWork, kStart, kWait };
    Kind kind = Kind::kWork;
    Work work = {};
    std::size_t operation = 0;  ///< of kStart and kWait: index of operations()
  };

  void add(const Work& work) {
    if (is_closed_ || entries_.empty() || entries_.back().kind != Entry::Kind::kWork) entries_.push_back({});
    is_closed_ = false;
    entries_.back().work += work;
  }
  /// The operation's number, for `wait`.
  std::size_t start(Operation operation) {
    operations_.push_back(std::move(operation));
    entries_.push_back({.kind = Entry::Kind::kStart, .operation = operations_.size() - 1});
    return operations_.size() - 1;
  }
  void wait(std::size_t operation) { entries_.push_back({.kind = Entry::Kind::kWait, .operation = operation}); }
  /// Of what comes next; what came before stays before it.
  int64_t position() {
    is_closed_ = true;
    return static_cast<int64_t>(entries_.size());
  }

  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<Operation>& operations() const { return operations_; }

 private:
  std::vector<Entry> entries_;
  std::vector<Operation> operations_;
  bool is_closed_ = false;
};

}  // namespace triptych::device
