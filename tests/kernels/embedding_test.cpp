#include "kernels/embedding.h"

#include "kernel_support.h"

namespace triptych {
namespace {

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
void check_forward(Stream& stream, const Case& c) {
  const std::vector<int32_t> ids = make_ids(c);
  const std::vector<Table> table = test::normals<Table>(c.vocab_local * c.cols, "table");
  std::vector<T> out(static_cast<std::size_t>(c.n * c.cols), T(99.0f)), expected;
  for (const int32_t id : ids) {
    for (int64_t col = 0; col < c.cols; ++col) {
      const int64_t row = id - c.vocab_begin;
      const bool here = row >= 0 && row < c.vocab_local;
      expected.push_back(here ? T(static_cast<float>(table[static_cast<std::size_t>(row * c.cols + col)])) : T(0.0f));
    }
  }
  embedding_forward(stream, {ids.data(), table.data(), out.data(), c.n, c.cols, c.vocab_begin, c.vocab_local,
                             dtype_of<Table>, dtype_of<T>});
  EXPECT_TRUE(test::same_bits(out, expected));
}

TEST(Embedding, LooksUpItsRowsAndGivesZerosForOthers) {
  test::for_cases([]<typename T>(Stream& stream, T) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(testing::Message() << c.n << " ids, " << c.cols << " columns");
      check_forward<T, float>(stream, c);
      check_forward<T, BFloat16>(stream, c);
    }
  });
}

TEST(Embedding, BackwardAddsRepeatsInOrder) {
  test::for_cases([]<typename T>(Stream& stream, T) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(testing::Message() << c.n << " ids, " << c.cols << " columns");
      const std::vector<int32_t> ids = make_ids(c);
      const std::vector<T> dout = test::normals<T>(c.n * c.cols, "dout");
      std::vector<float> dtable = test::normals<float>(c.vocab_local * c.cols, "old");
      std::vector<float> in_order = dtable;
      std::vector<double> expected = test::to_doubles(dtable);
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
      embedding_backward(
          stream, {ids.data(), dout.data(), dtable.data(), c.n, c.cols, c.vocab_begin, c.vocab_local, dtype_of<T>});
      test::expect_close(dtable, expected, test::tolerance(DType::kFloat32).summed, "dtable");
      EXPECT_TRUE(test::same_bits(dtable, in_order));
    }
  });
}

}  // namespace
}  // namespace triptych
