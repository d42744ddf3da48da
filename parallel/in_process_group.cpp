#include "parallel/in_process_group.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>
#include <tuple>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "parallel/peer_error.h"
#include "parallel/reduce.h"

namespace triptych::parallel {
namespace {

// What all ranks of one run_ranks share. One mutex guards it and everything below: these groups are for tests, where
// being simple matters more than speed.
struct SharedWorld {
  SharedWorld(int size, std::chrono::milliseconds wait_limit)
      : returned(static_cast<std::size_t>(size)), timeout(wait_limit) {}

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<bool> returned;  // by world rank: will start nothing more
  std::exception_ptr first_failure;
  std::string failure;  // why every operation and wait throws from now on; empty while all is well
  const std::chrono::milliseconds timeout;

  void fail(std::exception_ptr exception, std::string why) {
    if (!failure.empty()) return;
    first_failure = std::move(exception);
    failure = std::move(why);
    changed.notify_all();
  }
};

// A collective, or one message between two ranks: what each taking part has called, until the last one comes and moves
// the data for all.
struct Meeting {
  explicit Meeting(std::vector<int> members)
      : ranks(std::move(members)), calls(ranks.size()), has_called(ranks.size()) {}

  std::vector<int> ranks;  // of the group; for a message, sender and receiver
  std::vector<Operation> calls;
  std::vector<bool> has_called;
  bool done = false;
  std::string disagreement;  // of the calls; empty if there is none

  bool complete() const { return std::find(has_called.begin(), has_called.end(), false) == has_called.end(); }
};

struct SharedGroup {
  int64_t first_open = 0;  // the collective at the front of `collectives`
  std::deque<std::shared_ptr<Meeting>> collectives;
  std::map<std::tuple<int, int, int, int64_t>, std::shared_ptr<Meeting>>
      messages;  // by source, destination, tag, number
  std::map<std::pair<int64_t, int>, std::pair<std::shared_ptr<SharedGroup>, int>>
      splits;  // by number and color: ranks left
};

void execute_collective(const std::vector<Operation>& calls) {
  const std::size_t n = calls.size();
  const Operation& first = calls.front();
  const std::size_t row = first.bytes();
  if (row == 0) return;
  const auto piece = [row](auto* base, std::size_t index) {
    using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(base)>>, const std::byte, std::byte>;
    return static_cast<Byte*>(base) + index * row;
  };
  std::vector<const void*> sources(n);
  switch (first.kind) {
    case Operation::Kind::kAllReduce: {
      for (std::size_t r = 0; r < n; ++r) sources[r] = calls[r].recv;
      reduce_rows(sources, first.recv, first.count, first.dtype, first.reduce);
      for (std::size_t r = 1; r < n; ++r) std::memcpy(calls[r].recv, first.recv, row);
      return;
    }
    case Operation::Kind::kAllGather:
      for (const Operation& to : calls) {
        for (std::size_t r = 0; r < n; ++r) std::memcpy(piece(to.recv, r), calls[r].send, row);
      }
      return;
    case Operation::Kind::kReduceScatter:
      for (std::size_t to = 0; to < n; ++to) {
        for (std::size_t r = 0; r < n; ++r) sources[r] = piece(calls[r].send, to);
        reduce_rows(sources, calls[to].recv, first.count, first.dtype, first.reduce);
      }
      return;
    case Operation::Kind::kAllToAll:
      for (std::size_t to = 0; to < n; ++to) {
        for (std::size_t r = 0; r < n; ++r) std::memcpy(piece(calls[to].recv, r), piece(calls[r].send, to), row);
      }
      return;
    case Operation::Kind::kBroadcast: {
      const std::size_t root = static_cast<std::size_t>(first.peer);
      for (std::size_t r = 0; r < n; ++r) {
        if (r != root) std::memcpy(calls[r].recv, calls[root].recv, row);
      }
      return;
    }
    case Operation::Kind::kSend:
    case Operation::Kind::kRecv:
      std::memcpy(calls[1].recv, calls[0].send, row);
      return;
  }
}

class InProcessPending : public Pending {
 public:
  InProcessPending(std::shared_ptr<SharedWorld> world, std::shared_ptr<const GroupIdentity> identity,
                   std::shared_ptr<Meeting> meeting, const Operation& operation)
      : world_(std::move(world)), identity_(std::move(identity)), meeting_(std::move(meeting)), operation_(operation) {}

  bool test() override {
    const std::lock_guard lock(world_->mutex);
    return done();
  }

  void wait() override {
    std::unique_lock lock(world_->mutex);
    const auto deadline = std::chrono::steady_clock::now() + world_->timeout;
    while (!done()) {
      refuse_to_wait_for_returned();
      if (world_->changed.wait_until(lock, deadline) == std::cv_status::no_timeout || done()) continue;
      throw PeerError(
          identity_->where(),
          fmt::format("a peer must come within {} s: number {}, {}, waited as long; {} has not called it. "
                      "Look at what that rank does",
                      seconds(), operation_.sequence, operation_.to_string(), missing()),
          fmt::format("number {}, {} in {}", operation_.sequence, operation_.to_string(), identity_->where()));
    }
  }

 private:
  // Needs the lock.
  bool done() const {
    if (!meeting_->disagreement.empty()) throw InternalError(identity_->where(), meeting_->disagreement);
    if (meeting_->done) return true;
    if (!world_->failure.empty()) {
      throw WorldError(identity_->where(), fmt::format("number {}, {}, cannot be done: {}", operation_.sequence,
                                                       operation_.to_string(), world_->failure));
    }
    return false;
  }

  void refuse_to_wait_for_returned() const {
    for (std::size_t i = 0; i < meeting_->ranks.size(); ++i) {
      const int rank = meeting_->ranks[i];
      if (meeting_->has_called[i] ||
          !world_->returned[static_cast<std::size_t>(identity_->world_ranks[static_cast<std::size_t>(rank)])])
        continue;
      throw WorldError(identity_->where(),
                       fmt::format("number {}, {}, waits for {}, which has returned without calling it",
                                   operation_.sequence, operation_.to_string(), identity_->rank_text(rank)));
    }
  }

  std::string missing() const {
    std::string text;
    for (std::size_t i = 0; i < meeting_->ranks.size(); ++i) {
      if (meeting_->has_called[i]) continue;
      text += fmt::format("{}{}", text.empty() ? "" : ", ", identity_->rank_text(meeting_->ranks[i]));
    }
    return text;
  }

  double seconds() const { return std::chrono::duration<double>(world_->timeout).count(); }

  std::shared_ptr<SharedWorld> world_;
  std::shared_ptr<const GroupIdentity> identity_;
  std::shared_ptr<Meeting> meeting_;
  Operation operation_;
};

class InProcessGroup : public Group {
 public:
  InProcessGroup(GroupIdentity identity, std::shared_ptr<SharedWorld> world, std::shared_ptr<SharedGroup> shared)
      : Group(std::move(identity)), world_(std::move(world)), shared_(std::move(shared)) {}

  std::unique_ptr<Group> split(int color, int key, std::string name) override {
    GroupIdentity identity = split_identity(color, key, std::move(name));
    const int64_t number = num_splits_++;
    if (identity.size() == 0) return nullptr;
    const std::lock_guard lock(world_->mutex);
    auto& [shared, ranks_left] = shared_->splits[{number, color}];
    if (!shared) {
      shared = std::make_shared<SharedGroup>();
      ranks_left = identity.size();
    }
    auto group = std::make_unique<InProcessGroup>(std::move(identity), world_, shared);
    if (--ranks_left == 0) shared_->splits.erase({number, color});
    return group;
  }

  void progress() override {}
  std::string_view transport() const override { return "threads"; }
  std::chrono::milliseconds timeout() const override { return world_->timeout; }

  [[noreturn]] void abort(int exit_code) override {
    const WorldError error(identity()->where(), fmt::format("{} aborted the world with exit code {}",
                                                            identity()->rank_text(rank()), exit_code));
    const std::lock_guard lock(world_->mutex);
    world_->fail(std::make_exception_ptr(error), error.what());
    throw error;
  }

 protected:
  std::shared_ptr<Pending> start(const Operation& operation) override {
    const std::lock_guard lock(world_->mutex);
    if (!world_->failure.empty()) {
      throw WorldError(identity()->where(), fmt::format("{} cannot start: {}", operation.to_string(), world_->failure));
    }
    std::shared_ptr<Meeting> meeting = operation.is_collective() ? join_collective(operation) : join_message(operation);
    if (meeting->disagreement.empty() && meeting->complete()) {
      execute_collective(meeting->calls);
      meeting->done = true;
    }
    if (meeting->done || !meeting->disagreement.empty()) world_->changed.notify_all();
    return std::make_shared<InProcessPending>(world_, identity(), std::move(meeting), operation);
  }

 private:
  std::shared_ptr<Meeting> join_collective(const Operation& operation) {
    std::deque<std::shared_ptr<Meeting>>& open = shared_->collectives;
    const std::size_t index = static_cast<std::size_t>(operation.sequence - shared_->first_open);
    if (index == open.size()) {
      std::vector<int> all(static_cast<std::size_t>(size()));
      std::iota(all.begin(), all.end(), 0);
      open.push_back(std::make_shared<Meeting>(std::move(all)));
    }
    std::shared_ptr<Meeting> meeting = open[index];
    call(*meeting, static_cast<std::size_t>(rank()), operation);
    for (std::size_t r = 0; r < meeting->calls.size(); ++r) {
      if (meeting->has_called[r] && !meeting->calls[r].agrees_with(operation))
        meeting->disagreement = disagreement(*meeting);
    }
    while (!open.empty() && open.front()->complete()) {
      open.pop_front();
      ++shared_->first_open;
    }
    return meeting;
  }

  std::shared_ptr<Meeting> join_message(const Operation& operation) {
    const bool is_send = operation.kind == Operation::Kind::kSend;
    const int source = is_send ? rank() : operation.peer;
    const int destination = is_send ? operation.peer : rank();
    const std::tuple key{source, destination, operation.tag, operation.sequence};
    std::shared_ptr<Meeting>& open = shared_->messages[key];
    if (!open) open = std::make_shared<Meeting>(std::vector<int>{source, destination});
    std::shared_ptr<Meeting> meeting = open;
    call(*meeting, is_send ? 0 : 1, operation);
    if (meeting->complete()) {
      const Operation &sent = meeting->calls[0], &wanted = meeting->calls[1];
      if (sent.count != wanted.count || sent.dtype != wanted.dtype) meeting->disagreement = disagreement(*meeting);
      shared_->messages.erase(key);
    }
    return meeting;
  }

  void call(Meeting& meeting, std::size_t index, const Operation& operation) const {
    TRIPTYCH_CHECK(!meeting.has_called[index], "{} came twice in {}", operation.to_string(), name());
    meeting.calls[index] = operation;
    meeting.has_called[index] = true;
  }

  std::string disagreement(const Meeting& meeting) const {
    std::string text;
    int64_t sequence = 0;
    for (std::size_t i = 0; i < meeting.ranks.size(); ++i) {
      const std::string called = meeting.has_called[i] ? meeting.calls[i].to_string() : "nothing yet";
      if (meeting.has_called[i]) sequence = meeting.calls[i].sequence;
      text += fmt::format("{} {}: {}", i == 0 ? "" : ";", identity()->rank_text(meeting.ranks[i]), called);
    }
    return fmt::format("the ranks must call the same with the same count and type; number {} is{}", sequence, text);
  }

  std::shared_ptr<SharedWorld> world_;
  std::shared_ptr<SharedGroup> shared_;
  int64_t num_splits_ = 0;
};

}  // namespace

void run_ranks(int size, const std::function<void(Group& world)>& body, const InProcessOptions& options) {
  TRIPTYCH_CHECK(size >= 1, "{} ranks", size);
  const auto world = std::make_shared<SharedWorld>(size, options.timeout);
  const auto shared = std::make_shared<SharedGroup>();
  std::vector<int> world_ranks(static_cast<std::size_t>(size));
  std::iota(world_ranks.begin(), world_ranks.end(), 0);

  const auto run_rank = [&](int rank) {
    std::exception_ptr failure;
    std::string why;
    try {
      InProcessGroup group({.name = "world", .rank = rank, .world_ranks = world_ranks}, world, shared);
      body(group);
    } catch (const std::exception& exception) {
      failure = std::current_exception();
      why = exception.what();
    } catch (...) {
      failure = std::current_exception();
      why = "an exception of unknown type";
    }
    const std::lock_guard lock(world->mutex);
    world->returned[static_cast<std::size_t>(rank)] = true;
    if (failure) world->fail(failure, fmt::format("world rank {} failed: {}", rank, why));
    world->changed.notify_all();
  };
  {
    std::vector<std::jthread> threads;
    try {
      for (int rank = 0; rank < size; ++rank) threads.emplace_back(run_rank, rank);
    } catch (const std::system_error& error) {  // those that run would wait for the others
      const std::string why = fmt::format("{} of {} ranks could start: {}. Raise `ulimit -u` or use fewer ranks",
                                          threads.size(), size, error.what());
      const std::lock_guard lock(world->mutex);
      world->fail(std::make_exception_ptr(WorldError("ranks", why)), why);
      world->changed.notify_all();
    }
  }
  if (world->first_failure) std::rethrow_exception(world->first_failure);
}

}  // namespace triptych::parallel
