#include "parallel/agreement.h"

#include <gtest/gtest.h>

#include "parallel/in_process_group.h"

namespace triptych::test {
namespace {

using Texts = std::vector<std::string>;

// What `work` threw as an AgreedError, with its kind; "" if nothing.
std::string agreed(const std::function<void()>& work) {
  try {
    work();
  } catch (const AgreedError& error) {
    return fmt::format("{}: {}", error.exit_code(), error.what());
  }
  return "";
}

// The error of every rank, all of which call `work`.
Texts on_ranks(int size, const std::function<void(Group& group)>& work) {
  Texts errors(static_cast<std::size_t>(size));
  run_ranks(size, [&](Group& group) {
    errors[static_cast<std::size_t>(group.rank())] = agreed([&] { work(group); });
    group.barrier();  // no rank went on without the others
  });
  return errors;
}

void fail_as(int rank) {
  if (rank == 1) throw UserError("a", "b");
  if (rank == 2) throw std::runtime_error("c");
  if (rank == 3) throw InternalError("d", "e");
}

TEST(Agreement, TheFirstErrorReachesEveryRank) {
  for (const int size : {1, 2, 5}) EXPECT_EQ(on_ranks(size, [](Group& g) { together(g, [] {}); }), Texts(size));
  const auto errors_from = [](int first) {
    return on_ranks(4, [first](Group& g) {
      together(g, [&] {
        if (g.rank() >= first) fail_as(g.rank());
      });
    });
  };
  EXPECT_EQ(errors_from(1), Texts(4, "2: [a] b (rank 1/4)"));
  EXPECT_EQ(errors_from(2), Texts(4, "1: c (rank 2/4)"));
  EXPECT_EQ(errors_from(3), Texts(4, "70: [d] e (rank 3/4)"));
}

TEST(Agreement, WhatAllRanksFindNamesNone) {
  EXPECT_EQ(on_ranks(3, [](Group& g) { together(g, [] { fail_as(1); }); }), Texts(3, "2: [a] b"));
  run_ranks(1, [](Group& g) { EXPECT_THROW(together(g, [] { fail_as(2); }), std::runtime_error); });
}

TEST(Agreement, GivesEveryRankTheResultsOfAll) {
  for (const int size : {1, 3}) {
    const Texts errors = on_ranks(size, [&](Group& g) {
      Texts expected;  // of which one is empty, and one begins as a failure does
      for (int rank = 0; rank < size; ++rank) expected.push_back(rank == 0 ? "" : fmt::format("{}", rank));
      EXPECT_EQ(together(g, {"place", "count"}, [&] { return expected[static_cast<std::size_t>(g.rank())]; }),
                expected);
    });
    EXPECT_EQ(errors, Texts(size));
  }
}

TEST(Agreement, SaysWhichRankCouldNotDoWhat) {
  const auto errors_from = [](int first) {
    return on_ranks(4, [first](Group& g) {
      together(g, {"place", "count", "Count again."}, [&] {
        if (g.rank() >= first) fail_as(g.rank());
        return std::string();
      });
    });
  };
  EXPECT_EQ(errors_from(1), Texts(4, "2: [place] rank 1 of 4 could not count: [a] b"));
  EXPECT_EQ(errors_from(2), Texts(4, "1: [place] rank 2 of 4 could not count: c. Count again."));
  EXPECT_EQ(errors_from(3), Texts(4, "70: [place] rank 3 of 4 could not count: [d] e"));
  EXPECT_EQ(on_ranks(1,
                     [](Group& g) {
                       together(g, {"place", "count"}, []() -> std::string { throw WorldError("a", "b"); });
                     }),
            Texts{"1: [place] could not count: [a] b"});
}

}  // namespace
}  // namespace triptych::test
