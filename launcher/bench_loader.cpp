#include "launcher/bench_loader.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "base/error.h"
#include "base/text.h"
#include "data/captions.h"
#include "data/dataset.h"
#include "data/field_sources.h"
#include "data/loader.h"
#include "data/sample_order.h"
#include "launcher/synthetic_pairs.h"

namespace triptych::launcher {
namespace {

constexpr uint64_t kSeed = 1;
constexpr uint64_t kMaxMemoryBytes = uint64_t{1} << 30;  // of encoded images held for the decoding alone

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::shared_ptr<const Tokenizer> tokenizer_of(const std::shared_ptr<const Dataset>& data) {
  if (!data->has_captions()) return nullptr;
  const std::filesystem::path file = data->path() / "tokenizer.model";
  if (std::filesystem::exists(file)) return Tokenizer::from_file(file);
  const TokenizerTraining training{.max_captions = 20000};
  return Tokenizer::from_bytes(
      train_tokenizer(dataset_captions(data), static_cast<int64_t>(data->num_captions()), training), "bench loader");
}

/// The encoded images of all samples; in the place of a missing one, nothing.
std::vector<std::vector<std::byte>> read_images(const Dataset& data) {
  uint64_t total = 0;
  std::vector<std::vector<std::byte>> images;
  SampleBuffer buffer;
  for (uint64_t i = 0; i < data.size(); ++i) {
    data.read(i, buffer, SampleParts::kImage);
    total += buffer.image.size();
    if (total > kMaxMemoryBytes) {
      throw UserError("bench loader",
                      fmt::format("the images must fit into {} of memory, to be decoded from there; {} is "
                                  "larger. Measure with a smaller data set.",
                                  human_bytes(static_cast<double>(kMaxMemoryBytes)), data.path().string()));
    }
    images.push_back(buffer.image);
  }
  return images;
}

/// What the loader does to an image, from memory, in the loader's order, on as many threads; samples a second.
double measure_decoding(const std::vector<std::vector<std::byte>>& images, const BenchLoaderOptions& bench,
                        int threads) {
  constexpr uint64_t kChunk = 16;
  const SampleOrder order(kSeed, images.size());
  const auto size = static_cast<uint32_t>(bench.image_size);
  std::atomic<uint64_t> next_position = 0, num_done = 0;
  std::exception_ptr error;
  std::atomic_flag failed;
  const auto start = std::chrono::steady_clock::now();
  const auto work = [&] {
    ImageDecoder decoder;
    Image image;
    Resizer resizer;
    std::vector<uint8_t> row(std::size_t{3} * size * size);
    try {
      while (seconds_since(start) < bench.seconds) {
        const uint64_t first = next_position.fetch_add(kChunk);
        for (uint64_t position = first; position < first + kChunk; ++position) {
          const std::vector<std::byte>& encoded = images[order.sample_at(position)];
          if (encoded.empty()) continue;
          const ImageInfo info = probe_image(encoded);
          const Augmentation augmentation =
              draw_augmentation(AugmentOptions(), kSeed, position, info.seen_width(), info.seen_height());
          decoder.decode(encoded, decode_reduction(augmentation.crop, size), image);
          resizer.resize(image, scale_box(augmentation.crop, info.seen_width(), info.seen_height(), image), size, row);
          apply_augmentation(augmentation, size, row);
        }
        num_done += kChunk;
      }
    } catch (...) {
      if (!failed.test_and_set()) error = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> team;  // joined where one cannot be started, too
    for (int i = 0; i < threads; ++i) team.emplace_back(work);
  }
  if (error) std::rethrow_exception(error);
  return static_cast<double>(num_done) / seconds_since(start);
}

struct LoaderRun {
  double samples_per_s = 0, first_batch_ms = 0;
  LoaderStats stats;
};

/// The rate once the pipeline is full: what is in flight when the clock starts is as much as when it stops.
LoaderRun measure_loader(const std::shared_ptr<const Dataset>& data, const LoaderOptions& options, double seconds) {
  LoaderRun run;
  auto start = std::chrono::steady_clock::now();
  Loader loader(data, options);
  for (int i = 0; i <= options.prefetch; ++i) {
    loader.recycle(loader.next());
    if (i == 0) run.first_batch_ms = 1e3 * seconds_since(start);
  }
  start = std::chrono::steady_clock::now();
  int64_t num_batches = 0;
  do {
    loader.recycle(loader.next());
    ++num_batches;
  } while (seconds_since(start) < seconds);
  run.samples_per_s = static_cast<double>(num_batches * options.global_batch) / seconds_since(start);
  run.stats = loader.stats();
  return run;
}

void print_shares(const char* name, double storage, double decode, double collate) {
  const double total = std::max(storage + decode + collate, 1e-9);
  print("{:<16} storage {:.1f} %, decode {:.1f} %, collate {:.1f} %\n", name, 100 * storage / total,
        100 * decode / total, 100 * collate / total);
}

}  // namespace

int bench_loader(const BenchLoaderOptions& bench) {
  std::optional<TemporaryFolder> folder;
  std::filesystem::path dir = bench.data;
  if (dir.empty()) {
    folder.emplace();
    dir = folder->path();
    write_synthetic_pairs(dir, bench.synthetic_samples, kSeed);
  }
  const auto data = std::make_shared<const Dataset>(Dataset::open(dir));
  const auto tokenizer = tokenizer_of(data);
  const std::vector<std::vector<std::byte>> images = read_images(*data);
  uint64_t image_bytes = 0;
  for (const auto& image : images) image_bytes += image.size();

  LoaderOptions options;
  options.fields = {pixels_field(bench.image_size)};
  if (tokenizer != nullptr) options.fields.push_back(text_fields(tokenizer, bench.text_length, tokenizer->size()));
  options.global_batch = bench.batch;
  options.seed = kSeed;
  options.threads =
      bench.threads > 0 ? bench.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  options.prefetch = bench.prefetch;
  options.max_bad_fraction = 0;  // decoding alone knows no replacement

  print("data set         {} ({} samples, {} of images)\n", bench.data.empty() ? "synthetic" : dir.string(),
        data->size(), human_bytes(static_cast<double>(image_bytes)));
  print("setting          {} threads, batch {}, {} px, {} tokens, {} batches in flight; median of {} rounds\n",
        options.threads, options.global_batch, bench.image_size, tokenizer != nullptr ? bench.text_length : 0,
        options.prefetch, bench.rounds);
  // In turn, so that whatever else the machine does meets both.
  std::vector<double> decode_rates, loader_rates, ratios, first_ms;
  LoaderStats stats;
  for (int round = 0; round < bench.rounds; ++round) {
    decode_rates.push_back(measure_decoding(images, bench, options.threads));
    const LoaderRun run = measure_loader(data, options, bench.seconds);
    loader_rates.push_back(run.samples_per_s);
    ratios.push_back(run.samples_per_s / decode_rates.back());
    first_ms.push_back(run.first_batch_ms);
    stats = run.stats;
  }
  print("decoding alone   {:.0f} samples/s\n", median(decode_rates));
  print(
      "loader           {:.0f} samples/s, {:.1f} MiB/s read, first batch after {:.1f} ms\n", median(loader_rates),
      static_cast<double>(stats.bytes_read) / static_cast<double>(stats.num_samples) * median(loader_rates) / (1 << 20),
      median(first_ms));
  print("loader/decoding  {:.1f} % (at least 90 % is wanted)\n", 100 * median(ratios));
  print_shares("worker time", stats.storage_ms, stats.decode_ms, stats.collate_ms);
  print_shares("consumer waits", stats.wait_storage_ms, stats.wait_decode_ms, stats.wait_collate_ms);
  return 0;
}

void register_bench_loader(CLI::App& bench, std::function<int()>& run) {
  CLI::App* command =
      bench.add_subcommand("loader", "The loader's rate beside that of decoding alone on the same threads");
  const auto options = std::make_shared<BenchLoaderOptions>();
  command->add_option("--data", options->data,
                      "an indexed data set with images; default: a synthetic one, made and removed again");
  command->add_option("--samples", options->synthetic_samples, "samples of the synthetic data set")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_option("--image-size", options->image_size, "side of the images that come out, in pixels")
      ->check(CLI::Range(1, 8192))
      ->capture_default_str();
  command->add_option("--text-length", options->text_length, "tokens per row")
      ->check(CLI::Range(2, 65536))
      ->capture_default_str();
  command->add_option("--batch", options->batch, "rows of a batch")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "threads of either measurement; 0: as many as the machine has")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--prefetch", options->prefetch, "batches in flight")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--seconds", options->seconds, "time of each measurement in each round")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  command->add_option("--rounds", options->rounds, "rounds, of which the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->footer(
      "Both measurements decode and augment the same images in the same order; the loader also reads them from the\n"
      "data set's files, checks their checksums, tokenizes captions and fills batches.\n"
      "Examples:\n"
      "  triptych bench loader\n"
      "  triptych bench loader --data data/mine --threads 4 --image-size 224");
  command->callback([options, &run] { run = [options] { return bench_loader(*options); }; });
}

}  // namespace triptych::launcher
