#include "launcher/bench_collectives.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/console.h"
#include "base/error.h"
#include "base/text.h"
#include "launcher/ranks.h"
#include "parallel/layout.h"
#include "parallel/reduce.h"
#include "parallel/shared_segment.h"
#include "parallel/world.h"

namespace triptych::launcher {
namespace {

constexpr uint64_t kLargestBytes = uint64_t{1} << 30;
constexpr double kRoundBytes = 1 << 20;  // small operations are repeated until a round moves this much
constexpr int kMostRepeats = 100;
constexpr int64_t kElementBytes = sizeof(float);

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double slowest_rank(Group& group, double seconds) {
  group.all_reduce(&seconds, 1, DType::kFloat64, ReduceOp::kMax)->wait();
  return seconds;
}

/// Bytes that this machine's cards have sent so far, as its system counts them.
uint64_t sent_bytes() {
  uint64_t sum = 0;
  std::ifstream file("/proc/net/dev");
  for (std::string line; std::getline(file, line);) {  // "  eth0: ", eight numbers of what came, bytes that went
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos || line.substr(0, colon).ends_with(" lo")) continue;
    std::istringstream numbers(line.substr(colon + 1));
    uint64_t number = 0;
    for (int i = 0; i < 9 && numbers; ++i) numbers >> number;
    if (numbers) sum += number;
  }
  return sum;
}

/// Memory that all ranks map, one region a rank.
class SharedRegions {
 public:
  SharedRegions(Group& group, std::size_t region_bytes)
      : rank_(group.rank()), size_(group.size()), bytes_(region_bytes) {
    SharedSegment::Ticket ticket;
    if (rank_ == 0) {
      segment_ = SharedSegment::create(bytes_ * static_cast<std::size_t>(size_));
      ticket = segment_.ticket();
    }
    group.broadcast(&ticket, sizeof ticket, DType::kUInt8, 0)->wait();
    if (rank_ != 0) segment_ = SharedSegment::open(ticket);
    int32_t missing = segment_.data() == nullptr ? 1 : 0;
    group.all_reduce(&missing, 1, DType::kInt32, ReduceOp::kSum)->wait();
    segment_.close_descriptor();
    if (missing > 0) {
      throw UserError("bench collectives", fmt::format("the ranks must share memory, for the plain copy that they are "
                                                       "compared with; {} of {} cannot. Start them on one machine",
                                                       missing, size_));
    }
  }
  std::byte* mine() const { return segment_.data() + static_cast<std::size_t>(rank_) * bytes_; }
  const std::byte* neighbours() const { return of((rank_ + 1) % size_); }
  std::byte* of(int rank) const { return segment_.data() + static_cast<std::size_t>(rank) * bytes_; }

 private:
  SharedSegment segment_;
  int rank_, size_;
  std::size_t bytes_;
};

struct Collective {
  std::string_view name;
  /// Starts one with `count` elements in each rank's larger buffer: one operation or, of messages, none to two.
  std::function<std::vector<std::shared_ptr<Pending>>(int64_t count)> start;
  /// Bytes that must pass a rank's link for each byte of the larger buffer, at the best algorithm (as nccl-tests
  /// counts).
  double bus_factor;
};

class Bench {
 public:
  Bench(const BenchCollectivesOptions& options, World& world)
      : options_(options),
        world_(world),
        group_(world.group()),
        a_(options.max_bytes / kElementBytes, 1.0f),
        b_(options.max_bytes / kElementBytes, 1.0f) {
    if (!has_several_machines()) regions_.emplace(group_, options.max_bytes);
  }

  void run() {
    if (!options_.json) print_head();
    for (uint64_t bytes = options_.min_bytes; bytes <= options_.max_bytes; bytes *= 4) measure(bytes);
    if (group_.rank() != 0) return;
    if (options_.json) {
      print("{}\n", nlohmann::ordered_json{{"ranks", group_.size()}, {"results", results_}}.dump());
      return;
    }
    print(
        "\nMedians of {} rounds; a round's time is its slowest rank's. size: a rank's larger buffer. send, recv: "
        "every\n"
        "second rank to the next; ring: every rank to the next. bus: what the best algorithm would have to move "
        "through\n"
        "each rank. ",
        options_.rounds);
    if (has_several_machines()) {
      print("sent: what the network cards of {} have sent meanwhile, for each operation and as a share of its\nsize.\n",
            world_.host());
    } else {
      print(
          "copy: every rank at once copies `size` from shared memory that its neighbour has just written.\n"
          "share: bus / copy. plain sum: an all-reduce written plainly, of data that all ranks put into shared memory\n"
          "whole.\n");
    }
  }

 private:
  bool has_several_machines() const { return world_.machines().count() > 1; }

  void print_head() const {
    if (group_.rank() != 0) return;
    const std::string_view carrier = group_.transport();
    if (has_several_machines()) {
      const bool is_ours = carrier != "MPI";
      print("{}; collectives through {}{}, messages through {}, float32\n\n", world_.machines().to_string(), carrier,
            is_ours ? " (all_to_all: MPI's own)" : "'s own", carrier == "MPI in pieces" ? "MPI" : carrier);
      print("{:>10}  {:<14} {:>11} {:>11} {:>11} {:>11} {:>7}\n", "size", "collective", "time us", "alg GB/s",
            "bus GB/s", "sent", "share");
      return;
    }
    print("{} ranks on {}, collectives and messages through {}, float32\n\n", group_.size(), world_.host(), carrier);
    print("{:>10}  {:<14} {:>11} {:>11} {:>11} {:>11} {:>7}\n", "size", "collective", "time us", "alg GB/s", "bus GB/s",
          "copy GB/s", "share");
  }

  std::vector<Collective> collectives() {
    using Started = std::vector<std::shared_ptr<Pending>>;
    const int n = group_.size(), rank = group_.rank();
    const double others = static_cast<double>(n - 1) / n;
    float *const a = a_.data(), *const b = b_.data();
    constexpr DType kType = DType::kFloat32;
    return {
        {"all_reduce", [=, this](int64_t c) { return Started{group_.all_reduce(a, c, kType, ReduceOp::kMax)}; },
         2 * others},
        {"all_gather", [=, this](int64_t c) { return Started{group_.all_gather(a, b, c / n, kType)}; }, others},
        {"reduce_scatter",
         [=, this](int64_t c) { return Started{group_.reduce_scatter(a, b, c / n, kType, ReduceOp::kMax)}; }, others},
        {"all_to_all", [=, this](int64_t c) { return Started{group_.all_to_all(a, b, c / n, kType)}; }, others},
        {"broadcast", [=, this](int64_t c) { return Started{group_.broadcast(a, c, kType, 0)}; }, 1},
        {"send, recv",
         [=, this](int64_t c) {
           const int peer = rank ^ 1;
           if (peer >= n) return Started{};  // the last of an odd number of ranks has no partner
           return Started{rank < peer ? group_.send(a, c, kType, peer, 0) : group_.recv(a, c, kType, peer, 0)};
         },
         1},
        {"ring",  // nccl-tests' sendrecv: every rank to the next
         [=, this](int64_t c) {
           return Started{group_.send(a, c, kType, (rank + 1) % n, 1), group_.recv(b, c, kType, (rank + n - 1) % n, 1)};
         },
         1},
    };
  }

  double time_copy(std::size_t bytes, int repeats) {
    double seconds = 0;
    for (int i = 0; i < repeats; ++i) {
      std::memset(regions_->mine(), i, bytes);
      group_.barrier();
      const auto start = std::chrono::steady_clock::now();
      std::memcpy(a_.data(), regions_->neighbours(), bytes);
      seconds += seconds_since(start);
      group_.barrier();
    }
    return slowest_rank(group_, seconds / repeats);
  }

  // What anybody would write who has shared memory: all ranks put their data there, then each sums its part of it over
  // all, then each takes all parts; of two ranks each sums everything.
  double time_plain_all_reduce(int64_t count, int repeats) {
    const int n = group_.size(), rank = group_.rank();
    const std::size_t bytes = static_cast<std::size_t>(count) * kElementBytes;
    const auto sum = [&](int64_t begin, int64_t length, void* to) {
      std::vector<const void*> sources;
      for (int r = 0; r < n; ++r) sources.push_back(regions_->of(r) + begin * kElementBytes);
      reduce_rows(sources, to, length, DType::kFloat32, ReduceOp::kMax);
    };
    group_.barrier();
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < repeats; ++i) {
      std::memcpy(regions_->mine(), a_.data(), bytes);
      group_.barrier();
      if (n == 2) {
        sum(0, count, a_.data());
      } else {
        const Range mine = shard_range(count, n, rank);
        sum(mine.begin, mine.length, regions_->mine() + mine.begin * kElementBytes);
        group_.barrier();
        for (int r = 0; r < n; ++r) {
          const Range part = shard_range(count, n, r);
          std::memcpy(a_.data() + part.begin, regions_->of(r) + part.begin * kElementBytes,
                      static_cast<std::size_t>(part.length) * kElementBytes);
        }
      }
      group_.barrier();
    }
    return slowest_rank(group_, seconds_since(start) / repeats);
  }

  struct Measured {
    double seconds = 0, sent = 0;  ///< of one
  };

  Measured measure(const Collective& collective, int64_t count, int repeats) {
    group_.barrier();
    const uint64_t sent_before = sent_bytes();
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < repeats; ++i) {
      for (const std::shared_ptr<Pending>& pending : collective.start(count)) pending->wait();
    }
    const double seconds = slowest_rank(group_, seconds_since(start) / repeats);
    return {.seconds = seconds, .sent = static_cast<double>(sent_bytes() - sent_before) / repeats};
  }

  void measure(uint64_t bytes) {
    const int repeats = std::clamp(static_cast<int>(kRoundBytes / static_cast<double>(bytes)), 1, kMostRepeats);
    const int64_t count = static_cast<int64_t>(bytes) / kElementBytes;
    const std::vector<Collective> all = collectives();
    std::vector<double> copy_times, plain_times;
    std::vector<std::vector<double>> times(all.size()), sent(all.size());
    for (int round = -2; round < options_.rounds; ++round) {  // two to warm up
      const double copy_time = regions_ ? time_copy(bytes, repeats) : 0;
      const double plain_time = regions_ ? time_plain_all_reduce(count, repeats) : 0;
      if (round >= 0) copy_times.push_back(copy_time);
      if (round >= 0) plain_times.push_back(plain_time);
      for (std::size_t i = 0; i < all.size(); ++i) {
        const Measured found = measure(all[i], count, repeats);
        if (round < 0) continue;
        times[i].push_back(found.seconds);
        sent[i].push_back(found.sent);
      }
    }
    if (group_.rank() != 0) return;
    const double size = static_cast<double>(bytes), copy_rate = size / median(copy_times);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const double time = median(times[i]);
      const double algorithm_rate = size / time, bus_rate = algorithm_rate * all[i].bus_factor;
      const double left = median(sent[i]);
      if (options_.json) {
        results_.push_back({{"bytes", bytes},
                            {"collective", all[i].name},
                            {"seconds", time},
                            {"algorithm_gb_per_s", algorithm_rate / 1e9},
                            {"bus_gb_per_s", bus_rate / 1e9}});
        continue;
      }
      print("{:>10}  {:<14} {:>11.1f} {:>11.2f} {:>11.2f} {:>11} {:>6.0f}%\n", i == 0 ? human_bytes(size) : "",
            all[i].name, time * 1e6, algorithm_rate / 1e9, bus_rate / 1e9,
            regions_ ? fmt::format("{:.2f}", copy_rate / 1e9) : human_bytes(left),
            100 * (regions_ ? bus_rate / copy_rate : left / size));
    }
    if (!regions_ || options_.json) return;
    const double plain = median(plain_times);
    print("{:>10}  {:<14} {:>11.1f}   all_reduce takes {:.2f} times as long\n", "", "plain sum", plain * 1e6,
          median(times[0]) / plain);
  }

  BenchCollectivesOptions options_;
  World& world_;
  Group& group_;
  std::optional<SharedRegions> regions_;  // of one machine, for what is measured beside
  std::vector<float> a_, b_;
  nlohmann::ordered_json results_ = nlohmann::ordered_json::array();
};

void check(const BenchCollectivesOptions& options, int num_ranks) {
  const auto refuse = [](const std::string& what) { throw UserError("bench collectives", what); };
  const uint64_t least = static_cast<uint64_t>(num_ranks) * kElementBytes;
  if (num_ranks < 2) refuse("at least two ranks must take part, found 1. Start it with launcher/run-ranks 2 or mpirun");
  if (options.min_bytes < least || options.min_bytes > options.max_bytes || options.max_bytes > kLargestBytes) {
    refuse(fmt::format("sizes must lie between {} B and {}, the least first; found --min {} and --max {}. Change them",
                       least, human_bytes(static_cast<double>(kLargestBytes)), options.min_bytes, options.max_bytes));
  }
}

}  // namespace

int bench_collectives(const BenchCollectivesOptions& options, World& world) {
  check(options, world.group().size());
  Bench(options, world).run();
  return 0;
}

void register_bench_collectives(CLI::App& bench, std::function<int()>& run) {
  CLI::App* command = bench.add_subcommand("collectives",
                                           "Bandwidth of the collectives: on one machine beside a plain shared-memory "
                                           "copy, on several with what its network "
                                           "cards send; start it with run-ranks or mpirun");
  const auto options = std::make_shared<BenchCollectivesOptions>();
  command->add_option("--min", options->min_bytes, "The smallest buffer")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  command->add_option("--max", options->max_bytes, "The largest buffer; sizes between go by factors of four")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  command->add_option("--rounds", options->rounds, "Rounds to take the median of")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command
      ->add_option(
          "--transport", options->transport,
          "shared: shared memory within a machine where the ranks can, and pieces between machines; mpi: MPI's own")
      ->check(CLI::IsMember({"shared", "mpi"}))
      ->capture_default_str();
  command->add_flag("--json", options->json, "The table as one JSON object; without the plain sum");
  command->callback([&run, options] {
    run = [options] {
      const std::unique_ptr<World> world = make_world({.share_memory = options->transport == "shared"});
      const Group& group = world->group();
      try {
        return bench_collectives(*options, *world);
      } catch (const UserError& error) {  // all ranks have it
        return group.rank() == 0 ? report_error(error) : error.exit_code();
      } catch (const std::exception& error) {
        const int code = report_error(error, fmt::format("{}, rank {}/{}", world->host(), group.rank(), group.size()));
        world->abort(code);
        return code;
      }
    };
  });
}

}  // namespace triptych::launcher
