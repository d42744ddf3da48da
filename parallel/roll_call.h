#pragma once

#include <chrono>
#include <compare>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parallel/machines.h"
#include "parallel/mpi_group.h"
#include "parallel/peer_error.h"

namespace triptych::parallel {

/// Finds out who is missing when a rank has waited in vain, and lets one rank tell it for all.
///
/// The rank that gives up asks all others; whoever polls its groups, because it waits too or works between two
/// operations, answers with what it does and what it waits for. Who does not answer is what the rest waits for. Where
/// several give up at once one of them tells, and the others answer and leave it to that one: the lowest world rank of
/// those that know the cause. A rank that has but seen a peer's end (Evidence::kEcho) tells only if no other does.
class RollCall {
 public:
  struct Options {
    std::chrono::milliseconds patience{1500};  ///< with those who do not answer
    const Machines* machines = nullptr;        ///< of all ranks; outlives the roll call
    /// What a rank of this machine does, "its process 4711 is stopped by a signal, it was doing: step 12", by world
    /// rank; empty for others.
    std::function<std::string(int world_rank)> neighbour;
  };

  /// Collective over all ranks.
  explicit RollCall(Options options);
  ~RollCall();
  RollCall(const RollCall&) = delete;
  RollCall& operator=(const RollCall&) = delete;

  /// Answers those who asked, with what this rank waits for (empty: nothing). To be called often: looks ten times a
  /// second.
  void answer(const std::function<std::string()>& waiting);

  /// Asks, and returns a sentence for the error's end: "No answer from rank 3 on n2 (its process ...); these answer:
  /// ranks 0, 1 (number 20, ...), rank 2 (...)", or "No answer from n2 with all its ranks, 4-7". If another rank is to
  /// tell, waits for long enough to be ended by it.
  std::string ask(const PeerError& error);

  /// Sends these ranks a message that means nothing, so that their machines' systems have something to acknowledge.
  void nudge(std::span<const int> ranks);

 private:
  /// A rank that has given up, in the order in which they come to tell.
  struct Caller {
    Evidence evidence = Evidence::kEcho;
    int rank = 0;
    auto operator<=>(const Caller&) const = default;
  };
  struct Outgoing {
    std::string text;
    MPI_Request request = MPI_REQUEST_NULL;
  };
  void send(int to, int tag, const std::string& text);
  /// A message that has come, and its sender; empty if there is none. Every message says whether its sender has given
  /// up too, which is noted.
  struct Incoming {
    int from = -1;
    std::string text;
  };
  Incoming receive(int tag);
  void note(const Caller& caller);
  void answer_all(const std::string& waiting);
  std::string neighbours() const;
  std::string missing_text(const std::map<int, std::string>& answers, const std::map<int, std::string>& known) const;
  std::string describe(const std::map<int, std::string>& answers) const;

  Options options_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 0;
  std::optional<Caller> own_call_;  // once this rank has given up
  std::optional<Caller> teller_;    // the first of all that are known to have given up
  std::vector<std::unique_ptr<Outgoing>> outgoing_;
  std::chrono::steady_clock::time_point next_look_{};
};

}  // namespace triptych::parallel
