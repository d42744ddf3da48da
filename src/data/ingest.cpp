#include "data/ingest.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/class_names.h"
#include "data/index_builder.h"
#include "data/ingest_item.h"
#include "data/ingest_journal.h"
#include "data/ingest_labels.h"
#include "data/problems.h"
#include "data/shard_format.h"
#include "data/shard_writer.h"
#include "data/skipped_list.h"
#include "data/staging_folder.h"
#include "data/thread_team.h"

namespace triptych::data {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxNamed = 100;  // distinct things that are ignored, and remarks, in the summary
constexpr uint64_t kMaxWaitingBytes = uint64_t{256} << 20;  // of images that wait for a thread
constexpr unsigned kNumberBits = 40;                        // of a sample's number in its input

/// The same input gives the same id, in the form of a UUID of version 8 (RFC 9562: custom contents).
std::string make_data_set_id(std::string_view text) {
  std::string hex = hash128(std::as_bytes(std::span(text))).hex();
  hex[12] = '8';
  hex[16] = "89ab"[static_cast<unsigned>(hex[16]) % 4];
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4), hex.substr(16, 4),
                     hex.substr(20));
}

class Ingest {
 public:
  Ingest(IngestSource& source, const IngestOptions& options)
      : options_(options),
        source_(source),
        labels_(source, options.classes),
        made_of_(fmt::format("{} {}", source.fingerprint(), options.samples_per_shard)),
        staging_(options.out) {
    if (skips()) made_of_ += options.decode ? " sound pixels" : " sound headers";
    data_set_id_ = make_data_set_id(made_of_);
  }

  IngestSummary run() {
    try {
      go_on_or_begin();
      pack();
      if (!problems_.empty() && !skips()) refuse_problems();
      if (counts_.left_out > 0) check_share();
      if (num_samples_ == 0) {
        throw UserError(source_.name(), fmt::format("has no {}, so there is nothing to pack.", source_.unit()));
      }
      return finish();
    } catch (const WorldError& error) {
      if (num_samples_kept_ == 0) throw;
      staging_.keep();
      throw Error(
          ErrorKind::kWorld,
          fmt::format("{}\n{} samples in {} complete shards are kept in {}: the same command goes on from there.",
                      error.what(), num_samples_kept_, num_shards_kept_, staging_.path().string()));
    }
  }

 private:
  bool skips() const { return options_.skip_bad_percent > 0; }

  void go_on_or_begin() {
    const std::string classes = fmt::format("{}", fmt::join(labels_.names(), "\n"));
    const std::string what =
        fmt::format("{} {} {} {}", hash128(std::as_bytes(std::span(made_of_))).hex(), options_.decode,
                    options_.skip_bad_percent, hash128(std::as_bytes(std::span(classes))).hex());
    const std::vector<JournalEntry> entries = IngestJournal::read(staging_.path(), what);
    std::set<std::string> keep;
    for (const JournalEntry& entry : entries) {
      keep.insert(entry.shard);
      num_samples_ += entry.num_samples;
      ids_.add(entry.ids);
    }
    if (!entries.empty()) keep.insert(std::string(kSkippedName));
    const bool had_more = staging_.remove_all_but(keep);
    num_shards_ = num_shards_kept_ = entries.size();
    num_samples_kept_ = num_samples_;
    if (!entries.empty()) {
      counts_ = entries.back().counts;
      after_ = entries.back().cursor;
      source_.go_to(after_);
    }
    skipped_.emplace(staging_.path() / kSkippedName, entries.empty() ? 0 : entries.back().skipped_bytes);
    journal_.emplace(staging_.path(), what, entries);
    if (!options_.tell) return;
    if (!entries.empty()) {
      options_.tell(fmt::format("going on with {}: {} samples in {} shards are kept", staging_.path().string(),
                                num_samples_, num_shards_));
    } else if (had_more) {
      options_.tell(
          fmt::format("cleared away what an ingest of other input or options, or one without a complete shard, "
                      "has left in {}",
                      staging_.path().string()));
    }
  }

  /// Reads ahead of the threads that check, and takes what they have checked in the order of the input.
  void pack() {
    const std::size_t most = 4 * static_cast<std::size_t>(options_.threads);
    uint64_t waiting_bytes = 0;
    for (bool more = true; more || !waiting_.empty();) {
      while (more && waiting_.size() < most && (waiting_.empty() || waiting_bytes < kMaxWaitingBytes)) {
        auto item = std::make_shared<IngestItem>();
        more = read(*item);
        if (!more) break;
        item->read_bytes = item->record.image.size();
        waiting_bytes += item->read_bytes;
        waiting_.push_back(item);
        check(item);
      }
      if (waiting_.empty()) break;
      const std::shared_ptr<IngestItem> item = std::move(waiting_.front());
      waiting_.pop_front();
      item->is_checked.wait(false);
      if (item->failure) std::rethrow_exception(item->failure);
      waiting_bytes -= item->read_bytes;
      take_or_leave(*item);
    }
    if (writer_) close_shard();
  }

  /// Has a thread check the item, if there is something to check.
  void check(const std::shared_ptr<IngestItem>& item) {
    if (!item->reason.empty()) {
      item->is_checked = true;
      return;
    }
    if (!team_) team_.emplace(options_.threads);
    team_->post([item, decode = options_.decode] {
      try {
        check_image(*item, decode);
      } catch (...) {
        item->failure = std::current_exception();
      }
      item->is_checked = true;
      item->is_checked.notify_one();
    });
  }

  bool read(IngestItem& item) {
    try {
      return source_.next(item.record);
    } catch (const SampleFault& bad) {
      item.reason = bad.reason;
      item.problem = rule_of(bad);
      return true;
    }
  }

  void take_or_leave(IngestItem& item) {
    const IngestRecord& record = item.record;
    try {
      if (!item.reason.empty()) throw SampleFault(item.reason, item.problem);
      take(item);
    } catch (const SampleFault& bad) {
      const std::string place = source_.place(record.input, record.number);
      problems_.add(fmt::format("{}: {}", place, rule_of(bad)));
      ++counts_.left_out;
      ++counts_.left_out_by_reason[std::string(bad.reason)];
      if (skips()) {
        skipped_->add(place, bad.reason, rule_of(bad));
      } else {
        writer_.reset();  // nothing is kept, but the rest is still checked
      }
    }
    ++counts_.seen;
    after_ = record.after;
    if (options_.progress) options_.progress(counts_.seen, counts_.left_out);
  }

  void take(IngestItem& item) {
    IngestRecord& record = item.record;
    SampleDescription& sample = record.sample;
    labels_.settle(record);
    check_boxes(item);
    const bool is_packed = problems_.empty() || skips();
    // Before this sample is counted: what is noted of a shard is of the samples before this one.
    if (is_packed) make_room(record.image.size());
    const uint64_t owner = record.input << kNumberBits | record.number;
    const uint64_t id = sample.id.value_or(owner);
    if (const std::optional<uint64_t> known = ids_.add(id, owner)) {
      throw SampleFault(
          kDoubleId,
          fmt::format("the id {} was already that of {}{}", id,
                      source_.place(*known >> kNumberBits, *known & ((uint64_t{1} << kNumberBits) - 1)),
                      sample.id ? "" : fmt::format("; a {} without 'id' has its number as id", source_.unit())));
    }
    for (const std::string& what : sample.ignored) {
      if (counts_.ignored.size() < kMaxNamed || counts_.ignored.contains(what)) ++counts_.ignored[what];
    }
    for (const std::string& remark : item.remarks) {
      if (counts_.remarks.size() == kMaxNamed && !counts_.remarks.contains(remark)) continue;
      IngestRemark& known_remark = counts_.remarks[remark];
      if (known_remark.count++ == 0) known_remark.first = source_.place(record.input, record.number);
    }
    if (is_packed) write(id, record);
  }

  void make_room(uint64_t image_bytes) {
    if (writer_ && (writer_->num_samples() == options_.samples_per_shard || !writer_->has_room(image_bytes))) {
      close_shard();
    }
  }

  void write(uint64_t id, const IngestRecord& record) {
    const std::vector<std::string_view> texts(record.sample.texts.begin(), record.sample.texts.end());
    if (!writer_) {
      writer_ = std::make_unique<ShardWriter>(staging_.path() / shard_file_name(num_shards_), data_set_id_);
    }
    writer_->add({.id = id,
                  .image = record.image,
                  .captions = texts,
                  .label = record.sample.label,
                  .roles = record.sample.roles,
                  .boxes = record.sample.boxes});
    ++num_samples_;
  }

  void close_shard() {
    // A child process writes it, and whatever lock a thread held when it was forked would stay locked there: so all
    // that waits is checked first, and the threads end.
    for (const std::shared_ptr<IngestItem>& item : waiting_) item->is_checked.wait(false);
    team_.reset();
    const fs::path path = staging_.path() / shard_file_name(num_shards_);
    writer_->close();
    const JournalEntry entry{.shard = path.filename(),
                             .shard_bytes = File::open_read(path).size(),
                             .shard_hash = hash_file(path).hex(),
                             .num_samples = writer_->num_samples(),
                             .cursor = after_,
                             .skipped_bytes = skipped_->flush(),
                             .ids = ids_.take_new(),
                             .counts = counts_};
    writer_.reset();
    journal_->append(entry);
    num_samples_kept_ += entry.num_samples;
    num_shards_kept_ = ++num_shards_;
    if (num_shards_ > kMaxShards) {
      throw UserError(options_.out.string(),
                      fmt::format("would have more than {} shards. Raise --samples-per-shard.", kMaxShards));
    }
  }

  [[noreturn]] void refuse_problems() const {
    throw UserError(
        source_.name(),
        fmt::format("has {}\nNothing was written. Mend or remove these {}s, or leave bad ones out: --skip-bad 1%.",
                    problems_.text(), source_.unit()));
  }

  void check_share() const {
    const double percent = 100.0 * static_cast<double>(counts_.left_out) / static_cast<double>(counts_.seen);
    if (percent <= options_.skip_bad_percent) return;
    std::string reasons;
    for (const auto& [reason, count] : counts_.left_out_by_reason) reasons += fmt::format("\n  {} {}", count, reason);
    throw UserError(source_.name(),
                    fmt::format("{} of {} {}s are bad, {:.4g} %, and --skip-bad allows {:.4g} %:{}\nIt has {}\nNothing "
                                "was written. Mend or remove them, or raise --skip-bad.",
                                counts_.left_out, counts_.seen, source_.unit(), percent, options_.skip_bad_percent,
                                reasons, problems_.text()));
  }

  IngestSummary finish() {
    skipped_->flush();
    const IndexSummary index = build_index(staging_.path());
    TRIPTYCH_CHECK(index.num_samples == num_samples_, "packed {} samples, found {}", num_samples_, index.num_samples);
    if (!labels_.names().empty())
      write_file_atomically(staging_.path() / kClassNamesFile, fmt::format("{}\n", fmt::join(labels_.names(), "\n")));
    fs::remove(staging_.path() / kJournalName);
    staging_.commit();
    for (const auto& [what, count] : source_.passed_over()) counts_.ignored[what] += count;
    return {.num_shards = index.num_shards,
            .num_samples = index.num_samples,
            .num_captions = index.num_captions,
            .num_images = index.num_images,
            .num_boxes = index.num_boxes,
            .data_set_id = data_set_id_,
            .counts = std::move(counts_),
            .kept = staging_.kept()};
  }

  const IngestOptions& options_;
  IngestSource& source_;
  IngestLabels labels_;
  std::string made_of_;  // what the data set's id is computed from
  std::string data_set_id_;
  StagingFolder staging_;
  std::optional<IngestJournal> journal_;
  std::optional<SkippedList> skipped_;
  Problems problems_;
  IngestCounts counts_;
  IngestCursor after_;  // behind what was taken or left out last
  IdRanges ids_;
  std::unique_ptr<ShardWriter> writer_;
  uint64_t num_shards_ = 0, num_samples_ = 0;
  uint64_t num_shards_kept_ = 0, num_samples_kept_ = 0;  // that the journal lists
  std::deque<std::shared_ptr<IngestItem>> waiting_;      // for a thread, or to be taken
  std::optional<ThreadTeam> team_;                       // last: its work ends before what it refers to
};

/// The data set's folder without a slash at the end, and a link to a folder as the folder, so that names can be put
/// beside it.
fs::path normal_out(const fs::path& out) {
  fs::path normal = out.lexically_normal();
  if (!normal.has_filename()) normal = normal.parent_path();
  std::error_code ignored, error;
  if (fs::is_symlink(normal, ignored)) normal = fs::canonical(normal, error);
  if (error || normal.empty() || normal == "." || normal.filename() == "..") {
    throw UserError(out.string(), "cannot be the data set's folder. Name a folder of its own with --out.");
  }
  return normal;
}

}  // namespace

IngestSummary ingest(IngestSource& source, const IngestOptions& options) {
  if (options.samples_per_shard < 1 || options.samples_per_shard > kMaxSamplesPerShard) {
    throw UserError("ingest", fmt::format("--samples-per-shard must be 1 to {}, found {}.", kMaxSamplesPerShard,
                                          options.samples_per_shard));
  }
  if (!(options.skip_bad_percent >= 0 && options.skip_bad_percent <= 100)) {
    throw UserError("ingest", fmt::format("--skip-bad must be 0 to 100 percent, found {}.", options.skip_bad_percent));
  }
  if (options.out.empty()) throw UserError("ingest", "--out must name a folder.");
  IngestOptions normal = options;
  normal.out = normal_out(options.out);
  return Ingest(source, normal).run();
}

}  // namespace triptych::data
