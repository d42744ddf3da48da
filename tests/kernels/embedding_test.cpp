#include "kernels/embedding.h"

#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

struct Case {
  int64_t n, cols, vocab_begin, vocab_local, vocab;
};

constexpr Case kCases[] = {{0, 3, 0, 5, 5},       {1, 1, 0, 1, 1},     {7, 7, 0, 11, 11},
                           {65, 257, 10, 13, 40}, {301, 300, 5, 3, 9}, {9, 5, 4, 0, 9}};

std::vector<int32_t> make_ids(const Case& c) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < c.n; ++i) ids.push_back(static_cast<int32_t>(i * 7 % c.vocab));  // repeats
  return ids;
}

template <typename T, typename Table>
void check_forward(Device& device, const Case& c) {
  const std::vector<int32_t> ids = make_ids(c);
  const std::vector<Table> table = test::normals<Table>(c.vocab_local * c.cols, "table");
  std::vector<T> expected;
  for (const int32_t id : ids) {
    for (int64_t col = 0; col < c.cols; ++col) {
      const int64_t row = id - c.vocab_begin;
      const bool here = row >= 0 && row < c.vocab_local;
      expected.push_back(here ? T(static_cast<float>(table[static_cast<std::size_t>(row * c.cols + col)])) : T(0.0f));
    }
  }
  DeviceArray<T> out(device, std::vector<T>(expected.size(), T(99.0f)));
  embedding_forward(device.stream(),
                    {DeviceArray<int32_t>(device, ids).data(), DeviceArray<Table>(device, table).data(), out.data(),
                     c.n, c.cols, c.vocab_begin, c.vocab_local, dtype_of<Table>, dtype_of<T>});
  EXPECT_TRUE(test::same_bits(out.host(), expected));
}

TEST(Embedding, LooksUpItsRowsAndGivesZerosForOthers) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(testing::Message() << c.n << " ids, " << c.cols << " columns");
      check_forward<T, float>(device, c);
      check_forward<T, BFloat16>(device, c);
      if constexpr (test::kHasFloat16) check_forward<T, Float16>(device, c);
    }
  });
}

template <typename T>
void check_backward(Device& device, const Case& c, const std::vector<int32_t>& ids) {
  SCOPED_TRACE(testing::Message() << c.n << " ids, " << c.cols << " columns");
  const std::vector<T> dout = test::normals<T>(c.n * c.cols, "dout");
  const std::vector<float> old = test::normals<float>(c.vocab_local * c.cols, "old");
  std::vector<float> in_order = old;
  std::vector<double> expected = test::to_doubles(old);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const int64_t row = ids[i] - c.vocab_begin;
    if (row < 0 || row >= c.vocab_local) continue;
    for (std::size_t col = 0; col < static_cast<std::size_t>(c.cols); ++col) {
      const std::size_t at = static_cast<std::size_t>(row * c.cols) + col;
      const float value = static_cast<float>(dout[i * static_cast<std::size_t>(c.cols) + col]);
      expected[at] += static_cast<double>(value);
      in_order[at] += value;
    }
  }
  DeviceArray<float> dtable(device, old);
  embedding_backward(device.stream(), {DeviceArray<int32_t>(device, ids).data(), DeviceArray<T>(device, dout).data(),
                                       dtable.data(), c.n, c.cols, c.vocab_begin, c.vocab_local, dtype_of<T>});
  test::expect_close(dtable.host(), expected, test::tolerance(DType::kFloat32).summed, "dtable");
  EXPECT_TRUE(test::same_bits(dtable.host(), in_order));
}

TEST(Embedding, BackwardAddsRepeatsInOrder) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const Case& c : kCases) check_backward<T>(device, c, make_ids(c));
  });
}

/// Groups of one id about as long as a GPU's block looks at, a padding's of hundreds, ids of 17 bits, and some of other
/// ranks' rows.
TEST(Embedding, BackwardTakesGroupsOfAnyLength) {
  test::for_cases([]<typename T>(Device& device, T) {
    std::vector<int32_t> ids;
    for (const auto& [id, count] : std::vector<std::pair<int32_t, int>>{
             {70007, 255}, {70002, 1}, {70003, 256}, {3, 40}, {70005, 257}, {70000, 31}, {200000, 5}, {70009, 700}}) {
      ids.insert(ids.end(), static_cast<std::size_t>(count), id);
    }
    // Scattered: 1009 is prime, so a multiple of it visits every place once.
    std::vector<int32_t> scattered(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) scattered[i * 1009 % ids.size()] = ids[i];
    for (const int64_t cols : {3, 72}) {
      check_backward<T>(device, {static_cast<int64_t>(ids.size()), cols, 70000, 11, 0}, scattered);
    }
    check_backward<T>(device, {static_cast<int64_t>(ids.size()), 2, 0, 70020, 0}, scattered);
    check_backward<T>(device, {600, 5, 4, 1, 0}, std::vector<int32_t>(600, 4));
  });
}

}  // namespace
}  // namespace triptych::test
