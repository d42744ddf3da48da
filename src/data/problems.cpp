#include "data/problems.h"

#include <utility>

#include <fmt/core.h>

namespace triptych::data {

namespace {
constexpr std::size_t kShown = 20;
}

void Problems::add(std::string problem) {
  ++count_;
  if (first_.size() >= kShown) return;
  for (char& c : problem) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';  // names from outside could command a terminal
  }
  first_.push_back(std::move(problem));
}

std::string Problems::text() const {
  std::string text = fmt::format("{} problem{}:", count_, count_ == 1 ? "" : "s");
  for (const std::string& problem : first_) text += "\n  " + problem;
  if (count_ > first_.size()) text += fmt::format("\n  and {} more", count_ - first_.size());
  return text;
}

}  // namespace triptych::data
