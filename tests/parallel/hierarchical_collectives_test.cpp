#include "parallel/hierarchical_collectives.h"

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>

#include <gtest/gtest.h>

#include "parallel/shared_segment.h"
#include "tests/parallel/thread_ranks.h"

namespace triptych::test {
namespace {

using namespace std::chrono_literals;
using Bytes = std::vector<std::byte>;

// What carries messages between the machines, which are parts of one process: a queue for each sender, receiver and
// tag.
class Post {
 public:
  using Way = std::tuple<int, int, int>;
  void send(const Way& way, const void* data, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto* const begin = static_cast<const std::byte*>(data);
    queues_[way].emplace_back(begin, begin + bytes);
    num_bytes_ += bytes;
  }
  // False if nothing has come.
  bool receive(const Way& way, Bytes& message) {
    const std::lock_guard lock(mutex_);
    std::deque<Bytes>& queue = queues_[way];
    if (queue.empty()) return false;
    message = std::move(queue.front());
    queue.pop_front();
    return true;
  }
  std::size_t num_bytes() const { return num_bytes_; }

 private:
  std::mutex mutex_;
  std::map<Way, std::deque<Bytes>> queues_;
  std::size_t num_bytes_ = 0;
};

// Of all ranks: the machines' memory and the post.
struct MachinesSite : ThreadSite {
  MachinesSite(std::vector<int> machines_of_ranks, const HierarchicalCollectives::Options& options_of_all)
      : ThreadSite(static_cast<int>(machines_of_ranks.size())),
        numbers(std::move(machines_of_ranks)),
        options(options_of_all) {
    for (const int number : numbers) {
      if (segments.contains(number)) continue;
      const int first = static_cast<int>(std::find(numbers.begin(), numbers.end(), number) - numbers.begin());
      const GroupMachines machines = GroupMachines::of(numbers, first);
      segments.emplace(number, SharedSegment::create(HierarchicalCollectives::segment_bytes(machines, options_of_all)));
    }
  }
  std::vector<int> numbers;
  HierarchicalCollectives::Options options;
  std::map<int, SharedSegment> segments;
  Post post;
};

// The receives of one rank.
class Inbox : public Progress::Source {
 public:
  explicit Inbox(Post& post) : post_(post) {}
  void expect(std::shared_ptr<Flight> flight, int rank, bool may_be_shorter) {
    flights_.push_back({std::move(flight), rank, may_be_shorter});
  }
  bool advance() override {
    std::set<Post::Way> empty;  // what comes meanwhile is for those that were expected first
    return std::erase_if(flights_, [&](const Expected& expected) {
             const auto& [flight, rank, may_be_shorter] = expected;
             const Operation& op = flight->operation();
             const Post::Way way{op.peer, rank, op.tag};
             Bytes message;
             if (empty.contains(way) || !post_.receive(way, message)) {
               empty.insert(way);
               return false;
             }
             const bool is_wrong = message.size() > op.bytes() || (message.size() < op.bytes() && !may_be_shorter);
             if (is_wrong) {
               flight->fail(std::make_exception_ptr(InternalError("post", "a message of another length came")));
             } else {
               std::memcpy(op.recv, message.data(), message.size());
               flight->complete();
             }
             return true;
           }) > 0;
  }
  bool idle() const override { return flights_.empty(); }
  bool rings() const override { return true; }

 private:
  struct Expected {
    std::shared_ptr<Flight> flight;
    int rank;
    bool may_be_shorter;
  };
  Post& post_;
  std::deque<Expected> flights_;
};

class MachinesGroup : public ThreadGroup {
 public:
  MachinesGroup(GroupIdentity of_rank, MachinesSite& site, std::chrono::milliseconds timeout)
      : ThreadGroup(std::move(of_rank), site, timeout), site_(site), inbox_(site.post) {
    progress_->add(&inbox_);
    GroupMachines machines = GroupMachines::of(site.numbers, rank());
    std::vector<Doorbell*> bells;
    for (const int r : machines.ranks[static_cast<std::size_t>(machines.own)]) {
      bells.push_back(&site.bell(r));
    }
    collectives_ = std::make_unique<HierarchicalCollectives>(
        identity(), progress_, nullptr, site.segments.at(site.numbers[static_cast<std::size_t>(rank())]).data(), bells,
        std::move(machines),
        [this](const Operation& message, bool may_be_shorter) { return start_message(message, may_be_shorter); },
        site.options);
  }

 protected:
  std::shared_ptr<Pending> start(const Operation& operation) override {
    if (HierarchicalCollectives::takes(operation)) return collectives_->start(operation);
    EXPECT_EQ(operation.kind, Operation::Kind::kAllToAll);
    constexpr int kOwnTag = -1;
    const auto row = [&](auto* base, int r) { return base + static_cast<std::size_t>(r) * operation.bytes(); };
    for (int r = 0; r < size(); ++r) {
      site_.post.send({rank(), r, kOwnTag}, row(static_cast<const std::byte*>(operation.send), r), operation.bytes());
    }
    for (int r = 0; r < size(); ++r) {
      Bytes message;
      while (!site_.post.receive({r, rank(), kOwnTag}, message)) std::this_thread::yield();
      if (!message.empty())
        std::memcpy(row(static_cast<std::byte*>(operation.recv), r), message.data(), message.size());
    }
    auto flight = std::make_shared<Flight>(progress_, identity(), operation);
    flight->complete();
    return flight;
  }

 private:
  std::shared_ptr<Flight> start_message(const Operation& message, bool may_be_shorter) {
    auto flight = std::make_shared<Flight>(progress_, identity(), message);
    if (message.kind == Operation::Kind::kSend) {
      site_.post.send({rank(), message.peer, message.tag}, message.send, message.bytes());
      site_.bell(message.peer).ring();
      flight->complete();
    } else {
      inbox_.expect(flight, rank(), may_be_shorter);
    }
    return flight;
  }

  MachinesSite& site_;
  Inbox inbox_;
  std::unique_ptr<HierarchicalCollectives> collectives_;
};

void on_machine_ranks(MachinesSite& site, const std::function<void(Group&)>& body,
                      std::chrono::milliseconds timeout = 60s) {
  on_ranks<MachinesGroup>(site, body, timeout);
}

struct Case {
  std::vector<int> machines;
  HierarchicalCollectives::Options options;
};

class HierarchicalCollectivesTest : public ::testing::TestWithParam<Case> {};

TEST_P(HierarchicalCollectivesTest, DoWhatCollectivesOfEveryGroupDo) {
  check_contract<MachinesGroup>(contract::collective_checks(),
                                [] { return MachinesSite(GetParam().machines, GetParam().options); });
}

// Few and small slots make every operation of many pieces; small ones in one round, in two, all of them in one.
INSTANTIATE_TEST_SUITE_P(Machines, HierarchicalCollectivesTest,
                         ::testing::Values(Case{{0, 0, 1, 1}, {}},
                                           Case{{0, 1, 0, 1}, {.num_slots = 2, .slot_bytes = 4096, .direct_bytes = 0}},
                                           Case{{5, 5, 5, 2}, {.num_slots = 1, .slot_bytes = 8192}},
                                           Case{{1, 0, 2, 0, 2, 2, 1},
                                                {.num_slots = 3, .slot_bytes = 8192, .direct_bytes = 64}},
                                           Case{{2, 1, 0}, {.slot_bytes = 16384, .direct_bytes = 1 << 30}}));

TEST(GroupMachines, StandInTheOrderOfTheirFirstRanks) {
  const std::vector<int> numbers{7, 3, 7, 5, 3, 7};
  const GroupMachines machines = GroupMachines::of(numbers, 4);
  EXPECT_EQ(machines.ranks, (std::vector<std::vector<int>>{{0, 2, 5}, {1, 4}, {3}}));
  EXPECT_EQ(machines.own, 1);
  EXPECT_EQ(machines.num_carriers, 1);
  EXPECT_EQ(machines.machine_of, (std::vector<int>{0, 1, 0, 2, 1, 0}));
  EXPECT_EQ(machines.seat_of, (std::vector<int>{0, 0, 1, 0, 1, 2}));
}

TEST(HierarchicalCollectives, AddsOverTheRanksOfAMachineThenOverTheMachines) {
  // (1e8 - 1e8) + (1 + 1) = 2 in float32; in the order of the ranks 1e8 + 1 - 1e8 + 1 = 1.
  const std::vector<float> summands{1e8f, 1.0f, -1e8f, 1.0f};
  for (const int64_t direct_bytes : {0, 1 << 20}) {
    MachinesSite site({0, 1, 0, 1}, {.direct_bytes = direct_bytes});
    on_machine_ranks(site, [&](Group& group) {
      std::vector<float> data(101, summands[static_cast<std::size_t>(group.rank())]);
      group.all_reduce(data.data(), 101, DType::kFloat32, ReduceOp::kSum)->wait();
      EXPECT_EQ(data, std::vector<float>(101, 2.0f));
    });
  }
}

TEST(HierarchicalCollectives, EveryByteCrossesOnceAMachine) {
  constexpr int64_t kCount = 1 << 16;  // bytes of the larger buffer: four times as many
  const auto sent_by_all = [&](const std::vector<int>& machines,
                               const std::function<void(Group&, float*, float*)>& call) {
    MachinesSite site(machines, {});
    on_machine_ranks(site, [&](Group& group) {
      std::vector<float> a(kCount), b(kCount);
      call(group, a.data(), b.data());
    });
    const GroupMachines all = GroupMachines::of(machines, 0);
    const int num_greetings = all.num_carriers * all.count() * (all.count() - 1);
    return site.post.num_bytes() - static_cast<std::size_t>(num_greetings) * HierarchicalCollectives::kCallBytes;
  };
  const auto all_reduce = [](Group& g, float* a, float*) {
    g.all_reduce(a, kCount, DType::kFloat32, ReduceOp::kSum)->wait();
  };
  const auto gather = [](Group& g, float* a, float* b) {
    g.all_gather(a, b, kCount / g.size(), DType::kFloat32)->wait();
  };
  const auto scatter = [](Group& g, float* a, float* b) {
    g.reduce_scatter(a, b, kCount / g.size(), DType::kFloat32, ReduceOp::kSum)->wait();
  };
  const auto broadcast = [](Group& g, float* a, float*) { g.broadcast(a, kCount, DType::kFloat32, 1)->wait(); };
  constexpr std::size_t kBytes = 4 * kCount;
  for (const std::vector<int>& machines : {std::vector<int>{0, 0, 1, 1}, {0, 1}, {0, 0, 0, 1}, {0, 1, 1, 0}}) {
    EXPECT_EQ(sent_by_all(machines, all_reduce), 2 * kBytes);
    EXPECT_EQ(sent_by_all(machines, gather), kBytes);
    EXPECT_EQ(sent_by_all(machines, scatter), kBytes);
    EXPECT_EQ(sent_by_all(machines, broadcast), kBytes);
  }
  const std::vector<int> four{0, 0, 1, 1, 2, 2, 3, 3};
  EXPECT_EQ(sent_by_all(four, all_reduce), 4 * kBytes * 2 * 3 / 4);
  EXPECT_EQ(sent_by_all(four, gather), 4 * kBytes * 3 / 4);
  EXPECT_EQ(sent_by_all(four, scatter), 4 * kBytes * 3 / 4);
  EXPECT_EQ(sent_by_all(four, broadcast), 3 * kBytes);  // no machine gets a byte twice
}

using GroupCall = std::function<std::shared_ptr<Pending>(Group&, float*, float*)>;

// What the ranks are told if those of machine 0 call one thing and those of machine 1 another.
std::vector<std::string> told_in_disagreement(const std::vector<int>& machines, const GroupCall& first,
                                              const GroupCall& other) {
  MachinesSite site(machines, {});
  std::vector<std::string> told(machines.size());
  on_machine_ranks(site, [&](Group& group) {
    const std::size_t rank = static_cast<std::size_t>(group.rank());
    std::vector<float> a(600'000), b(600'000);
    group.barrier();
    told[rank] = error_text([&] { (machines[rank] == 0 ? first : other)(group, a.data(), b.data())->wait(); });
    EXPECT_THROW(group.barrier(), InternalError);
  });
  return told;
}

TEST(HierarchicalCollectives, MachinesThatDisagreeLearnWhatTheOthersCalled) {
  const auto all_reduce = [](int64_t count, ReduceOp reduce = ReduceOp::kSum) -> GroupCall {
    return [=](Group& g, float* a, float*) { return g.all_reduce(a, count, DType::kFloat32, reduce); };
  };
  const auto all_gather = [](int64_t count, DType dtype = DType::kFloat32) -> GroupCall {
    return [=](Group& g, float* a, float* b) { return g.all_gather(a, b, count, dtype); };
  };
  const auto broadcast = [](int64_t count, int root) -> GroupCall {
    return [=](Group& g, float* a, float*) { return g.broadcast(a, count, DType::kFloat32, root); };
  };
  const GroupCall reduce_scatter = [](Group& g, float* a, float* b) {
    return g.reduce_scatter(a, b, 7, DType::kFloat32, ReduceOp::kSum);
  };
  struct Disagreement {
    GroupCall first, other;
    std::string first_text, other_text;
    bool has_parts_for_all = false;  // carriers
  };
  // Other kinds, counts that go with the greeting and such that do not, of other numbers of pieces, types, roots.
  const std::vector<Disagreement> all{
      {all_reduce(7), all_gather(7), "all_reduce(sum, float32 x 7)", "all_gather(float32 x 7)"},
      {all_reduce(7), all_reduce(8), "all_reduce(sum, float32 x 7)", "all_reduce(sum, float32 x 8)"},
      {all_reduce(0), all_reduce(9999), "all_reduce(sum, float32 x 0)", "all_reduce(sum, float32 x 9999)"},
      {all_reduce(500'001), all_reduce(5000), "all_reduce(sum, float32 x 500001)", "all_reduce(sum, float32 x 5000)",
       true},
      {all_reduce(7), all_reduce(7, ReduceOp::kMax), "all_reduce(sum, float32 x 7)", "all_reduce(max, float32 x 7)"},
      {all_gather(100'000), all_gather(100'000, DType::kInt32), "all_gather(float32 x 100000)",
       "all_gather(int32 x 100000)", true},
      {broadcast(70'000, 0), broadcast(70'000, 1), "broadcast(float32 x 70000, from rank 0)",
       "broadcast(float32 x 70000, from rank 1)", true},
      {broadcast(7, 1), reduce_scatter, "broadcast(float32 x 7, from rank 1)", "reduce_scatter(sum, float32 x 7)"},
  };
  for (const Disagreement& one : all) {
    for (const std::vector<int>& machines : {std::vector<int>{0, 1}, {0, 1, 0, 1}}) {
      if (machines.size() > 2 && !one.has_parts_for_all) continue;
      const std::vector<std::string> told = told_in_disagreement(machines, one.first, one.other);
      for (std::size_t rank = 0; rank < machines.size(); ++rank) {  // which exchanges with its neighbour by number
        const std::size_t even = rank - rank % 2;
        EXPECT_EQ(told[rank],
                  fmt::format("[group dp] the ranks must call the same with the same count and type; rank {} (world "
                              "rank {}): number 1, {}; rank {} (world rank {}): number 1, {}",
                              even, even + 10, one.first_text, even + 1, even + 11, one.other_text));
      }
    }
  }
}

TEST(HierarchicalCollectives, OneOfThreeMachinesDisagrees) {
  MachinesSite site({0, 1, 2}, {});
  on_machine_ranks(site, [&](Group& group) {
    float data = 0;
    std::vector<float> gathered(3);
    const std::string text = error_text([&] {
      (group.rank() < 2 ? group.all_reduce(&data, 1, DType::kFloat32, ReduceOp::kSum)
                        : group.all_gather(&data, gathered.data(), 1, DType::kFloat32))
          ->wait();
    });
    EXPECT_NE(text.find("; rank 2 (world rank 12): number 0, all_gather(float32 x 1)"), std::string::npos) << text;
    EXPECT_NE(text.find(": number 0, all_reduce(sum, float32 x 1);"), std::string::npos) << text;
  });
}

TEST(HierarchicalCollectives, WhoIsMissingIsNamedOnItsOwnMachineAndOnOthers) {
  MachinesSite site({0, 0, 1, 1}, {});
  on_machine_ranks(
      site,
      [](Group& group) {
        if (group.rank() == 2) return;
        float data = 0;
        const auto pending = group.all_reduce(&data, 1, DType::kFloat32, ReduceOp::kSum);
        const std::string text = error_text([&] { pending->wait(); });
        EXPECT_NE(text.find("number 0, all_reduce(sum, float32 x 1)"), std::string::npos) << text;
        // The carrier of one element is each machine's first rank; its neighbour waits for it.
        const std::string missing = group.rank() == 1 ? "rank 0 (world rank 10)." : "rank 2 (world rank 12).";
        EXPECT_NE(text.find("missing: " + missing), std::string::npos) << text;
      },
      300ms);
}

}  // namespace
}  // namespace triptych::test
