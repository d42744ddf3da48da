#include "data/loader.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <unordered_set>

#include "base/checked.h"
#include "base/error.h"
#include "data/row_worker.h"
#include "data/thread_team.h"

namespace triptych::data {
namespace {

constexpr const char* kWhere = "loader";
constexpr std::size_t kMaxExamples = 100;  // of bad samples in the statistics
constexpr uint64_t kMinJudged = 100;       // samples before a share of bad ones means anything
constexpr uint64_t kMaxBatchBytes = uint64_t{8} << 30;

void check_batch_bytes(const LoaderOptions& o) {
  const auto rows = static_cast<uint64_t>(o.global_batch / o.dp_size);
  uint64_t row_bytes = 0;
  std::string fields;
  for (const FieldSpec& field : fields_of(o.fields)) {
    row_bytes += static_cast<uint64_t>(field.row_bytes());
    fields += fmt::format("{}{} {}", fields.empty() ? "" : ", ", field.name, field.row_bytes());
  }
  if (row_bytes > kMaxBatchBytes / rows) {
    throw UserError(kWhere, fmt::format("a rank's batch must be at most {} bytes; {} rows of {} bytes ({}) are more. "
                                        "Lower the global batch or raise dp.",
                                        kMaxBatchBytes, rows, row_bytes, fields));
  }
}

void check_options(const Dataset& dataset, const LoaderOptions& o) {
  std::string faults;
  const auto require = [&](bool ok, std::string_view rule, auto found) {
    if (!ok) faults += fmt::format("{}{}, found {}", faults.empty() ? "" : "; ", rule, found);
  };
  require(o.dp_size >= 1, "dp must be positive", o.dp_size);
  require(o.dp_rank >= 0 && o.dp_rank < std::max(o.dp_size, 1), "the dp rank must be below dp", o.dp_rank);
  require(o.global_batch >= 1 && o.global_batch <= 1 << 24, "the global batch must be 1 to 16777216", o.global_batch);
  require(o.dp_size < 1 || o.global_batch % o.dp_size == 0, "the global batch must divide by dp",
          fmt::format("{} over {}", o.global_batch, o.dp_size));
  require(o.threads >= 1 && o.threads <= 1024, "threads must be 1 to 1024", o.threads);
  require(o.prefetch >= 1 && o.prefetch <= 1024, "prefetch must be 1 to 1024", o.prefetch);
  require(o.max_bad_fraction >= 0 && o.max_bad_fraction <= 1, "the share of bad samples must be in [0, 1]",
          o.max_bad_fraction);
  require(o.start_step >= 0, "the start step must not be negative", o.start_step);
  if (!faults.empty()) throw UserError(kWhere, faults + ". Correct the configuration.");
  check_batch_bytes(o);
  if (dataset.size() == 0) {
    throw UserError(kWhere,
                    fmt::format("a data set must have samples; {} has 0. Ingest some, or index the folder again.",
                                dataset.path().string()));
  }
  if (!o.training && o.items == EvaluationItems::kCaptions && !dataset.has_captions()) {
    throw UserError(kWhere, fmt::format("an evaluation over captions needs some; {} has 0. Choose another data set.",
                                        dataset.path().string()));
  }
  if (o.training && static_cast<uint64_t>(o.global_batch) > dataset.size()) {
    throw UserError(kWhere,
                    fmt::format("the global batch must not be larger than the data set: {} rows, found {} samples "
                                "in {}. Set training.global_batch to {} or less, or ingest more samples.",
                                o.global_batch, dataset.size(), dataset.path().string(), dataset.size()));
  }
}

}  // namespace

class Loader::Impl {
 public:
  Impl(std::shared_ptr<const Dataset> dataset, LoaderOptions options)
      : stream_(std::make_shared<SampleStream>(std::move(dataset), std::move(options))),
        options_(stream_->options),
        scheduled_(static_cast<std::size_t>(options_.prefetch)),
        next_step_(options_.start_step),
        num_steps_(options_.training ? std::numeric_limits<int64_t>::max()
                                     : ceil_div(narrow<int64_t>(stream_->num_items()), options_.global_batch)),
        team_(options_.threads) {
    for (int i = 0; i < options_.threads; ++i) workers_.push_back(std::make_unique<RowWorker>(stream_));
    for (int64_t i = 0; i < options_.prefetch; ++i) schedule(next_step_ + i);
  }

  ~Impl() {
    stopping_ = true;
    team_.end();  // what runs ends after its sample
  }

  int64_t num_steps() const { return num_steps_; }

  Batch next() {
    if (failure_) std::rethrow_exception(failure_);
    TRIPTYCH_CHECK(next_step_ < num_steps_, "step {} of a pass of {}", next_step_, num_steps_);
    Scheduled& scheduled = scheduled_at(next_step_);
    try {
      const auto start = std::chrono::steady_clock::now();
      {
        std::unique_lock lock(mutex_);
        ready_.wait(lock, [&] { return scheduled.chunks_left == 0; });
      }
      const std::chrono::duration<double, std::milli> waited = std::chrono::steady_clock::now() - start;
      if (scheduled.error) std::rethrow_exception(scheduled.error);
      account(scheduled, waited.count());
    } catch (...) {
      failure_ = std::current_exception();
      throw;
    }
    Batch batch = std::move(scheduled.batch);
    schedule(next_step_++ + options_.prefetch);
    return batch;
  }

  void recycle(Batch&& batch) {
    const bool fits = batch.fields().data() == stream_->fields->data() && batch.num_rows() == stream_->num_rows();
    if (fits && free_.size() < scheduled_.size()) free_.push_back(std::move(batch));
  }

  LoaderStats stats() const { return stats_; }

 private:
  /// A batch in flight. While chunks_left > 0 the workers own the rows; after that, the consumer owns all of it.
  struct Scheduled {
    Batch batch;
    int64_t chunks_left = 0;  // this and the rest: under mutex_
    RowWork work;
    std::vector<BadRow> bad;
    std::exception_ptr error;
  };

  Scheduled& scheduled_at(int64_t step) { return scheduled_[static_cast<std::size_t>(step % options_.prefetch)]; }

  /// Called where no worker knows the scheduled.
  void schedule(int64_t step) {
    if (step >= num_steps_ || step < 0) return;
    Scheduled& scheduled = scheduled_at(step);
    scheduled.work = {};
    scheduled.bad.clear();
    const int64_t rows = stream_->num_rows();
    if (free_.empty()) {
      scheduled.batch = Batch(stream_->fields, rows);
      if (!options_.training && options_.items == EvaluationItems::kCaptions) {
        scheduled.batch.caption_numbers.resize(static_cast<std::size_t>(rows));
      }
    } else {
      scheduled.batch = std::move(free_.back());
      free_.pop_back();
    }
    scheduled.batch.step = step;
    scheduled.batch.first_index = options_.dp_rank * rows;

    // Few enough tasks that handing them out costs nothing, enough that the threads end together.
    const int64_t chunk = std::clamp<int64_t>(rows / (4 * options_.threads), 1, 16);
    scheduled.chunks_left = ceil_div(rows, chunk);
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      team_.post([this, &scheduled, begin, end = std::min(begin + chunk, rows)] { fill(scheduled, begin, end); });
    }
  }

  /// On a worker.
  void fill(Scheduled& scheduled, int64_t begin, int64_t end) {
    std::unique_lock lock(mutex_);
    std::unique_ptr<RowWorker> worker = std::move(workers_.back());
    workers_.pop_back();
    const bool useless = scheduled.error != nullptr;
    lock.unlock();
    std::exception_ptr error;
    try {
      if (!useless) worker->fill(scheduled.batch, begin, end, stopping_);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    scheduled.work.add(worker->work);
    std::ranges::move(worker->bad, std::back_inserter(scheduled.bad));
    worker->work = {};
    worker->bad.clear();
    workers_.push_back(std::move(worker));
    if (error && !scheduled.error) scheduled.error = error;
    if (--scheduled.chunks_left == 0) ready_.notify_one();
  }

  /// Takes a finished scheduled's tally over into the statistics; throws if too many samples are bad.
  void account(Scheduled& scheduled, double wait_ms) {
    const RowWork& work = scheduled.work;
    const double total_ns = std::max(1.0, static_cast<double>(work.storage_ns + work.decode_ns + work.collate_ns));
    stats_.wait_ms += wait_ms;
    stats_.wait_storage_ms += wait_ms * static_cast<double>(work.storage_ns) / total_ns;
    stats_.wait_decode_ms += wait_ms * static_cast<double>(work.decode_ns) / total_ns;
    stats_.wait_collate_ms += wait_ms * static_cast<double>(work.collate_ns) / total_ns;
    stats_.storage_ms += static_cast<double>(work.storage_ns) * 1e-6;
    stats_.decode_ms += static_cast<double>(work.decode_ns) * 1e-6;
    stats_.collate_ms += static_cast<double>(work.collate_ns) * 1e-6;
    stats_.num_batches += 1;
    stats_.num_samples += work.num_samples;
    stats_.bytes_read += work.bytes_read;
    stats_.num_bad += scheduled.bad.size();
    std::ranges::sort(scheduled.bad, [](const BadRow& a, const BadRow& b) {
      return std::pair(a.row, a.attempt) < std::pair(b.row, b.attempt);
    });
    for (const BadRow& row : scheduled.bad) {
      if (!reported_.insert(row.bad.sample).second) continue;
      if (stats_.bad.size() < kMaxExamples) stats_.bad.push_back(row.bad);
      if (options_.on_bad_sample) options_.on_bad_sample(row.bad);
    }
    const double judged = static_cast<double>(std::max(stats_.num_samples, kMinJudged));
    if (static_cast<double>(stats_.num_bad) > options_.max_bad_fraction * judged) throw_too_many_bad();
  }

  [[noreturn]] void throw_too_many_bad() const {
    std::string examples;
    for (std::size_t i = 0; i < std::min<std::size_t>(stats_.bad.size(), 5); ++i) {
      examples += fmt::format("{}{}: {}", i == 0 ? "" : "; ", stats_.bad[i].name, stats_.bad[i].reason);
    }
    throw WorldError(kWhere,
                     fmt::format("at most {:g} % of the samples may be bad; {} of {} are. Examples: {}. Repair the "
                                 "data set and index it again, or raise the limit.",
                                 options_.max_bad_fraction * 100, stats_.num_bad, stats_.num_samples, examples));
  }

  std::shared_ptr<SampleStream> stream_;
  const LoaderOptions& options_;

  // The consumer's own.
  std::vector<Scheduled> scheduled_;
  std::vector<Batch> free_;
  int64_t next_step_;
  const int64_t num_steps_;
  LoaderStats stats_;
  std::unordered_set<uint64_t> reported_;
  std::exception_ptr failure_;

  std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<std::unique_ptr<RowWorker>> workers_;  // those that no thread uses; under mutex_
  std::atomic<bool> stopping_ = false;
  ThreadTeam team_;  // last: its threads use the rest
};

Loader::Loader(std::shared_ptr<const Dataset> dataset, LoaderOptions options) {
  TRIPTYCH_CHECK(dataset != nullptr, "no data set");
  check_options(*dataset, options);
  impl_ = std::make_unique<Impl>(std::move(dataset), std::move(options));
}

Loader::~Loader() = default;

int64_t Loader::num_steps() const {
  return impl_->num_steps();
}
Batch Loader::next() {
  return impl_->next();
}
void Loader::recycle(Batch&& batch) {
  impl_->recycle(std::move(batch));
}
LoaderStats Loader::stats() const {
  return impl_->stats();
}

}  // namespace triptych::data
