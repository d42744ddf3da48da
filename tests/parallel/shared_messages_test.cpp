#include "parallel/shared_messages.h"

#include <array>
#include <atomic>
#include <barrier>
#include <thread>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "parallel/shared_segment.h"
#include "tests/parallel/thread_ranks.h"

namespace triptych::test {
namespace {

using namespace std::chrono_literals;

struct MessageSite : ThreadSite {
  MessageSite(int size, const MessageLane::Sizes& sizes_of_all)
      : ThreadSite(size),
        sizes(sizes_of_all),
        segment(SharedSegment::create(SharedMessages::segment_bytes(size, sizes_of_all))) {}
  MessageLane::Sizes sizes;
  SharedSegment segment;
};

class MessageGroup : public ThreadGroup {
 public:
  MessageGroup(GroupIdentity of_rank, MessageSite& site, std::chrono::milliseconds timeout)
      : ThreadGroup(std::move(of_rank), site, timeout) {
    std::vector<SlotRing::Member> members;
    for (int r = 0; r < size(); ++r) members.push_back({.rank = r, .bell = &site.bell(r)});
    messages_ =
        std::make_unique<SharedMessages>(identity(), progress_, nullptr, site.segment.data(), members, site.sizes);
  }

 protected:
  std::shared_ptr<Pending> start(const Operation& operation) override { return messages_->start(operation); }

 private:
  std::unique_ptr<SharedMessages> messages_;
};

void on_message_ranks(MessageSite& site, const std::function<void(Group&)>& body,
                      std::chrono::milliseconds timeout = 60s) {
  on_ranks<MessageGroup>(site, body, timeout);
}

constexpr MessageLane::Sizes kShort{.num_slots = 2, .slot_bytes = 128};  // a lane of 64 floats

std::shared_ptr<Pending> send(Group& group, const std::vector<float>& data, int tag) {
  return group.send(data.data(), static_cast<int64_t>(data.size()), DType::kFloat32, 1 - group.rank(), tag);
}
std::shared_ptr<Pending> receive(Group& group, std::vector<float>& data, int tag) {
  return group.recv(data.data(), static_cast<int64_t>(data.size()), DType::kFloat32, 1 - group.rank(), tag);
}

TEST(SharedMessages, DoWhatMessagesOfEveryGroupDo) {
  struct Case {
    int size;
    MessageLane::Sizes sizes;
  };
  for (const Case& one : {Case{2, {}}, Case{3, {}}, Case{2, {.num_slots = 2, .slot_bytes = 1024}},
                          Case{4, {.num_slots = 1, .slot_bytes = 2048}}}) {
    SCOPED_TRACE(fmt::format("{} ranks, {} slots of {} bytes", one.size, one.sizes.num_slots, one.sizes.slot_bytes));
    check_contract<MessageGroup>(contract::message_checks(), [&] { return MessageSite(one.size, one.sizes); });
  }
}

TEST(SharedMessages, BothMaySendMoreThanALaneHoldsBeforeTheyReceive) {
  MessageSite site(2, kShort);
  on_message_ranks(site, [](Group& group) {
    std::vector<std::vector<float>> sent, received;
    std::vector<std::shared_ptr<Pending>> sends, receives;
    for (int k = 0; k < 5; ++k) {
      sent.push_back(contract::buffer<float>(group.rank(), 1000 + k, k));
      received.emplace_back(1000 + k);
    }
    for (const std::vector<float>& data : sent) sends.push_back(send(group, data, 0));
    for (std::vector<float>& data : received) receives.push_back(receive(group, data, 0));
    for (const auto& one : sends) one->wait();  // the receives go on meanwhile
    for (const auto& one : receives) one->wait();
    for (int k = 0; k < 5; ++k) {
      EXPECT_EQ(received[static_cast<std::size_t>(k)], contract::buffer<float>(1 - group.rank(), 1000 + k, k));
    }
  });
}

TEST(SharedMessages, WhatFitsIsSentWithoutTheReceiversHelp) {
  MessageSite site(2, {});
  std::atomic<bool> is_sent = false;
  on_message_ranks(site, [&](Group& group) {
    std::vector<float> data = contract::buffer<float>(0, 500'000), none;
    if (group.rank() == 0) {
      send(group, data, 0)->wait();
      send(group, none, 0)->wait();
      std::fill(data.begin(), data.end(), 0.0f);  // is its own again
      is_sent = true;
    } else {
      while (!is_sent) std::this_thread::sleep_for(1ms);  // computes, and never polls
      std::vector<float> received(data.size());
      receive(group, received, 0)->wait();
      receive(group, none, 0)->wait();
      EXPECT_EQ(received, data);
    }
  });
}

TEST(SharedMessages, WhoWaitsForNothingTakesNothing) {
  MessageSite site(2, kShort);
  std::barrier<> step(2);
  on_message_ranks(site, [&](Group& group) {
    const std::vector<float> data = contract::buffer<float>(0, 65);
    std::vector<float> received(65);
    if (group.rank() == 0) {
      const auto pending = send(group, data, 0);
      step.arrive_and_wait();
      step.arrive_and_wait();
      EXPECT_FALSE(pending->test());  // one more than the lane holds
      step.arrive_and_wait();
      pending->wait();
    } else {
      step.arrive_and_wait();
      group.progress();
      step.arrive_and_wait();
      step.arrive_and_wait();
      receive(group, received, 0)->wait();
      EXPECT_EQ(received, data);
    }
  });
}

TEST(SharedMessages, TheAwaitedIsFoundBehindOthers) {
  MessageSite site(2, kShort);
  std::barrier<> step(2);
  on_message_ranks(site, [&](Group& group) {
    // The second with tag 1 is asked for when a part of it has come and lies aside.
    const std::vector<std::vector<float>> data{contract::buffer<float>(0, 20, 1), contract::buffer<float>(0, 300, 2),
                                               contract::buffer<float>(0, 7, 3), contract::buffer<float>(0, 500, 4)};
    if (group.rank() == 0) {
      std::vector<std::shared_ptr<Pending>> sends;
      const std::array<int, 4> tags{1, 1, 2, 3};
      for (std::size_t i = 0; i < data.size(); ++i) sends.push_back(send(group, data[i], tags[i]));
      step.arrive_and_wait();
      step.arrive_and_wait();  // polls no more until the other has asked
      for (const auto& one : sends) one->wait();
      return;
    }
    std::vector<std::vector<float>> received;
    for (const std::vector<float>& one : data) received.emplace_back(one.size());
    step.arrive_and_wait();
    const auto with_tag_2 = receive(group, received[2], 2);
    EXPECT_FALSE(with_tag_2->test());
    const auto first = receive(group, received[0], 1);
    EXPECT_TRUE(first->test());
    const auto second = receive(group, received[1], 1);
    EXPECT_FALSE(second->test());
    step.arrive_and_wait();
    with_tag_2->wait();
    second->wait();
    receive(group, received[3], 3)->wait();
    EXPECT_EQ(received, data);
  });
}

TEST(SharedMessages, AReceiverLearnsWhatWasSentInstead) {
  struct Sent {
    int64_t count;
    DType dtype;
    const char* text;
  };
  for (const Sent& sent : {Sent{9, DType::kFloat32, "float32 x 9"},
                           {0, DType::kFloat32, "float32 x 0"},
                           {7, DType::kInt32, "int32 x 7"}}) {
    MessageSite one(2, {});
    on_message_ranks(one, [&](Group& group) {
      std::vector<float> data(9);
      if (group.rank() == 0) return group.send(data.data(), sent.count, sent.dtype, 1, 3)->wait();
      const auto pending = group.recv(data.data(), 7, DType::kFloat32, 0, 3);
      const std::string text = error_text([&] { pending->wait(); });
      EXPECT_EQ(text, fmt::format("[group dp] both ranks must state the same count and type; rank 1 (world rank 11): "
                                  "number 0, recv(float32 x 7, from rank 0, tag 3); rank 0 (world rank 10): number 0, "
                                  "send({}, to rank 1, tag 3)",
                                  sent.text));
      EXPECT_THROW(send(group, data, 0), InternalError);
    });
  }
}

TEST(SharedMessages, AMissingRankIsNamedAfterTheTimeout) {
  MessageSite site(2, kShort);
  on_message_ranks(
      site,
      [](Group& group) {
        if (group.rank() == 1) return;
        std::vector<float> data(1000);
        const auto sent = send(group, data, 5), received = receive(group, data, 5);
        for (const auto& one : {std::pair{sent, "send(float32 x 1000, to"}, {received, "recv(float32 x 1000, from"}}) {
          const std::string text = error_text([&] { one.first->wait(); });
          EXPECT_NE(text.find(fmt::format("number 0, {} rank 1, tag 5)", one.second)), std::string::npos) << text;
          EXPECT_NE(text.find("missing: rank 1 (world rank 11)."), std::string::npos) << text;
        }
      },
      200ms);
}

TEST(SharedMessages, ADeadPeerIsFoundUnlessItSentBefore) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);  // nobody has this number now
  MessageSite site(2, {});
  site.bell(1).process = child;
  std::atomic<bool> is_sent = false;
  on_message_ranks(site, [&](Group& group) {
    std::vector<float> data(5, static_cast<float>(group.rank()));
    if (group.rank() == 1) {
      send(group, data, 0)->wait();
      is_sent = true;
      return;
    }
    while (!is_sent) std::this_thread::yield();
    receive(group, data, 0)->wait();
    EXPECT_EQ(data.front(), 1.0f);
    const std::string text = error_text([&] { receive(group, data, 0)->wait(); });
    EXPECT_NE(text.find(fmt::format("number 1, recv(float32 x 5, from rank 1, tag 0), waits for rank 1 (world rank "
                                    "11), whose process {} has died",
                                    child)),
              std::string::npos)
        << text;
  });
}

TEST(SharedMessages, GroupsOfAnySizeHaveSlotsAndFewAddresses) {
  EXPECT_EQ(SharedMessages::sizes_for(2).num_slots, 64);
  EXPECT_EQ(SharedMessages::sizes_for(16).num_slots, 64);
  EXPECT_EQ(SharedMessages::sizes_for(256).num_slots, 8);
  EXPECT_LT(SharedMessages::segment_bytes(45, SharedMessages::sizes_for(45)), std::size_t{1100} << 20);
}

}  // namespace
}  // namespace triptych::test
