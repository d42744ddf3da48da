#include "training/cluster_fit.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

namespace triptych::test {
namespace {

// Steps of some sizes, of which no part is a multiple of another.
std::vector<Work> some_work() {
  std::vector<Work> all;
  for (const double size : {1.0, 3.0, 10.0}) {
    all.push_back({.product_flops = 4e10 * size,
                   .attention_flops = 2e9 * size * size,
                   .bytes = 3e8 * size + 5e8,
                   .num_kernels = 9000});
    all.push_back({.half_product_flops = 7e10 * size,
                   .half_attention_flops = 1e10 * size * size,
                   .bytes = 2e8 * size + 1e8,
                   .num_kernels = 4000 * size});
  }
  return all;
}

TEST(ClusterFit, FindsTheRatesThatTheStepsWereMadeWith) {
  constexpr double kFull = 0.2e12, kHalf = 0.5e12, kShare = 0.4, kMemory = 8e9, kKernel = 6e-6;
  std::vector<TimedWork> steps;
  for (const Work& work : some_work()) {
    const double seconds = work.product_flops / kFull + work.attention_flops / (kFull * kShare) +
                           work.half_product_flops / kHalf + work.half_attention_flops / (kHalf * kShare) +
                           work.bytes / kMemory + work.num_kernels * kKernel;
    steps.push_back({work, seconds});
  }
  const Cluster found = fit_device(steps);
  EXPECT_NEAR(found.fp32_tflops, 0.2, 1e-3);
  EXPECT_NEAR(found.half_tflops, 0.5, 1e-3);
  EXPECT_EQ(found.attention_share, kShare);
  EXPECT_NEAR(found.memory_gb_per_s, 8, 0.1);
  EXPECT_NEAR(found.kernel_us, 6, 0.1);
  for (const TimedWork& step : steps) EXPECT_NEAR(found.seconds(step.work) / step.seconds, 1, 1e-4);
}

TEST(ClusterFit, WhatTakesNoTimeHasARateAtWhichItTakesNone) {
  std::vector<TimedWork> steps;
  for (const double size : {1.0, 2.0}) {  // products alone, in one type
    steps.push_back({{.product_flops = 1e11 * size, .bytes = 1e9, .num_kernels = 10}, size});
  }
  const Cluster found = fit_device(steps);
  EXPECT_NEAR(found.fp32_tflops, 0.1, 1e-4);
  EXPECT_EQ(found.half_tflops, found.fp32_tflops);
  for (const TimedWork& step : steps) EXPECT_NEAR(found.seconds(step.work) / step.seconds, 1, 1e-4);
}

TEST(ClusterFit, FindsALinksLatencyAndRate) {
  std::vector<TimedReduce> reduces;
  for (const double bytes : {4e3, 64e3, 1e6, 16e6}) {  // of 4 ranks: 2 log2(4) messages, 2 (4 - 1) / 4 of the bytes
    reduces.push_back({4, bytes, 4 * 5e-6 + 1.5 * bytes / 3e9});
  }
  const LinkRate found = fit_link(reduces);
  EXPECT_NEAR(found.latency_us, 5, 1e-3);
  EXPECT_NEAR(found.gb_per_s, 3, 1e-3);
}

TEST(ClusterFit, ItsFileReadsBackToTheSame) {
  const Cluster written{.name = "a \"b\" \\ c\n",
                        .memory_gb = 3,
                        .fp32_tflops = 0.125,
                        .half_tflops = 1e6,
                        .memory_gb_per_s = 1e9,
                        .kernel_us = 0,
                        .product_share = 1,
                        .attention_share = 0.35,
                        .memory_share = 1,
                        .overlaps = false,
                        .devices_per_node = 7,
                        .node = {.gb_per_s = 2.5, .latency_us = 11},
                        .network = {.gb_per_s = 1e-3, .latency_us = 0}};
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("triptych_cluster_" + std::to_string(::getpid()) + ".toml");
  std::ofstream(file) << to_toml(written, "two\nlines");
  const Cluster read = Cluster::read(file);
  std::filesystem::remove(file);
  EXPECT_EQ(read.name, "a \"b\" \\ c");
  EXPECT_EQ(read.memory_gb, 3);
  EXPECT_EQ(read.fp32_tflops, 0.125);
  EXPECT_EQ(read.half_tflops, 1e6);
  EXPECT_EQ(read.memory_gb_per_s, 1e9);
  EXPECT_EQ(read.attention_share, 0.35);
  EXPECT_FALSE(read.overlaps);
  EXPECT_EQ(read.devices_per_node, 7);
  EXPECT_EQ(read.node.gb_per_s, 2.5);
  EXPECT_EQ(read.node.latency_us, 11);
  EXPECT_EQ(read.network.gb_per_s, 1e-3);
}

}  // namespace
}  // namespace triptych::test
