#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "device/device.h"
#include "parallel/group.h"
#include "tests/support/device_array.h"

// What every group does, whatever carries it. Called by every rank of `group`, whose buffers are in the memory of
// `device` (on the CPU that is the host's); the expected values come from closed formulas, never from another group.
namespace triptych::test::contract {

using test::DeviceArray;

/// Element i of rank r's buffer number `salt`: small whole numbers, so that sums are exact in every type.
inline int64_t number(int rank, int64_t i, int salt = 0) {
  return (rank * 31 + i * 7 + salt * 5) % 97 - 40;
}

template <typename T>
T element(int rank, int64_t i, int salt = 0) {
  const int64_t value = number(rank, i, salt);
  if constexpr (std::is_class_v<T>) {  // a 16-bit float
    return T(static_cast<float>(value));
  } else {
    return static_cast<T>(value);
  }
}

template <typename T>
std::vector<T> buffer(int rank, int64_t count, int salt = 0) {
  std::vector<T> result(static_cast<std::size_t>(count));
  for (int64_t i = 0; i < count; ++i) result[static_cast<std::size_t>(i)] = element<T>(rank, i, salt);
  return result;
}

/// The first index where two buffers differ in any bit, or -1.
template <typename T>
int64_t first_difference(const std::vector<T>& a, const std::vector<T>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(T)) != 0) return static_cast<int64_t>(i);
  }
  return -1;
}

template <typename T>
void check_reductions(Group& group, Device& device, int64_t count) {
  const int n = group.size(), rank = group.rank();
  for (const ReduceOp reduce : {ReduceOp::kSum, ReduceOp::kMax}) {
    const auto over_ranks = [&](int64_t i) {
      int64_t result = number(0, i);
      for (int r = 1; r < n; ++r) {
        result = reduce == ReduceOp::kSum ? result + number(r, i) : std::max(result, number(r, i));
      }
      return static_cast<T>(result);
    };
    DeviceArray<T> data(device, buffer<T>(rank, count));
    std::vector<T> expected(static_cast<std::size_t>(count));
    for (int64_t i = 0; i < count; ++i) expected[static_cast<std::size_t>(i)] = over_ranks(i);
    group.all_reduce(data.data(), count, dtype_of<T>, reduce)->wait();
    EXPECT_EQ(first_difference(data.host(), expected), -1) << "all_reduce of " << count << " on rank " << rank;

    DeviceArray<T> send(device, buffer<T>(rank, n * count)), mine(device, count);
    for (int64_t i = 0; i < count; ++i) expected[static_cast<std::size_t>(i)] = over_ranks(rank * count + i);
    group.reduce_scatter(send.data(), mine.data(), count, dtype_of<T>, reduce)->wait();
    EXPECT_EQ(first_difference(mine.host(), expected), -1) << "reduce_scatter of " << count << " on rank " << rank;
  }
}

template <typename T>
void check_moves(Group& group, Device& device, int64_t count) {
  const int n = group.size(), rank = group.rank();
  std::vector<T> expected(static_cast<std::size_t>(n * count));
  for (int r = 0; r < n; ++r) {
    for (int64_t i = 0; i < count; ++i) expected[static_cast<std::size_t>(r * count + i)] = element<T>(r, i);
  }
  DeviceArray<T> mine(device, buffer<T>(rank, count)), gathered(device, n * count);
  group.all_gather(mine.data(), gathered.data(), count, dtype_of<T>)->wait();
  EXPECT_EQ(first_difference(gathered.host(), expected), -1) << "all_gather of " << count << " on rank " << rank;

  for (int r = 0; r < n; ++r) {
    for (int64_t i = 0; i < count; ++i) {
      expected[static_cast<std::size_t>(r * count + i)] = element<T>(r, rank * count + i);
    }
  }
  DeviceArray<T> rows(device, buffer<T>(rank, n * count)), received(device, n * count);
  group.all_to_all(rows.data(), received.data(), count, dtype_of<T>)->wait();
  EXPECT_EQ(first_difference(received.host(), expected), -1) << "all_to_all of " << count << " on rank " << rank;

  for (int root = 0; root < n; ++root) {
    DeviceArray<T> data(device, buffer<T>(rank, count));
    group.broadcast(data.data(), count, dtype_of<T>, root)->wait();
    EXPECT_EQ(first_difference(data.host(), buffer<T>(root, count)), -1)
        << "broadcast of " << count << " from " << root << " on rank " << rank;
  }
}

template <typename T>
void check_messages(Group& group, Device& device, int64_t count) {
  const int n = group.size(), rank = group.rank();
  if (n == 1) return;
  const int next = (rank + 1) % n, previous = (rank + n - 1) % n;
  std::vector<Link> ring;
  for (int r = 0; r < n; ++r) {
    for (const int tag : {3, 9}) ring.push_back({.from = r, .to = (r + 1) % n, .tag = tag});
  }
  group.open_links(ring);
  // Two with tag 3 and one with tag 9, received in another order; those with one tag keep theirs.
  DeviceArray<T> a(device, buffer<T>(rank, count, 1)), b(device, buffer<T>(rank, count, 2)),
      c(device, buffer<T>(rank, count, 3));
  DeviceArray<T> x(device, count), y(device, count), z(device, count);
  std::vector<std::shared_ptr<Pending>> pending{
      group.send(a.data(), count, dtype_of<T>, next, 3),     group.send(b.data(), count, dtype_of<T>, next, 9),
      group.send(c.data(), count, dtype_of<T>, next, 3),     group.recv(y.data(), count, dtype_of<T>, previous, 9),
      group.recv(x.data(), count, dtype_of<T>, previous, 3), group.recv(z.data(), count, dtype_of<T>, previous, 3)};
  std::reverse(pending.begin(), pending.end());
  for (const auto& one : pending) one->wait();
  EXPECT_EQ(first_difference(x.host(), buffer<T>(previous, count, 1)), -1) << "message of " << count << " on " << rank;
  EXPECT_EQ(first_difference(y.host(), buffer<T>(previous, count, 2)), -1) << "message of " << count << " on " << rank;
  EXPECT_EQ(first_difference(z.host(), buffer<T>(previous, count, 3)), -1) << "message of " << count << " on " << rank;
}

inline const std::vector<int64_t>& counts() {
  static const std::vector<int64_t> all{0, 1, 13, 1009, 40009};
  return all;
}

inline void check_reductions_of_all_types(Group& group, Device& device) {
  for (const int64_t count : counts()) {
    check_reductions<float>(group, device, count);
    if (count == counts().back()) continue;
    check_reductions<double>(group, device, count);
    check_reductions<int32_t>(group, device, count);
    check_reductions<int64_t>(group, device, count);
  }
  float data = 0;
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kUInt8}) {
    EXPECT_THROW(group.all_reduce(&data, 1, dtype, ReduceOp::kSum), InternalError);
    EXPECT_THROW(group.reduce_scatter(&data, &data, 1, dtype, ReduceOp::kSum), InternalError);
  }
}

inline void check_moves_of_all_types(Group& group, Device& device) {
  for (const int64_t count : counts()) {
    check_moves<BFloat16>(group, device, count);
    if (count == counts().back()) continue;
    check_moves<float>(group, device, count);
    check_moves<Float16>(group, device, count);
    check_moves<uint8_t>(group, device, count);
    check_moves<double>(group, device, count);
  }
}

inline void check_messages_of_all_types(Group& group, Device& device) {
  for (const int64_t count : counts()) {
    check_messages<float>(group, device, count);
    check_messages<BFloat16>(group, device, count);
    check_messages<int64_t>(group, device, count);
  }
}

/// Many at once, waited for backwards: each has its own data, and starting does not wait.
inline void check_many_in_flight(Group& group, Device& device) {
  constexpr int kMany = 40;
  const int n = group.size(), rank = group.rank();
  std::vector<DeviceArray<float>> sums, gathered;
  std::vector<std::shared_ptr<Pending>> pending;
  for (int k = 0; k < kMany; ++k) {
    sums.emplace_back(device, buffer<float>(rank, 257 + k, k));
    gathered.emplace_back(device, n);
  }
  DeviceArray<float> mine(device, std::vector<float>{static_cast<float>(rank)});
  for (std::size_t k = 0; k < kMany; ++k) {
    pending.push_back(group.all_reduce(sums[k].data(), sums[k].size(), DType::kFloat32, ReduceOp::kSum));
    pending.push_back(group.all_gather(mine.data(), gathered[k].data(), 1, DType::kFloat32));
  }
  for (auto it = pending.rbegin(); it != pending.rend(); ++it) (*it)->wait();
  device.synchronize();  // a wait may only have told the device to wait
  for (const auto& one : pending) EXPECT_TRUE(one->test());
  for (int k = 0; k < kMany; ++k) {
    const std::vector<float> sum = sums[static_cast<std::size_t>(k)].host();
    for (std::size_t i = 0; i < sum.size(); ++i) {
      int64_t expected = 0;
      for (int r = 0; r < n; ++r) expected += number(r, static_cast<int64_t>(i), k);
      ASSERT_EQ(sum[i], static_cast<float>(expected)) << k << ", " << i;
    }
    const std::vector<float> ranks = gathered[static_cast<std::size_t>(k)].host();
    for (int r = 0; r < n; ++r) ASSERT_EQ(ranks[static_cast<std::size_t>(r)], r);
  }
}

/// test() alone brings an operation to its end.
inline void check_test_makes_progress(Group& group, Device& device) {
  DeviceArray<double> data(device, buffer<double>(group.rank(), 30'000));
  const auto pending = group.all_reduce(data.data(), 30'000, DType::kFloat64, ReduceOp::kMax);
  while (!pending->test()) std::this_thread::yield();
  const std::vector<double> result = data.host();
  for (int64_t i = 0; i < 30'000; i += 9'973) {
    int64_t expected = number(0, i);
    for (int r = 1; r < group.size(); ++r) expected = std::max(expected, number(r, i));
    EXPECT_EQ(result[static_cast<std::size_t>(i)], static_cast<double>(expected));
  }
}

inline void check_texts(Group& group, Device&) {
  const auto text_of = [](int rank) {
    return rank == 1 ? std::string() : std::string(static_cast<std::size_t>(rank + 3), 'a') + '\0' + "z";
  };
  group.barrier();
  const std::vector<std::string> texts = group.all_gather_string(text_of(group.rank()));
  ASSERT_EQ(static_cast<int>(texts.size()), group.size());
  for (int r = 0; r < group.size(); ++r) EXPECT_EQ(texts[static_cast<std::size_t>(r)], text_of(r));
}

/// Odd and even ranks, in reverse order; then a part of that; a rank that joins nothing.
inline void check_split(Group& group, Device& device) {
  const int n = group.size(), rank = group.rank();
  const auto sum_of_ranks = [&device](Group& of, int64_t value) {
    DeviceArray<int64_t> sum(device, std::vector<int64_t>{value});
    of.all_reduce(sum.data(), 1, DType::kInt64, ReduceOp::kSum)->wait();
    return sum.host().front();
  };
  const std::unique_ptr<Group> half = group.split(rank % 2, -rank, "half");
  ASSERT_NE(half, nullptr);
  EXPECT_EQ(half->name(), "half");
  const int num_like_this = (n + 1 - rank % 2) / 2;
  EXPECT_EQ(half->size(), num_like_this);
  EXPECT_EQ(half->rank(), num_like_this - 1 - rank / 2);
  EXPECT_EQ(half->world_rank(half->rank()), group.world_rank(rank));
  int64_t expected = 0;
  for (int r = rank % 2; r < n; r += 2) expected += r + 1;
  EXPECT_EQ(sum_of_ranks(*half, rank + 1), expected);

  const std::unique_ptr<Group> all_but_last = group.split(rank == n - 1 ? -1 : 7, 0, "all but the last");
  EXPECT_EQ(all_but_last == nullptr, rank == n - 1);
  if (all_but_last != nullptr) {
    EXPECT_EQ(sum_of_ranks(*all_but_last, 1), n - 1);
  }

  const std::unique_ptr<Group> alone = half->split(half->rank(), 0, "alone");
  EXPECT_EQ(alone->size(), 1);
  EXPECT_EQ(sum_of_ranks(*alone, 5), 5);
  // The groups do not hear each other.
  DeviceArray<float> in_half(device, buffer<float>(rank, 50)), in_all(device, buffer<float>(rank, 50));
  const auto first = half->all_reduce(in_half.data(), 50, DType::kFloat32, ReduceOp::kMax);
  const auto second = group.all_reduce(in_all.data(), 50, DType::kFloat32, ReduceOp::kSum);
  second->wait();
  first->wait();
  const std::vector<float> largest_in_half = in_half.host(), sum_in_all = in_all.host();
  for (int64_t i = 0; i < 50; ++i) {
    int64_t total = 0, largest = -1000;
    for (int r = 0; r < n; ++r) {
      total += number(r, i);
      if (r % 2 == rank % 2) largest = std::max(largest, number(r, i));
    }
    EXPECT_EQ(sum_in_all[static_cast<std::size_t>(i)], static_cast<float>(total));
    EXPECT_EQ(largest_in_half[static_cast<std::size_t>(i)], static_cast<float>(largest));
  }
}

inline void check_refusals(Group& group, Device&) {
  float data = 0;
  const int n = group.size();
  EXPECT_THROW(group.all_reduce(&data, -1, DType::kFloat32, ReduceOp::kSum), InternalError);
  EXPECT_THROW(group.broadcast(&data, 1, DType::kFloat32, n), InternalError);
  EXPECT_THROW(group.send(&data, 1, DType::kFloat32, group.rank(), 0), InternalError);
  EXPECT_THROW(group.recv(&data, 1, DType::kFloat32, -1, 0), InternalError);
  if (n > 1) {
    EXPECT_THROW(group.send(&data, 1, DType::kFloat32, (group.rank() + 1) % n, -1), InternalError);
  }
}

struct Check {
  const char* name;
  void (*run)(Group& group, Device& device);
};

inline std::span<const Check> collective_checks() {
  static constexpr std::array<Check, 5> kAll{{{"reduces", check_reductions_of_all_types},
                                              {"moves", check_moves_of_all_types},
                                              {"has many in flight", check_many_in_flight},
                                              {"test() makes progress", check_test_makes_progress},
                                              {"gathers texts", check_texts}}};
  return kAll;
}

inline std::span<const Check> message_checks() {
  static constexpr std::array<Check, 1> kAll{{{"sends messages", check_messages_of_all_types}}};
  return kAll;
}

}  // namespace triptych::test::contract
