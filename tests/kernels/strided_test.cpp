#include "kernels/strided.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;
using Dims = std::vector<int64_t>;

int64_t count_of(const Dims& dims) {
  return std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
}

Dims row_major(const Dims& dims) {
  Dims strides(dims.size(), 1);
  for (std::size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  return strides;
}

/// Calls f(i, index) for the indices of all elements in row-major order.
template <typename F>
void each_index(const Dims& dims, const F& f) {
  Dims index(dims.size(), 0);
  for (int64_t i = 0; i < count_of(dims); ++i) {
    f(static_cast<std::size_t>(i), index);
    for (std::size_t dim = dims.size(); dim-- > 0;) {
      if (++index[dim] < dims[dim]) break;
      index[dim] = 0;
    }
  }
}

/// A view of an array in which it has room: the first element is at `first`, others before it if strides are negative.
struct View {
  Dims strides;
  int64_t first = 0;

  std::size_t at(const Dims& index) const {
    return static_cast<std::size_t>(std::inner_product(index.begin(), index.end(), strides.begin(), first));
  }
  /// The elements of the array that holds the view.
  int64_t room(const Dims& dims) const {
    int64_t last = first;
    for (std::size_t i = 0; i < dims.size(); ++i) last += std::max<int64_t>(0, (dims[i] - 1) * strides[i]);
    return last + 1;
  }
};

struct Case {
  const char* what;
  Dims dims;
  View a, b;
};

std::vector<Case> cases() {
  return {
      {"no dims", {}, {{}}, {{}}},
      {"nothing", {3, 0, 5}, {{5, 5, 1}}, {{0, 0, 1}}},
      {"ones", {1, 1}, {{7, 3}}, {{0, 1}}},
      {"contiguous", {5, 7, 33}, {row_major({5, 7, 33})}, {row_major({5, 7, 33})}},
      {"long, at an odd element", {40007}, {{1}, 1}, {{1}, 0}},
      {"a bias", {31, 257}, {{257, 1}}, {{0, 1}}},
      {"a number a row", {31, 264}, {{264, 1}}, {{1, 0}}},
      {"rows with gaps", {13, 5, 64}, {{5 * 96, 96, 1}}, {{64, 64 * 13, 1}}},
      {"transposed", {37, 71}, {{1, 37}}, {{71, 1}}},
      {"both transposed, with gaps", {5, 11, 3}, {{4, 22, 91 * 4}}, {{1, 5, 55}}},
      {"backwards", {4, 9, 17}, {{153, -17, 1}, 8 * 17}, {{-1, 4, -36}, 3 + 16 * 36}},
      {"six dims", {2, 3, 1, 5, 2, 7}, {{1, 2, 9, 6, 30, 60}}, {{0, 70, 3, 0, 7, 1}}},
      {"one element everywhere", {9, 11}, {{0, 0}, 2}, {{11, 1}}},
  };
}

/// An array with holes where its view has none, and what it has elsewhere must stay.
template <typename Element>
void check_copy(Device& device, const Case& c) {
  // `b` as the target, whose elements must be different ones.
  const View target =
      std::find(c.b.strides.begin(), c.b.strides.end(), 0) == c.b.strides.end() ? c.b : View{row_major(c.dims), 3};
  std::vector<Element> src(static_cast<std::size_t>(c.a.room(c.dims)));
  std::vector<Element> dst(static_cast<std::size_t>(target.room(c.dims) + 5), Element(0x77));
  for (std::size_t i = 0; i < src.size(); ++i) src[i] = static_cast<Element>(i * 0x9e3779b97f4a7c15u >> 5);
  const DeviceArray<Element> from(device, src);
  DeviceArray<Element> to(device, dst);
  each_index(c.dims, [&](std::size_t, const Dims& index) { dst[target.at(index)] = src[c.a.at(index)]; });
  copy_strided(device.stream(), {from.data() + c.a.first, to.data() + target.first, c.dims, c.a.strides, target.strides,
                                 sizeof(Element)});
  EXPECT_EQ(to.host(), dst) << sizeof(Element) << " bytes";
}

TEST(CopyStrided, CopiesElementsOfAnySizeAndNothingElse) {
  test::for_devices([](Device& device) {
    for (const Case& c : cases()) {
      SCOPED_TRACE(c.what);
      check_copy<uint8_t>(device, c);
      check_copy<uint16_t>(device, c);
      check_copy<uint32_t>(device, c);
      check_copy<uint64_t>(device, c);
    }
    const CopyStridedArgs odd_size{nullptr, nullptr, {}, {}, {}, 3};
    EXPECT_THROW(copy_strided(device.stream(), odd_size), InternalError);
    const Dims seven(7, 1), one{1};
    EXPECT_THROW(copy_strided(device.stream(), {nullptr, nullptr, seven, seven, seven, 4}), InternalError);
    EXPECT_THROW(copy_strided(device.stream(), {nullptr, nullptr, one, one, seven, 4}), InternalError);
  });
}

TEST(BinaryStrided, AgreesWithDouble) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const Case& c : cases()) {
      SCOPED_TRACE(c.what);
      const std::vector<T> a = test::normals<T>(c.a.room(c.dims), "a"), b = test::normals<T>(c.b.room(c.dims), "b");
      const auto count = static_cast<std::size_t>(count_of(c.dims));
      std::vector<double> sum(count), product(count);
      each_index(c.dims, [&](std::size_t i, const Dims& index) {
        const auto u = static_cast<double>(static_cast<float>(a[c.a.at(index)]));
        const auto v = static_cast<double>(static_cast<float>(b[c.b.at(index)]));
        sum[i] = u + v;
        product[i] = u * v;
      });
      const DeviceArray<T> left(device, a), right(device, b);
      DeviceArray<T> out(device, static_cast<int64_t>(count));
      const BinaryStridedArgs args{
          left.data() + c.a.first, right.data() + c.b.first, out.data(), c.dims, c.a.strides, c.b.strides, dtype_of<T>};
      add_strided(device.stream(), args);
      test::expect_close(out.host(), sum, test::tolerance(dtype_of<T>).local, "sum");
      multiply_strided(device.stream(), args);
      test::expect_close(out.host(), product, test::tolerance(dtype_of<T>).local, "product");
    }
    EXPECT_THROW(add_strided(device.stream(), {.dtype = DType::kInt32}), InternalError);
  });
}

TEST(BinaryStrided, InPlace) {
  test::for_cases([]<typename T>(Device& device, T) {
    const Dims dims{17, 65}, strides{65, 1}, of_column{1, 0};
    const std::vector<T> a = test::normals<T>(17 * 65, "a"), b = test::normals<T>(17, "b");
    const DeviceArray<T> right(device, b);
    DeviceArray<T> left(device, a), out(device, 17 * 65);
    add_strided(device.stream(), {left.data(), right.data(), out.data(), dims, strides, of_column, dtype_of<T>});
    add_strided(device.stream(), {left.data(), right.data(), left.data(), dims, strides, of_column, dtype_of<T>});
    EXPECT_TRUE(test::same_bits(left.host(), out.host()));
  });
}

struct SumCase {
  const char* what;
  Dims dims;
  View x;
  int num_kept;
};

std::vector<SumCase> sum_cases() {
  return {
      {"no dims", {}, {{}}, 0},
      {"one element", {1, 1}, {{1, 1}}, 1},
      {"of nothing", {3, 5, 0}, {{5, 1, 1}}, 2},
      {"into nothing", {3, 0, 5}, {{5, 5, 1}}, 2},
      {"nothing summed", {13, 7}, {{7, 1}}, 2},
      {"rows", {31, 257}, {{257, 1}}, 1},
      {"short rows", {2001, 3}, {{3, 1}}, 1},
      {"columns", {257, 301}, {{1, 257}}, 1},
      {"many columns", {5003, 9}, {{1, 5003}}, 1},
      {"few long columns", {3, 7001}, {{1, 3}}, 1},
      {"everything", {29, 1031}, {{1031, 1}}, 0},
      {"first and last dim", {11, 5, 33}, {{33, 5 * 33, 1}}, 1},
      {"the middle dim", {7, 33, 11}, {{11 * 33, 1, 33}}, 2},
      {"rows of a slice", {5, 4, 17, 3}, {{1000, 30, 1, 200}, 5}, 2},
      {"backwards", {6, 19}, {{19, -1}, 18}, 1},
      {"what is repeated", {3, 5, 7}, {{1, 0, 0}}, 1},
      {"kept twice", {3, 5, 7}, {{0, 1, 5}}, 2},
      {"six dims", {2, 3, 2, 5, 2, 7}, {{1, 2, 6, 12, 60, 120}}, 3},
  };
}

template <typename T, typename Out>
void check_sum(Device& device, const SumCase& c, float factor, bool assign) {
  // A mean of 0.5, so that no sum cancels.
  const std::vector<T> x = test::normals<T>(c.x.room(c.dims), "x", 0.5);
  const Dims kept_dims(c.dims.begin(), c.dims.begin() + c.num_kept);
  const Dims kept_strides = row_major(kept_dims);
  const std::vector<Out> before = test::normals<Out>(count_of(kept_dims), "before");
  std::vector<double> expected(before.size());
  each_index(c.dims, [&](std::size_t, const Dims& index) {
    const auto at = std::inner_product(kept_strides.begin(), kept_strides.end(), index.begin(), int64_t{0});
    expected[static_cast<std::size_t>(at)] += static_cast<double>(static_cast<float>(x[c.x.at(index)]));
  });
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expected[i] = factor * expected[i] + (assign ? 0.0 : static_cast<double>(static_cast<float>(before[i])));
  }
  const DeviceArray<T> from(device, x);
  // What is assigned is undefined before.
  DeviceArray<Out> out =
      assign ? DeviceArray<Out>(device, static_cast<int64_t>(before.size())) : DeviceArray<Out>(device, before);
  sum_strided(device.stream(), {from.data() + c.x.first, c.dims, c.x.strides, c.num_kept, out.data(), factor, assign,
                                dtype_of<T>, dtype_of<Out>});
  const auto limits = test::tolerance(dtype_of<Out>);
  test::expect_close(out.host(), expected, sizeof(Out) == 4 ? limits.summed : limits.local, "sum");
}

TEST(SumStrided, AgreesWithDouble) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const SumCase& c : sum_cases()) {
      SCOPED_TRACE(c.what);
      check_sum<T, T>(device, c, 1.0f, true);
      check_sum<T, T>(device, c, 0.375f, false);
      check_sum<T, float>(device, c, 0.125f, true);
      check_sum<T, float>(device, c, 1.0f, false);
    }
    const Dims dims{2};
    EXPECT_THROW(sum_strided(device.stream(), {nullptr, dims, dims, 2, nullptr}), InternalError) << "two dims kept";
    EXPECT_THROW(sum_strided(device.stream(), {.dtype = DType::kFloat32, .out_dtype = DType::kBFloat16}),
                 InternalError);
  });
}

TEST(SumStrided, DoesNotDependOnThreads) {
  for (const SumCase& c : sum_cases()) {
    const std::vector<float> x = test::normals<float>(c.x.room(c.dims), "x");
    const Dims kept_dims(c.dims.begin(), c.dims.begin() + c.num_kept);
    std::vector<float> first;
    for (const int num_threads : test::thread_counts()) {
      Device device(num_threads);
      const DeviceArray<float> from(device, x);
      DeviceArray<float> out(device, count_of(kept_dims));
      sum_strided(device.stream(), {from.data() + c.x.first, c.dims, c.x.strides, c.num_kept, out.data()});
      if (first.empty()) first = out.host();
      EXPECT_TRUE(test::same_bits(out.host(), first)) << c.what << ", " << num_threads << " threads";
    }
  }
}

}  // namespace
}  // namespace triptych::test
