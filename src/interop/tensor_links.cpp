#include "interop/tensor_links.h"

#include "base/error.h"

namespace triptych::interop {

int64_t volume(const Dims& shape) {
  int64_t product = 1;
  for (const int64_t dim : shape) product *= dim;
  return product;
}

void TensorTable::same(const std::string& ours, const Dims& our_shape, const std::string& theirs,
                       const Dims& their_shape) {
  TRIPTYCH_CHECK(volume(our_shape) == volume(their_shape), "{} and {} differ in size", ours, theirs);
  links_.push_back(
      {.ours = ours, .our_shape = our_shape, .theirs = theirs, .their_shape = their_shape, .count = volume(our_shape)});
}

void TensorTable::turned(const std::string& ours, const Dims& our_shape, const std::string& theirs) {
  const int64_t inputs = our_shape.back();
  links_.push_back({.ours = ours,
                    .our_shape = our_shape,
                    .theirs = theirs,
                    .their_shape = {inputs, volume(our_shape) / inputs},
                    .count = volume(our_shape),
                    .turned = true});
}

void TensorTable::stacked(const std::string& ours, const Dims& part_shape, const std::vector<std::string>& theirs) {
  Dims whole = part_shape;
  whole.insert(whole.begin(), static_cast<int64_t>(theirs.size()));
  const int64_t count = volume(part_shape);
  int64_t begin = 0;
  for (const std::string& one : theirs) {
    links_.push_back({.ours = ours,
                      .our_shape = whole,
                      .theirs = one,
                      .their_shape = part_shape,
                      .our_begin = begin,
                      .count = count});
    begin += count;
  }
}

void TensorTable::packed(const std::vector<std::pair<std::string, Dims>>& ours, const std::string& theirs,
                         const Dims& their_shape) {
  int64_t begin = 0;
  for (const auto& [name, shape] : ours) {
    links_.push_back({.ours = name,
                      .our_shape = shape,
                      .theirs = theirs,
                      .their_shape = their_shape,
                      .their_begin = begin,
                      .count = volume(shape)});
    begin += volume(shape);
  }
  TRIPTYCH_CHECK(begin == volume(their_shape), "{} is not made of its parts", theirs);
}

void TensorTable::product(const std::string& ours, const std::string& theirs, int64_t outputs, int64_t inputs,
                          bool bias) {
  same(ours + ".weight", theirs + ".weight", {outputs, inputs});
  if (bias) same(ours + ".bias", theirs + ".bias", {outputs});
}

void TensorTable::norm(const std::string& ours, const std::string& theirs, int64_t width) {
  same(ours + ".weight", theirs + ".weight", {width});
  same(ours + ".bias", theirs + ".bias", {width});
}

void TensorTable::respell(std::string_view end, std::string_view instead) {
  for (TensorLink& link : links_) {
    if (link.theirs.ends_with(end)) link.theirs.replace(link.theirs.size() - end.size(), end.size(), instead);
  }
}

}  // namespace triptych::interop
