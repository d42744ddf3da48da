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

TEST(Agreement, FactsThatDifferAreToldWithTheirRanksAndHosts) {
  const auto errors_of = [](int size, const std::function<std::vector<SharedFact>(int)>& facts) {
    return on_ranks(size, [&](Group& g) {
      require_equal_facts(g, "place", g.rank() < 3 ? "n1" : "n2", facts(g.rank()), "Do something.");
    });
  };
  EXPECT_EQ(errors_of(5, [](int) { return std::vector<SharedFact>{{"a", "1"}, {"b", ""}}; }), Texts(5));
  EXPECT_EQ(errors_of(1, [](int) { return std::vector<SharedFact>{{"a", "1"}}; }), Texts(1));
  EXPECT_EQ(errors_of(5,
                      [](int rank) {
                        return std::vector<SharedFact>{{"a", "1"}, {"b", rank == 3 ? "y" : "x"}};
                      }),
            Texts(5,
                  "2: [place] every rank must have the same b: ranks 0-2, 4 on n1, n2 have x, rank 3 on n2 has y. Do "
                  "something."));
  EXPECT_EQ(errors_of(2,
                      [](int rank) {
                        std::vector<SharedFact> facts{{"a", fmt::format("{}", rank)}};
                        if (rank == 1) facts.push_back({"c", "z"});
                        return facts;
                      }),
            Texts(2,
                  "2: [place] every rank must have the same a: rank 0 on n1 has 0, rank 1 on n1 has 1; every rank "
                  "must have the same c: rank 1 on n1 has z, the others have none. Do something."));
}

}  // namespace
}  // namespace triptych::test
