#include "report/event_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <system_error>
#include <vector>

#include <fmt/core.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/program_identity.h"

namespace triptych::report {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNameBegin = "events.out.tfevents.";
// Readers take a file that names it for one of the form below.
constexpr std::string_view kFileVersion = "brain.Event:2";
constexpr std::string_view kWriter = "triptych";
constexpr std::size_t kHeaderBytes = 12;     // of a record: its length, and that one's checksum
constexpr std::size_t kMaxFirstRecord = 64;  // a time, the version, the writer

// ---- Protocol buffers, of which events need four kinds of fields.

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
void put_key(std::string& out, uint32_t field, uint32_t wire_type) {
  put_varint(out, field << 3 | wire_type);
}
template <typename Bits>
void put_fixed(std::string& out, Bits bits) {  // little-endian
  for (std::size_t i = 0; i < sizeof(Bits); ++i) out += static_cast<char>(bits >> (8 * i));
}
void put_integer(std::string& out, uint32_t field, int64_t value) {
  put_key(out, field, 0);
  put_varint(out, static_cast<uint64_t>(value));
}
void put_double(std::string& out, uint32_t field, double value) {
  put_key(out, field, 1);
  put_fixed(out, std::bit_cast<uint64_t>(value));
}
void put_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  put_key(out, field, 2);
  put_varint(out, bytes.size());
  out += bytes;
}
void put_float(std::string& out, uint32_t field, float value) {
  put_key(out, field, 5);
  put_fixed(out, std::bit_cast<uint32_t>(value));
}

// ---- The messages, with the numbers that event.proto, summary.proto and tensor.proto give their fields.

std::string event_of(double time, int64_t step) {
  std::string event;
  put_double(event, 1, time);  // wall_time
  put_integer(event, 2, step);
  return event;
}

// All that is_event_file looks for.
std::string first_event(double time) {
  std::string writer, event;
  put_bytes(writer, 1, kWriter);
  put_double(event, 1, time);
  put_bytes(event, 3, kFileVersion);
  put_bytes(event, 10, writer);  // source_metadata
  return event;
}

uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

std::string frame(std::string_view event) {
  std::string record;
  put_fixed(record, uint64_t{event.size()});
  put_fixed(record, masked_crc(record));
  record += event;
  put_fixed(record, masked_crc(event));
  return record;
}

// The seconds that an event file's name begins with; -1 if it is none's.
int64_t seconds_of(const std::string& name) {
  if (!name.starts_with(kNameBegin)) return -1;
  int64_t seconds = -1;
  const char* const begin = name.data() + kNameBegin.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), seconds);
  return error == std::errc() && end != begin && *end == '.' ? seconds : -1;
}

fs::path next_path(const fs::path& folder, double time) {
  auto seconds = static_cast<int64_t>(time);
  for (const fs::path& path : list_folder(folder)) {
    const int64_t earlier = seconds_of(path.filename().string());
    // Whatever a clock said then; a name of somebody's with a time of a far future does not count.
    if (earlier >= seconds && earlier < 9'000'000'000) seconds = earlier + 1;
  }
  std::string host = machine_name();
  std::replace_if(
      host.begin(), host.end(),
      [](char c) { return !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'); },
      '_');
  return folder / fmt::format("{}{:010}.{}.{}", kNameBegin, seconds, host, ::getpid());
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t remainder = i;
      for (int bit = 0; bit < 8; ++bit) remainder = remainder >> 1 ^ (remainder & 1 ? 0x82F63B78u : 0);
      table[i] = remainder;
    }
    return table;
  }();
  uint32_t crc = ~0u;
  for (const char byte : bytes) crc = crc >> 8 ^ kTable[(crc ^ static_cast<uint8_t>(byte)) & 0xFF];
  return ~crc;
}

EventFile::EventFile(const fs::path& folder, int64_t first_step, double time)
    : file_("events", next_path(folder, time), AppendFile::Existing::kRefuse) {
  write(first_event(time));
  std::string log, event = event_of(time, first_step);
  put_integer(log, 1, 1);  // status: START
  put_bytes(event, 7, log);
  write(event);
}

void EventFile::write_scalars(int64_t step, double time, std::span<const std::pair<std::string, double>> scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    if (!std::isfinite(value)) continue;
    std::string entry;
    put_bytes(entry, 1, tag);
    put_float(entry, 2, static_cast<float>(value));
    put_bytes(summary, 1, entry);
  }
  if (summary.empty()) return;
  std::string event = event_of(time, step);
  put_bytes(event, 5, summary);
  write(event);
}

void EventFile::write_text(int64_t step, double time, std::string_view tag, std::string_view markdown) {
  std::string dim, shape, tensor, plugin, metadata, entry, summary;
  put_integer(dim, 1, 1);
  put_bytes(shape, 2, dim);
  put_integer(tensor, 1, 7);  // DT_STRING
  put_bytes(tensor, 2, shape);
  put_bytes(tensor, 8, markdown);
  put_bytes(plugin, 1, "text");
  put_bytes(metadata, 1, plugin);
  put_bytes(entry, 1, tag);
  put_bytes(entry, 8, tensor);
  put_bytes(entry, 9, metadata);
  put_bytes(summary, 1, entry);
  std::string event = event_of(time, step);
  put_bytes(event, 5, summary);
  write(event);
}

void EventFile::write(std::string_view event) {
  file_.append(frame(event));
}

bool is_event_file(const fs::path& path) {
  std::error_code error;
  if (seconds_of(path.filename().string()) < 0 || !fs::is_regular_file(fs::symlink_status(path, error))) return false;
  const File file = File::open_read(path);
  std::string head(std::min<uint64_t>(file.size(), kHeaderBytes + kMaxFirstRecord), '\0');
  file.pread(std::as_writable_bytes(std::span(head)), 0);
  // The time is the only part that differs from one file to another: 8 bytes behind the header and the first key.
  const std::string own = frame(first_event(0));
  const std::size_t behind_time = kHeaderBytes + 9, event_end = own.size() - 4;
  return head.size() >= event_end && head.substr(0, kHeaderBytes + 1) == own.substr(0, kHeaderBytes + 1) &&
         head.substr(behind_time, event_end - behind_time) == own.substr(behind_time, event_end - behind_time);
}

}  // namespace triptych::report
