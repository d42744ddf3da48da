#include "emulator/runtime/options.h"

#include <cstdlib>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

/// The options where the environment holds these variables besides.
Options options_with(const std::vector<std::pair<const char*, const char*>>& variables) {
  for (const auto& [name, value] : variables) setenv(name, value, 1);
  throw_violations(true);
  try {
    const Options options = Options::from_environment();
    for (const auto& [name, value] : variables) unsetenv(name);
    return options;
  } catch (...) {
    for (const auto& [name, value] : variables) unsetenv(name);
    throw;
  }
}

TEST(Options, ComeFromTheEnvironment) {
  const Options options = options_with({{"TRIPTYCH_EMULATOR_DEVICES", "3"},
                                        {"TRIPTYCH_EMULATOR_MEMORY_MB", "17"},
                                        {"TRIPTYCH_EMULATOR_TARGET", "80"},
                                        {"TRIPTYCH_EMULATOR_STREAMS", "others-first"},
                                        {"TRIPTYCH_EMULATOR_SEED", "18446744073709551615"},
                                        {"TRIPTYCH_EMULATOR_BGRAD", "0"},
                                        {"TRIPTYCH_EMULATOR_WORKER", "0"}});
  EXPECT_EQ(options.num_devices, 3);
  EXPECT_EQ(options.memory_bytes, std::size_t{17} << 20);
  EXPECT_EQ(options.target, 80);
  EXPECT_EQ(options.streams.mode, StreamMode::others_first);
  EXPECT_EQ(options.streams.seed, UINT64_MAX);
  EXPECT_EQ(options.bias_gradients, Options::BiasGradients::kNotSupported);
  EXPECT_FALSE(options.streams.worker);
  EXPECT_EQ(options_with({{"TRIPTYCH_EMULATOR_DEVICES", "0"}}).num_devices, 0);
}

TEST(Options, ShowTheProcessItsVisibleDevices) {
  EXPECT_EQ(options_with({}).machine_device(5), 5);
  const Options two = options_with({{"TRIPTYCH_EMULATOR_DEVICES", "4"}, {"CUDA_VISIBLE_DEVICES", "3,1"}});
  EXPECT_EQ(two.num_devices, 2);
  EXPECT_EQ(two.machine_device(0), 3);
  EXPECT_EQ(two.machine_device(1), 1);
}

TEST(Options, LoadKernelsLazilyWhereAskedToUnlessCudaIsToldOtherwise) {
  EXPECT_FALSE(options_with({}).loads_lazily);
  EXPECT_TRUE(options_with({{"TRIPTYCH_EMULATOR_LAZY", "1"}}).loads_lazily);
  EXPECT_TRUE(options_with({{"TRIPTYCH_EMULATOR_LAZY", "1"}, {"CUDA_MODULE_LOADING", "LAZY"}}).loads_lazily);
  EXPECT_FALSE(options_with({{"TRIPTYCH_EMULATOR_LAZY", "1"}, {"CUDA_MODULE_LOADING", "EAGER"}}).loads_lazily);
}

TEST(Options, RefuseWhatMeansNothing) {
  for (const auto& [name, value] :
       std::vector<std::pair<const char*, const char*>>{{"TRIPTYCH_EMULATOR_DEVICES", "-1"},
                                                        {"TRIPTYCH_EMULATOR_DEVICES", "two"},
                                                        {"TRIPTYCH_EMULATOR_MEMORY_MB", "0"},
                                                        {"TRIPTYCH_EMULATOR_TARGET", "87"},
                                                        {"CUDA_VISIBLE_DEVICES", "8"},
                                                        {"CUDA_VISIBLE_DEVICES", "0,"},
                                                        {"TRIPTYCH_EMULATOR_BGRAD", "3"},
                                                        {"TRIPTYCH_EMULATOR_STREAMS", "lazy"},
                                                        {"TRIPTYCH_EMULATOR_SEED", ""},
                                                        {"TRIPTYCH_EMULATOR_WORKER", "2"}}) {
    try {
      options_with({{name, value}});
      ADD_FAILURE() << name << "=" << value << " was taken";
    } catch (const Violation& found) {
      EXPECT_EQ(found.name, "bad-argument");
      EXPECT_NE(found.message.find(name), std::string::npos) << found.message;
    }
  }
}

}  // namespace
}  // namespace triptych::emulator
