#include "parallel/host_watch.h"

#include <chrono>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

using namespace std::chrono_literals;

// A watch over machines b (two addresses) and c, whose links and clock the test sets.
class HostWatchTest : public ::testing::Test {
 protected:
  // What the watch finds `seconds` later; it looks every second.
  std::string after(int seconds) {
    for (int i = 0; i < seconds; ++i) watch.poll(now += 1s);
    return watch.lost();
  }

  std::vector<TcpLink> links;
  int num_nudges = 0;
  HostWatch::Clock::time_point now{1000s};
  HostWatch watch{
      {.peers = {{.host = "b", .addresses = {"10.0.0.2", "10.1.0.2"}}, {.host = "c", .addresses = {"10.0.0.3"}}},
       .patience = 20s,
       .links = [this] { return links; },
       .nudge = [this] { ++num_nudges; }}};
};

TcpLink link_to(const std::string& peer, bool is_unacknowledged) {
  return {.id = peer, .own = "10.0.0.1", .peer = peer, .is_unacknowledged = is_unacknowledged};
}

TEST_F(HostWatchTest, AMachineThatAcknowledgesNothingIsLostAfterAWhile) {
  links = {link_to("10.0.0.2", true), link_to("10.0.0.3", false)};
  EXPECT_EQ(after(20), "");
  EXPECT_EQ(after(1), "b has acknowledged nothing for 20 s (from 10.0.0.1 to 10.0.0.2)");
  links.clear();  // the system has given the connection up, or it came back
  EXPECT_EQ(after(1), "");
}

TEST_F(HostWatchTest, SilenceWithNothingToAcknowledgeIsNone) {
  links = {link_to("10.0.0.2", false)};
  EXPECT_EQ(after(100), "");
  links[0].is_unacknowledged = true;  // counts from here
  EXPECT_EQ(after(20), "");
  EXPECT_NE(after(1), "");
}

TEST_F(HostWatchTest, WhateverComesFromAMachineShowsThatItIsThere) {
  links = {link_to("10.0.0.2", true)};
  for (int i = 0; i < 50; ++i) {
    ++(i % 2 == 0 ? links[0].acknowledged_bytes : links[0].received_bytes);
    EXPECT_EQ(after(3), "");
  }
}

TEST_F(HostWatchTest, OneLinkOfAMachineIsEnough) {
  links = {link_to("10.0.0.2", true), link_to("10.1.0.2", false)};
  for (int i = 0; i < 50; ++i) {
    ++links[1].received_bytes;
    EXPECT_EQ(after(3), "");
  }
  EXPECT_EQ(after(17), "");  // 19 s behind the last sign
  EXPECT_EQ(after(5).substr(0, 27), "b has acknowledged nothing ");
}

TEST_F(HostWatchTest, ALongPauseOfThisRankIsNoSilenceOfOthers) {
  links = {link_to("10.0.0.2", true)};
  EXPECT_EQ(after(1), "");
  now += 300s;  // without a look; what was sent before was acknowledged meanwhile, and more is on its way
  links[0].acknowledged_bytes = 1;
  EXPECT_EQ(after(1), "");
}

TEST_F(HostWatchTest, SeveralAreNamedAndOthersAddressesAreNothing) {
  links = {link_to("10.0.0.2", true), link_to("10.0.0.3", true), link_to("192.0.2.1", true)};
  EXPECT_EQ(after(21),
            "b has acknowledged nothing for 20 s (from 10.0.0.1 to 10.0.0.2), "
            "c has acknowledged nothing for 20 s (from 10.0.0.1 to 10.0.0.3)");
}

TEST_F(HostWatchTest, NudgesEveryThreeSeconds) {
  after(30);
  EXPECT_EQ(num_nudges, 10);
  watch.poll(now);
  EXPECT_EQ(num_nudges, 10);
}

TEST(HostWatch, WithoutOtherMachinesLooksAtNothing) {
  HostWatch watch({.peers = {}, .links = [] {
                     ADD_FAILURE() << "looked";
                     return std::vector<TcpLink>();
                   }});
  watch.poll();
  EXPECT_EQ(watch.lost(), "");
}

}  // namespace
}  // namespace triptych::test
