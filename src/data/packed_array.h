#pragma once

#include <compare>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <ranges>
#include <span>
#include <type_traits>

#include "base/rooms.h"

namespace triptych::data {

/// Values that lie one behind the other at any address, as in a mapped file that aligns none of them: a span whose
/// elements are read by value. Borrows its memory.
template <typename T>
class PackedArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  using value_type = T;

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;  // of old: it gives values, not references
    using iterator_concept = std::random_access_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using reference = T;
    using pointer = void;

    Iterator() = default;
    explicit Iterator(const std::byte* at) : at_(at) {}
    T operator*() const { return read(at_); }
    T operator[](difference_type n) const { return *(*this + n); }
    Iterator& operator+=(difference_type n) {
      at_ += n * kBytes;
      return *this;
    }
    Iterator& operator-=(difference_type n) { return *this += -n; }
    Iterator& operator++() { return *this += 1; }
    Iterator& operator--() { return *this -= 1; }
    Iterator operator++(int) {
      const Iterator old = *this;
      ++*this;
      return old;
    }
    Iterator operator--(int) {
      const Iterator old = *this;
      --*this;
      return old;
    }
    friend Iterator operator+(Iterator i, difference_type n) { return i += n; }
    friend Iterator operator+(difference_type n, Iterator i) { return i += n; }
    friend Iterator operator-(Iterator i, difference_type n) { return i -= n; }
    friend difference_type operator-(Iterator a, Iterator b) { return (a.at_ - b.at_) / kBytes; }
    auto operator<=>(const Iterator&) const = default;

   private:
    static constexpr auto kBytes = static_cast<difference_type>(sizeof(T));
    const std::byte* at_ = nullptr;
  };

  PackedArray() = default;
  /// `size` values from `first` on.
  PackedArray(const std::byte* first, std::size_t size) : first_(first), size_(size) {}
  /// Those of a vector, an array or a span.
  template <typename Range>
  requires(std::ranges::contiguous_range<Range>&& std::same_as<std::ranges::range_value_t<Range>, T>)
      PackedArray(const Range& values)  // NOLINT(google-explicit-constructor): as a span does
      : PackedArray(reinterpret_cast<const std::byte*>(std::ranges::data(values)), std::ranges::size(values)) {}

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T operator[](std::size_t i) const { return read(first_ + i * sizeof(T)); }
  T back() const { return (*this)[size_ - 1]; }
  Iterator begin() const { return Iterator(first_); }
  Iterator end() const { return Iterator(first_ + size_ * sizeof(T)); }
  /// `count` of them from the one of number `first` on.
  PackedArray part(std::size_t first, std::size_t count) const { return {first_ + first * sizeof(T), count}; }
  std::span<const std::byte> bytes() const { return {first_, size_ * sizeof(T)}; }

 private:
  static T read(const std::byte* at) {
    T value;
    std::memcpy(&value, at, sizeof(T));
    return value;
  }

  const std::byte* first_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace triptych::data
