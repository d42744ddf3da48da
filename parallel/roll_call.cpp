#include "parallel/roll_call.h"

#include <algorithm>
#include <thread>
#include <utility>

#include <fmt/core.h>

namespace triptych::parallel {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kQuestion = 1, kAnswer = 2, kNudge = 3;  // tags
constexpr auto kBetweenLooks = 100ms;
constexpr std::size_t kMostAnswerBytes = 1 << 20;
// A message's first character: what its sender knows, if it has given up.
constexpr char kGoesOn = '-', kKnowsCause = 'c', kSawEcho = 'e';

}  // namespace

RollCall::RollCall(Options options) : options_(std::move(options)) {
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm_), "world", "MPI_Comm_dup");
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
}

RollCall::~RollCall() {
  MPI_Comm_free(&comm_);
}

// What cannot be sent to a rank that is gone is lost without a word: it will be told as one that does not answer.
void RollCall::send(int to, int tag, const std::string& text) {
  const char call = !own_call_ ? kGoesOn : own_call_->evidence == Evidence::kCause ? kKnowsCause : kSawEcho;
  auto message = std::make_unique<Outgoing>(Outgoing{.text = call + text});
  if (MPI_Isend(message->text.data(), static_cast<int>(message->text.size()), MPI_BYTE, to, tag, comm_,
                &message->request) == MPI_SUCCESS) {
    outgoing_.push_back(std::move(message));
  }
}

RollCall::Incoming RollCall::receive(int tag) {
  int has_come = 0, bytes = 0;
  MPI_Status status;
  if (MPI_Iprobe(MPI_ANY_SOURCE, tag, comm_, &has_come, &status) != MPI_SUCCESS || has_come == 0) return {};
  MPI_Get_count(&status, MPI_BYTE, &bytes);
  Incoming message{.from = status.MPI_SOURCE, .text = std::string(static_cast<std::size_t>(bytes), '\0')};
  if (MPI_Recv(message.text.data(), bytes, MPI_BYTE, message.from, tag, comm_, MPI_STATUS_IGNORE) != MPI_SUCCESS) {
    return {};
  }
  const char call = message.text.front();
  message.text.erase(0, 1);
  if (call != kGoesOn) {
    note({.evidence = call == kKnowsCause ? Evidence::kCause : Evidence::kEcho, .rank = message.from});
  }
  return message;
}

void RollCall::note(const Caller& caller) {
  if (!teller_ || caller < *teller_) teller_ = caller;
}

void RollCall::answer(const std::function<std::string()>& waiting) {
  const Clock::time_point now = Clock::now();
  if (now < next_look_) return;
  next_look_ = now + kBetweenLooks;
  answer_all(waiting());
}

void RollCall::answer_all(const std::string& waiting) {
  for (Incoming question = receive(kQuestion); question.from >= 0; question = receive(kQuestion)) {
    send(question.from, kAnswer, (waiting + neighbours()).substr(0, kMostAnswerBytes));
  }
  while (receive(kNudge).from >= 0) {
  }
  // MPI sends only while it is called.
  std::erase_if(outgoing_, [](const std::unique_ptr<Outgoing>& message) {
    int is_sent = 0;
    return MPI_Test(&message->request, &is_sent, MPI_STATUS_IGNORE) != MPI_SUCCESS || is_sent != 0;
  });
}

void RollCall::nudge(std::span<const int> ranks) {
  for (const int rank : ranks) send(rank, kNudge, "");
}

// A line "\n3 its process ..." for each other rank of this machine: should it be missing, this one can tell.
std::string RollCall::neighbours() const {
  std::string text;
  for (int rank = 0; rank < size_; ++rank) {
    const std::string found = rank == rank_ ? "" : options_.neighbour(rank);
    if (!found.empty()) text += fmt::format("\n{} {}", rank, found);
  }
  return text;
}

std::string RollCall::ask(const PeerError& error) {
  const std::string& waiting = error.waiting;
  own_call_ = Caller{.evidence = error.evidence, .rank = rank_};
  note(*own_call_);
  answer_all(waiting);
  const auto others_turn = [&] { return teller_ != own_call_; };
  if (!others_turn()) {
    for (int rank = 0; rank < size_; ++rank) {
      if (rank != rank_) send(rank, kQuestion, "");
    }
  }
  std::map<int, std::string> answers{{rank_, waiting + neighbours()}};
  const Clock::time_point begin = Clock::now();
  // Who is silent waits for longer: to be ended by the one that tells. So does, for a while, who has seen an echo: the
  // rank that knows more may still be on its way here, or print an error of another kind.
  const int own_patience = error.evidence == Evidence::kEcho ? 2 : 1;
  while (Clock::now() - begin < (others_turn() ? 3 : own_patience) * options_.patience) {
    if (!others_turn() && std::cmp_equal(answers.size(), size_)) break;
    answer_all(waiting);
    for (Incoming message = receive(kAnswer); message.from >= 0; message = receive(kAnswer)) {
      answers[message.from] = std::move(message.text);
    }
    std::this_thread::sleep_for(10ms);
  }
  if (others_turn()) return fmt::format("Rank {} asked all ranks what they wait for, and told nothing", teller_->rank);
  return describe(answers);
}

// "rank 3 on n2 (its process 4711 is stopped by a signal, ...), ranks 4, 6 on n3, n4 with all its ranks, 8-11".
std::string RollCall::missing_text(const std::map<int, std::string>& answers,
                                   const std::map<int, std::string>& known) const {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  const Machines& machines = *options_.machines;
  for (int machine = 0; machine < machines.count(); ++machine) {
    const std::string& host = machines.host(machine);
    std::vector<int> unknown;
    for (const int rank : machines.ranks(machine)) {
      if (answers.contains(rank)) continue;
      const auto found = known.find(rank);
      if (found == known.end()) {
        unknown.push_back(rank);
      } else {
        add(fmt::format("rank {} on {} ({})", rank, host, found->second));
      }
    }
    if (unknown.empty()) continue;
    const bool is_whole = unknown.size() > 1 && unknown.size() == machines.ranks(machine).size();
    add(is_whole ? fmt::format("{} with all its ranks, {}", host, ranks_text(unknown).substr(sizeof "ranks"))
                 : fmt::format("{} on {}", ranks_text(unknown), host));
  }
  return text;
}

std::string RollCall::describe(const std::map<int, std::string>& answers) const {
  std::map<int, std::string> known;             // of a rank, by those of its machine
  std::map<std::string, std::vector<int>> who;  // waits there
  for (const auto& [rank, answer] : answers) {
    std::size_t end = answer.find('\n');
    who[answer.substr(0, end)].push_back(rank);
    while (end != std::string::npos) {
      const std::size_t begin = end + 1;
      end = answer.find('\n', begin);
      const std::string line = answer.substr(begin, end == std::string::npos ? end : end - begin);
      const std::size_t blank = line.find(' ');
      if (blank != std::string::npos) known[std::atoi(line.c_str())] = line.substr(blank + 1);
    }
  }
  const std::string missing = missing_text(answers, known);
  std::string waiters;
  for (const auto& [what, ranks] : who) {
    waiters += fmt::format("{}{}{}", waiters.empty() ? "" : ", ", ranks_text(ranks),
                           what.empty() ? "" : fmt::format(" ({})", what));
  }
  if (missing.empty()) return fmt::format("All ranks answer, so they wait for each other: {}", waiters);
  return fmt::format("No answer from {}{}{}", missing, waiters.empty() ? "" : "; these answer: ", waiters);
}

}  // namespace triptych::parallel
