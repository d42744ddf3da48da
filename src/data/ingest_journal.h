#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "data/id_ranges.h"
#include "data/ingest_counts.h"
#include "data/ingest_source.h"

namespace triptych::data {

/// The file in OUT.partial from which an interrupted ingest goes on; not part of the finished data set.
inline constexpr std::string_view kJournalName = "ingest.journal";

/// A shard that is complete, and how things stood when it was closed.
struct JournalEntry {
  std::string shard;  ///< its file's name
  uint64_t shard_bytes = 0;
  std::string shard_hash;      ///< XXH3-128 of the file
  uint64_t num_samples = 0;    ///< in it
  IngestCursor cursor;         ///< behind its last sample and what was left out after that
  uint64_t skipped_bytes = 0;  ///< of the list of samples left out
  std::vector<IdRange> ids;    ///< of its samples
  IngestCounts counts;         ///< of all up to here
};

/// Lines of a checksum and JSON, the first of which says what is ingested, and each other of a shard. A line that a
/// crash has cut is none, and ends the journal.
class IngestJournal {
 public:
  /// The entries of a journal of exactly this ingest, up to the first whose shard is not there as it was written; none
  /// if there is no journal or it is of another one.
  ///
  ///   what   fingerprint of input and options
  static std::vector<JournalEntry> read(const std::filesystem::path& folder, std::string_view what);

  /// Begins the folder's journal anew with these entries.
  IngestJournal(const std::filesystem::path& folder, std::string_view what, const std::vector<JournalEntry>& entries);
  /// Appends an entry and flushes it to the disk.
  void append(const JournalEntry& entry);

 private:
  std::filesystem::path path_;
};

/// One line's entry; nothing if it is none, whatever the bytes. For `read` and the fuzzer.
std::optional<JournalEntry> parse_journal_line(std::string_view line);

}  // namespace triptych::data
