#include "parallel/agreement.h"

#include <algorithm>
#include <exception>
#include <map>
#include <set>
#include <utility>

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

// What ranks send each other: texts one after the other, each with a zero behind it.
std::string join(const std::vector<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) joined += text + '\0';
  return joined;
}
std::vector<std::string> split(std::string_view joined) {
  std::vector<std::string> texts;
  for (std::size_t end = joined.find('\0'); end != std::string_view::npos; end = joined.find('\0')) {
    texts.emplace_back(joined.substr(0, end));
    joined.remove_prefix(end + 1);
  }
  return texts;
}

// "rank 3", "ranks 0-2, 5", of ascending numbers.
std::string describe_ranks(const std::vector<int>& ranks) {
  std::string text;
  for (std::size_t i = 0; i < ranks.size();) {
    std::size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    const std::string range = last == i ? "" : fmt::format("-{}", ranks[last]);
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ", ranks[i], range);
    i = last + 1;
  }
  return fmt::format("rank{} {}", ranks.size() == 1 ? "" : "s", text);
}

struct Holders {
  std::vector<int> ranks;
  std::set<std::string> hosts;
};

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

void require_equal_facts(Group& group, std::string_view where, const std::string& host,
                         const std::vector<SharedFact>& facts, std::string_view remedy) {
  std::vector<std::string> mine{std::string(where), std::string(remedy), host};
  for (const SharedFact& fact : facts) mine.insert(mine.end(), {fact.name, fact.value});
  std::vector<std::vector<std::string>> all;
  for (const std::string& joined : group.all_gather_string(join(mine))) all.push_back(split(joined));

  // By the names of all ranks, in the order in which they come up: programs of two versions may have other facts.
  std::vector<std::string> names;
  std::map<std::string, std::map<std::string, Holders>> holders;  // by name, then value
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    for (std::size_t i = 3; i + 1 < all[rank].size(); i += 2) {
      if (!holders.contains(all[rank][i])) names.push_back(all[rank][i]);
      Holders& of_value = holders[all[rank][i]][all[rank][i + 1]];
      of_value.ranks.push_back(static_cast<int>(rank));
      of_value.hosts.insert(all[rank][2]);
    }
  }
  std::string text;
  for (const std::string& name : names) {
    std::size_t num_ranks = 0;
    for (const auto& [value, of_value] : holders[name]) num_ranks += of_value.ranks.size();
    if (holders[name].size() == 1 && num_ranks == all.size()) continue;
    std::vector<std::pair<std::string, Holders>> values(holders[name].begin(), holders[name].end());
    std::sort(values.begin(), values.end(),
              [](const auto& a, const auto& b) { return a.second.ranks.front() < b.second.ranks.front(); });
    std::string list;
    for (const auto& [value, of_value] : values) {
      std::string hosts;
      for (const std::string& each : of_value.hosts) hosts += (hosts.empty() ? "" : ", ") + each;
      list += fmt::format("{}{} on {} {} {}", list.empty() ? "" : ", ", describe_ranks(of_value.ranks), hosts,
                          of_value.ranks.size() == 1 ? "has" : "have", value);
    }
    if (num_ranks < all.size()) list += ", the others have none";
    text += fmt::format("{}every rank must have the same {}: {}", text.empty() ? "" : "; ", name, list);
  }
  if (text.empty()) return;
  throw AgreedError(ErrorKind::kUser, fmt::format("[{}] {}. {}", all[0][0], text, all[0][1]));
}

}  // namespace triptych::parallel
