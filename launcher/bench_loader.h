#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

namespace CLI {
class App;
}

namespace triptych::launcher {

struct BenchLoaderOptions {
  std::filesystem::path data;  ///< a data set with images; empty: a synthetic one is made and removed again
  int64_t synthetic_samples = 2048;
  int64_t image_size = 64, text_length = 32, batch = 64;
  int threads = 0;  ///< 0: as many as the machine has
  int prefetch = 3;
  double seconds = 2;  ///< of each of the two measurements in each round
  int rounds = 5;
};

/// Measures in one run and on the same threads: decoding and transforming images that lie in memory, and the loader end
/// to end on the same images in the same order. Prints both rates, their ratio and where the loader's time went.
/// Returns the exit code.
int bench_loader(const BenchLoaderOptions& options);

/// Adds `triptych bench loader` to `bench`. When it is what the user asked for, parsing sets `run` to the work that is
/// left, which returns the exit code.
void register_bench_loader(CLI::App& bench, std::function<int()>& run);

}  // namespace triptych::launcher
