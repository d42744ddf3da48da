#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace triptych::tensor {

/// Up to 6 dimensions, outermost first. A value: no allocation.
class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
    TRIPTYCH_CHECK(rank_ <= kMaxRank, "a shape has at most {} dims, found {}", kMaxRank, rank_);
    for (int i = 0; i < rank_; ++i) dims_[static_cast<std::size_t>(i)] = dims[static_cast<std::size_t>(i)];
  }

  int rank() const { return rank_; }
  int64_t operator[](int dim) const { return dims_[static_cast<std::size_t>(checked(dim))]; }
  int64_t& operator[](int dim) { return dims_[static_cast<std::size_t>(checked(dim))]; }
  int64_t back() const { return (*this)[rank_ - 1]; }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  /// The product of the dims [first, last).
  int64_t product(int first, int last) const {
    int64_t n = 1;
    for (int i = first; i < last; ++i) n *= (*this)[i];
    return n;
  }
  int64_t num_elements() const { return product(0, rank_); }
  Shape with(int dim, int64_t size) const {
    Shape result = *this;
    result[dim] = size;
    return result;
  }
  std::vector<int64_t> to_vector() const { return {begin(), end()}; }
  /// "[2, 3]"
  std::string to_string() const;
  bool operator==(const Shape& other) const;

 private:
  int checked(int dim) const {
    TRIPTYCH_CHECK(dim >= 0 && dim < rank_, "dim {} of a shape with {} dims", dim, rank_);
    return dim;
  }
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

}  // namespace triptych::tensor
