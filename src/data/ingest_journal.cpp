#include "data/ingest_journal.h"

#include <cerrno>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/error.h"
#include "base/hash.h"

namespace triptych::data {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr uint64_t kMaxJournalBytes = uint64_t{4} << 30;
constexpr std::size_t kHashDigits = 32;

std::string line_of(const Json& json) {
  const std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  return hash128(std::as_bytes(std::span(text))).hex() + " " + text + "\n";
}

/// The JSON of a line without its end; discarded if it is none.
Json json_of(std::string_view line) {
  if (line.size() <= kHashDigits || line[kHashDigits] != ' ') return Json(Json::value_t::discarded);
  const std::string_view text = line.substr(kHashDigits + 1);
  if (hash128(std::as_bytes(std::span(text))).hex() != line.substr(0, kHashDigits)) {
    return Json(Json::value_t::discarded);
  }
  return Json::parse(text, nullptr, false);
}

Json json_of(const JournalEntry& entry) {
  Json ids = Json::array(), remarks = Json::object();
  for (const IdRange& range : entry.ids) ids.push_back({range.first, range.last, range.owner});
  for (const auto& [text, remark] : entry.counts.remarks) remarks[text] = {remark.count, remark.first};
  const IngestCounts& counts = entry.counts;
  return {{"shard", entry.shard},
          {"bytes", entry.shard_bytes},
          {"hash", entry.shard_hash},
          {"samples", entry.num_samples},
          {"cursor", {entry.cursor.input, entry.cursor.number, entry.cursor.offset}},
          {"skipped_bytes", entry.skipped_bytes},
          {"ids", ids},
          {"seen", counts.seen},
          {"left_out", counts.left_out},
          {"reasons", counts.left_out_by_reason},
          {"ignored", counts.ignored},
          {"remarks", remarks}};
}

/// Throws Json::exception where something is not as json_of writes it.
JournalEntry entry_of(const Json& json) {
  JournalEntry entry;
  entry.shard = json.at("shard").get<std::string>();
  entry.shard_bytes = json.at("bytes").get<uint64_t>();
  entry.shard_hash = json.at("hash").get<std::string>();
  entry.num_samples = json.at("samples").get<uint64_t>();
  const Json& cursor = json.at("cursor");
  entry.cursor = {cursor.at(0).get<uint64_t>(), cursor.at(1).get<uint64_t>(), cursor.at(2).get<uint64_t>()};
  entry.skipped_bytes = json.at("skipped_bytes").get<uint64_t>();
  for (const Json& ids : json.at("ids")) {
    entry.ids.push_back({ids.at(0).get<uint64_t>(), ids.at(1).get<uint64_t>(), ids.at(2).get<uint64_t>()});
  }
  entry.counts.seen = json.at("seen").get<uint64_t>();
  entry.counts.left_out = json.at("left_out").get<uint64_t>();
  json.at("reasons").get_to(entry.counts.left_out_by_reason);
  json.at("ignored").get_to(entry.counts.ignored);
  for (const auto& [text, remark] : json.at("remarks").items()) {
    entry.counts.remarks[text] = {remark.at(0).get<uint64_t>(), remark.at(1).get<std::string>()};
  }
  return entry;
}

std::string first_line(std::string_view what) {
  return line_of({{"format", "triptych-ingest"}, {"version", 1}, {"what", what}});
}

/// Whether the entry's shard lies there as it was written.
bool is_there(const fs::path& folder, const JournalEntry& entry) {
  const fs::path path = folder / entry.shard;
  std::error_code error;
  return fs::symlink_status(path, error).type() == fs::file_type::regular &&
         fs::file_size(path, error) == entry.shard_bytes && !error && hash_file(path).hex() == entry.shard_hash;
}

}  // namespace

std::optional<JournalEntry> parse_journal_line(std::string_view line) {
  const Json json = json_of(line);
  if (!json.is_object()) return std::nullopt;
  try {
    return entry_of(json);
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

std::vector<JournalEntry> IngestJournal::read(const fs::path& folder, std::string_view what) {
  std::vector<JournalEntry> entries;
  std::error_code error;
  const fs::path path = folder / kJournalName;
  if (fs::symlink_status(path, error).type() != fs::file_type::regular) return entries;
  const std::string text = read_text_file(path, kMaxJournalBytes);
  const std::string first = first_line(what);
  if (!text.starts_with(first)) return entries;
  for (std::size_t begin = first.size(); begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    std::optional<JournalEntry> entry = parse_journal_line(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
    if (!entry || entry->shard != shard_file_name(entries.size()) || !is_there(folder, *entry)) break;
    entries.push_back(std::move(*entry));
  }
  return entries;
}

IngestJournal::IngestJournal(const fs::path& folder, std::string_view what, const std::vector<JournalEntry>& entries)
    : path_(folder / kJournalName) {
  std::string text = first_line(what);
  for (const JournalEntry& entry : entries) text += line_of(json_of(entry));
  write_file_atomically(path_, text);
}

void IngestJournal::append(const JournalEntry& entry) {
  const std::string line = line_of(json_of(entry));
  const int file = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0) throw WorldError(path_.string(), fmt::format("cannot be opened ({}).", describe_errno(errno)));
  std::size_t done = 0;
  int failure = 0;
  while (done < line.size() && failure == 0) {
    const ssize_t wrote = ::write(file, line.data() + done, line.size() - done);
    if (wrote < 0 && errno != EINTR) failure = errno;
    if (wrote > 0) done += static_cast<std::size_t>(wrote);
  }
  if (failure == 0 && ::fsync(file) != 0) failure = errno;
  ::close(file);
  if (failure != 0) throw WorldError(path_.string(), fmt::format("cannot be written ({}).", describe_errno(failure)));
}

}  // namespace triptych::data
