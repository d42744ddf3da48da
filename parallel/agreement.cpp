#include "parallel/agreement.h"

#include <algorithm>
#include <exception>

namespace triptych::parallel {
namespace {

// The first character of a rank's outcome, before its result or message: this, or the digit of the error's kind.
constexpr char kDone = 'd';

std::string failure(ErrorKind kind, const char* message) {
  return static_cast<char>('0' + static_cast<int>(kind)) + std::string(message);
}

// Every rank's outcome, by rank.
std::vector<std::string> run_on_all(Group& group, const std::function<std::string()>& work) {
  std::string mine;
  try {
    mine = kDone + work();
  } catch (const Error& error) {
    mine = failure(error.kind(), error.what());
  } catch (const std::exception& error) {
    mine = failure(ErrorKind::kWorld, error.what());
  }
  return group.all_gather_string(mine);
}

bool has_failed(const std::string& outcome) {
  return outcome[0] != kDone;
}
ErrorKind kind_of(const std::string& outcome) {
  return static_cast<ErrorKind>(outcome[0] - '0');
}

}  // namespace

void together(Group& group, const std::function<void()>& work) {
  if (group.size() == 1) return work();
  const std::vector<std::string> all = run_on_all(group, [&] {
    work();
    return std::string();
  });
  const auto failed = std::find_if(all.begin(), all.end(), has_failed);
  if (failed == all.end()) return;
  const bool is_common = failed == all.begin() && all.front() == all.back();
  throw AgreedError(
      kind_of(*failed),
      failed->substr(1) + (is_common ? "" : fmt::format(" (rank {}/{})", failed - all.begin(), all.size())));
}

std::vector<std::string> together(Group& group, const JointWork& what, const std::function<std::string()>& work) {
  std::vector<std::string> all = run_on_all(group, work);
  const auto failed = std::find_if(all.begin(), all.end(), has_failed);
  if (failed != all.end()) {
    const std::string who = all.size() > 1 ? fmt::format("rank {} of {} ", failed - all.begin(), all.size()) : "";
    const ErrorKind kind = kind_of(*failed);
    const bool has_remedy = kind == ErrorKind::kWorld && !what.remedy.empty();
    throw AgreedError(kind, fmt::format("[{}] {}could not {}: {}{}{}", what.where, who, what.doing, failed->substr(1),
                                        has_remedy ? ". " : "", has_remedy ? what.remedy : ""));
  }
  for (std::string& outcome : all) outcome.erase(0, 1);
  return all;
}

}  // namespace triptych::parallel
