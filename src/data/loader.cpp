#include "data/loader.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <numeric>
#include <unordered_set>

#include <nlohmann/json.hpp>

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

/// What ranks tell each other of a batch; the greatest counts.
enum BatchState : int32_t { kSound, kReplaced, kFailed };

void check_batch_bytes(const LoaderOptions& o) {
  const auto rows = static_cast<uint64_t>(std::max(o.global_batch / o.dp_size, o.rows));
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
  require(o.dp_size < 1 || !o.training || o.global_batch % o.dp_size == 0, "the global batch must divide by dp",
          fmt::format("{} over {}", o.global_batch, o.dp_size));
  require(o.threads >= 1 && o.threads <= 1024, "threads must be 1 to 1024", o.threads);
  require(o.prefetch >= 1 && o.prefetch <= 1024, "prefetch must be 1 to 1024", o.prefetch);
  require(o.max_bad_fraction >= 0 && o.max_bad_fraction <= 1, "the share of bad samples must be in [0, 1]",
          o.max_bad_fraction);
  require(o.start_step >= 0, "the start step must not be negative", o.start_step);
  if (!faults.empty()) throw UserError(kWhere, faults + ". Correct the configuration.");
  check_modality_dropout(o.modality_dropout);
  check_batch_bytes(o);
  if (dataset.size() == 0) {
    throw UserError(kWhere,
                    fmt::format("a data set must have samples; {} has 0. Ingest some, or index the folder again.",
                                dataset.path().string()));
  }
  if (!o.training && o.items == EvaluationItems::kCaptions && dataset.num_texts(o.text_role) == 0) {
    throw UserError(kWhere, fmt::format("an evaluation over {}s needs some; {} has 0. Choose another data set.",
                                        text_role_name(o.text_role), dataset.path().string()));
  }
  if (!o.training) return;
  const SourceMix mix(o.weights.empty() ? std::vector<double>{1} : o.weights);
  for (std::size_t s = 0; s < dataset.num_sources(); ++s) {
    const uint64_t rows = mix.most(s, static_cast<uint64_t>(o.global_batch)), samples = dataset.source(s).size();
    if (rows <= samples) continue;
    const std::string name = dataset.source(s).path().string();
    if (dataset.num_sources() == 1) {
      throw UserError(kWhere,
                      fmt::format("the global batch must not be larger than the data set: {} rows, found {} samples "
                                  "in {}. Set training.global_batch to {} or less, or ingest more samples.",
                                  rows, samples, name, samples));
    }
    throw UserError(kWhere, fmt::format("a batch's rows of a source must not be more than its samples: {:.3g} % of {} "
                                        "rows are {}, found {} samples in {}. Lower its weight or "
                                        "training.global_batch.",
                                        100 * mix.share(s), o.global_batch, rows, samples, name));
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
      settle(scheduled);
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
    stream_->expect(step);
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
    std::ranges::fill(scheduled.batch.attempts, 0);
    scheduled.error = nullptr;

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

  /// Brings the rows of a finished batch to what all ranks can use, and takes over what was bad. Collective over the
  /// ranks that agree; throws on all of them what one has thrown.
  void settle(Scheduled& scheduled) {
    RowAgreement* ranks = options_.agreement;
    if (ranks == nullptr) {
      if (scheduled.error) std::rethrow_exception(scheduled.error);
      for (const BadSample& bad : first_met(scheduled)) report(bad);
      judge(scheduled, scheduled.batch.attempts);
      return;
    }
    const bool all_used = std::ranges::all_of(scheduled.batch.attempts, [](int32_t n) { return n == 0; });
    const BatchState state = greatest(all_used ? kSound : kReplaced, scheduled);
    std::vector<int32_t> attempts;  // of the global batch; none: all zero
    for (bool is_settled = state == kSound; !is_settled;) {
      attempts.assign(static_cast<std::size_t>(stream_->num_rows() * options_.dp_size), 0);
      const std::span<int32_t> mine = std::span(attempts).subspan(static_cast<std::size_t>(scheduled.batch.first_index),
                                                                  static_cast<std::size_t>(stream_->num_rows()));
      std::ranges::copy(scheduled.batch.attempts, mine.begin());
      ranks->raise(attempts);
      is_settled = greatest(advance(scheduled, mine) ? kReplaced : kSound, scheduled) == kSound;
    }
    if (state == kSound) {
      judge(scheduled, attempts);
      return;
    }
    nlohmann::json mine = nlohmann::json::array();
    for (const BadSample& bad : first_met(scheduled)) {
      mine.push_back({{"sample", bad.sample}, {"name", bad.name}, {"reason", bad.reason + " (" + ranks->name() + ")"}});
    }
    const auto replace = nlohmann::json::error_handler_t::replace;  // a library's message may be of any bytes
    for (const std::string& text : ranks->gather(mine.dump(-1, ' ', false, replace))) {
      for (const auto& bad : nlohmann::json::parse(text))
        report(
            {bad.at("sample").get<uint64_t>(), bad.at("name").get<std::string>(), bad.at("reason").get<std::string>()});
    }
    judge(scheduled, attempts);
  }

  /// The greatest of the ranks' states; throws on all ranks if one has failed.
  BatchState greatest(BatchState mine, const Scheduled& scheduled) {
    int32_t state = scheduled.error ? kFailed : mine;
    options_.agreement->raise(std::span(&state, 1));
    if (state == kFailed) {
      options_.agreement->together([&] {
        if (scheduled.error) std::rethrow_exception(scheduled.error);
      });
    }
    return static_cast<BatchState>(state);
  }

  /// Fills the rows again that are behind `attempts`; true if one of them had to go on beyond it.
  bool advance(Scheduled& scheduled, std::span<const int32_t> attempts) {
    bool is_beyond = false;
    try {
      if (mender_ == nullptr) mender_ = std::make_unique<RowWorker>(stream_);
      for (std::size_t r = 0; r < attempts.size(); ++r) {
        if (scheduled.batch.attempts[r] >= attempts[r]) continue;
        mender_->refill(scheduled.batch, static_cast<int64_t>(r), attempts[r]);
        is_beyond |= scheduled.batch.attempts[r] > attempts[r];
      }
      scheduled.work.add(mender_->work);
      std::ranges::move(mender_->bad, std::back_inserter(scheduled.bad));
      mender_->work = {};
      mender_->bad.clear();
    } catch (...) {
      scheduled.error = std::current_exception();
    }
    return is_beyond;
  }

  /// What this rank could not use and nobody has told of yet, in the order of the rows.
  std::vector<BadSample> first_met(Scheduled& scheduled) const {
    std::ranges::sort(scheduled.bad, [](const BadRow& a, const BadRow& b) {
      return std::pair(a.row, a.attempt) < std::pair(b.row, b.attempt);
    });
    std::vector<BadSample> result;
    for (const BadRow& row : scheduled.bad) {
      if (!reported_.contains(row.bad.sample)) result.push_back(row.bad);
    }
    return result;
  }

  void report(const BadSample& bad) {
    if (!reported_.insert(bad.sample).second) return;
    ++stats_.num_bad_samples;
    if (stats_.bad.size() < kMaxExamples) stats_.bad.push_back(bad);
    if (options_.on_bad_sample) options_.on_bad_sample(bad);
  }

  /// Counts samples and bad ones, of all ranks that agree, and throws if they are too many.
  void judge(const Scheduled& scheduled, std::span<const int32_t> attempts) {
    const Batch& batch = scheduled.batch;
    const bool alone = options_.agreement == nullptr;
    const int64_t first = batch.step * options_.global_batch + (alone ? batch.first_index : 0);
    const int64_t end = first + (alone ? stream_->num_rows() : options_.global_batch);
    const int64_t num_bad = std::accumulate(attempts.begin(), attempts.end(), int64_t{0});
    const int64_t last = options_.training ? end : std::min(end, static_cast<int64_t>(stream_->num_items()));
    num_judged_ += static_cast<uint64_t>(std::max<int64_t>(last - first, 0) + (options_.training ? num_bad : 0));
    stats_.num_bad += static_cast<uint64_t>(num_bad);
    const auto hopeless = std::ranges::find(attempts, kMaxAttempts);
    if (options_.training && hopeless != attempts.end()) {
      fail(fmt::format("a row needs one sound sample; {} were tried for row {} of step {} and all are bad. {}",
                       kMaxAttempts, (hopeless - attempts.begin()) + (alone ? batch.first_index : 0), batch.step,
                       examples()));
    }
    const double judged = static_cast<double>(std::max(num_judged_, kMinJudged));
    if (static_cast<double>(stats_.num_bad) <= options_.max_bad_fraction * judged) return;
    fail(fmt::format("at most {:g} % of the samples may be bad; {} of {} are. {}", options_.max_bad_fraction * 100,
                     stats_.num_bad, num_judged_, examples()));
  }

  std::string examples() const {
    std::string text = "Examples: ";
    for (std::size_t i = 0; i < std::min<std::size_t>(stats_.bad.size(), 5); ++i) {
      text += fmt::format("{}{}: {}", i == 0 ? "" : "; ", stats_.bad[i].name, stats_.bad[i].reason);
    }
    return text + ". Repair the data set and index it again, or raise the limit (data.max_bad_fraction).";
  }

  /// Every rank that agrees comes to the same, so all of them throw alike.
  [[noreturn]] void fail(const std::string& text) const {
    const WorldError error(kWhere, text);
    if (options_.agreement != nullptr) options_.agreement->together([&] { throw error; });
    throw error;
  }

  /// Takes a finished batch's tally over into the statistics.
  void account(const Scheduled& scheduled, double wait_ms) {
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
  }

  std::shared_ptr<SampleStream> stream_;
  const LoaderOptions& options_;

  // The consumer's own.
  std::vector<Scheduled> scheduled_;
  std::vector<Batch> free_;
  int64_t next_step_;
  const int64_t num_steps_;
  LoaderStats stats_;
  uint64_t num_judged_ = 0;
  std::unordered_set<uint64_t> reported_;
  std::unique_ptr<RowWorker> mender_;  // of rows that another rank could not use
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
