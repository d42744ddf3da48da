#include "parallel/shared_collectives.h"

#include <array>
#include <atomic>
#include <functional>
#include <thread>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "parallel/shared_segment.h"
#include "tests/parallel/thread_ranks.h"

namespace triptych::test {
namespace {

using namespace std::chrono_literals;

struct SharedSite : ThreadSite {
  SharedSite(int size, const SharedCollectives::Options& options_of_all)
      : ThreadSite(size),
        options(options_of_all),
        segment(SharedSegment::create(SharedCollectives::segment_bytes(size, options_of_all))) {}
  SharedCollectives::Options options;
  SharedSegment segment;
};

class SharedGroup : public ThreadGroup {
 public:
  SharedGroup(GroupIdentity of_rank, SharedSite& site, std::chrono::milliseconds timeout)
      : ThreadGroup(std::move(of_rank), site, timeout) {
    std::vector<Doorbell*> bells;
    for (Doorbell& bell : site.bells) bells.push_back(&bell);
    collectives_ =
        std::make_unique<SharedCollectives>(identity(), progress_, nullptr, site.segment.data(), bells, site.options);
  }

 protected:
  std::shared_ptr<Pending> start(const Operation& operation) override { return collectives_->start(operation); }

 private:
  std::unique_ptr<SharedCollectives> collectives_;
};

void on_shared_ranks(SharedSite& site, const std::function<void(Group&)>& body,
                     std::chrono::milliseconds timeout = 60s) {
  on_ranks<SharedGroup>(site, body, timeout);
}

struct Case {
  int size;
  SharedCollectives::Options options;
};

class SharedCollectivesTest : public ::testing::TestWithParam<Case> {};

TEST_P(SharedCollectivesTest, DoWhatCollectivesOfEveryGroupDo) {
  check_contract<SharedGroup>(contract::collective_checks(),
                              [] { return SharedSite(GetParam().size, GetParam().options); });
}

// Few and small slots make every operation of many pieces; the last has sums in parts and never.
INSTANTIATE_TEST_SUITE_P(Sizes, SharedCollectivesTest,
                         ::testing::Values(Case{2, {}}, Case{3, {}}, Case{4, {}}, Case{5, {}},
                                           Case{2, {.num_slots = 1, .slot_bytes = 1024, .direct_bytes = 0}},
                                           Case{3, {.num_slots = 2, .slot_bytes = 1024, .direct_bytes = 0}},
                                           Case{5, {.num_slots = 3, .slot_bytes = 2048, .direct_bytes = 1 << 30}}));

TEST(SharedCollectives, AddsInTheOrderOfTheRanksWhetherInPartsOrNot) {
  // ((1 + 1e8) - 1e8) + 1 = 1 in float32; any other order of the four gives 0 or 2.
  const std::vector<float> summands{1.0f, 1e8f, -1e8f, 1.0f};
  for (const int64_t direct_bytes : {0, 1 << 20}) {
    SharedSite site(4, {.direct_bytes = direct_bytes});
    on_shared_ranks(site, [&](Group& group) {
      std::vector<float> data(101, summands[static_cast<std::size_t>(group.rank())]);
      group.all_reduce(data.data(), 101, DType::kFloat32, ReduceOp::kSum)->wait();
      EXPECT_EQ(data, std::vector<float>(101, 1.0f));
    });
  }
}

TEST(SharedCollectives, SmallOnesEndWithoutThePeersHelp) {
  SharedSite site(2, {});
  std::atomic<bool> rank_0_is_done = false;
  on_shared_ranks(site, [&](Group& group) {
    std::vector<float> data = contract::buffer<float>(group.rank(), 5000);
    const auto pending = group.all_reduce(data.data(), 5000, DType::kFloat32, ReduceOp::kSum);
    if (group.rank() == 0) {
      pending->wait();
      rank_0_is_done = true;
    } else {
      while (!rank_0_is_done) std::this_thread::sleep_for(1ms);  // computes, and never polls
      pending->wait();
    }
  });
}

TEST(SharedCollectives, AllRanksLearnOfADisagreement) {
  // Above and below the limit of sums in parts, so that the ranks expect different stages.
  SharedSite site(3, {.direct_bytes = 64});
  std::array<std::string, 3> told;
  on_shared_ranks(site, [&](Group& group) {
    std::vector<float> data(100);
    group.barrier();
    const auto pending = group.all_reduce(data.data(), group.rank() == 1 ? 2 : 100, DType::kFloat32, ReduceOp::kSum);
    told[static_cast<std::size_t>(group.rank())] = error_text([&] { pending->wait(); });
    EXPECT_THROW(group.barrier(), InternalError);
  });
  for (const std::string& text : told) {
    EXPECT_EQ(text,
              "[group dp] the ranks must call the same with the same count and type; rank 0 (world rank 10): number 1, "
              "all_reduce(sum, float32 x 100); rank 1 (world rank 11): number 1, all_reduce(sum, float32 x 2); "
              "rank 2 (world rank 12): number 1, all_reduce(sum, float32 x 100)");
  }
}

TEST(SharedCollectives, AMissingRankIsNamedAfterTheTimeout) {
  SharedSite site(3, {});
  on_shared_ranks(
      site,
      [](Group& group) {
        if (group.rank() == 1) return;
        float data = 0;
        const auto pending = group.all_reduce(&data, 1, DType::kFloat32, ReduceOp::kSum);
        const std::string text = error_text([&] { pending->wait(); });
        EXPECT_NE(text.find("[group dp]"), std::string::npos) << text;
        EXPECT_NE(text.find("number 0, all_reduce(sum, float32 x 1)"), std::string::npos) << text;
        EXPECT_NE(text.find("missing: rank 1 (world rank 11)."), std::string::npos) << text;
      },
      200ms);
}

TEST(SharedCollectives, ADeadPeerIsFoundLongBeforeTheTimeout) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);  // nobody has this number now
  SharedSite site(2, {});
  site.bell(1).process = child;
  const auto begin = std::chrono::steady_clock::now();
  on_shared_ranks(site, [&](Group& group) {
    if (group.rank() == 1) return;
    const std::string text = error_text([&] { group.barrier(); });
    EXPECT_NE(text.find(fmt::format("waits for rank 1 (world rank 11), whose process {} has died", child)),
              std::string::npos)
        << text;
  });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);
}

TEST(SharedSegment, IsSeenByAnotherProcessAndLeavesNoName) {
  SharedSegment segment = SharedSegment::create(100'000);
  const SharedSegment::Ticket ticket = segment.ticket();
  EXPECT_EQ(segment.data()[99'999], std::byte{0});
  const pid_t child = fork();
  if (child == 0) {
    const SharedSegment other = SharedSegment::open(ticket);
    if (other.data() == nullptr) _exit(1);
    other.data()[99'999] = std::byte{42};
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(segment.data()[99'999], std::byte{42});
  segment.close_descriptor();
  EXPECT_EQ(SharedSegment::open(ticket).data(), nullptr);  // the way in is closed
}

TEST(SharedSegment, IsNotTakenForAnother) {
  const SharedSegment segment = SharedSegment::create(4096);
  SharedSegment::Ticket ticket = segment.ticket();
  ticket.inode += 1;
  EXPECT_EQ(SharedSegment::open(ticket).data(), nullptr);
  ticket.inode -= 1;
  ticket.bytes = 8192;
  EXPECT_EQ(SharedSegment::open(ticket).data(), nullptr);
}

}  // namespace
}  // namespace triptych::test
