#include "data/tar_samples.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include <archive.h>
#include <archive_entry.h>

#include "data/sample_description.h"
#include "data/sample_fault.h"

namespace triptych::data {
namespace {

constexpr std::size_t kMaxMembers = 256;

struct FreeArchive {
  void operator()(archive* it) const { archive_read_free(it); }
};

/// The name split at the first dot behind the last slash; false if it is no file of a sample.
bool split_name(std::string_view path, std::string& key, std::string& extension) {
  const std::size_t slash = path.rfind('/');
  const std::size_t name = slash == std::string_view::npos ? 0 : slash + 1;
  const std::size_t dot = path.find('.', name);
  const bool is_metadata = name == 0 && path.starts_with("__") && path.ends_with("__");
  if (dot == std::string_view::npos || dot == name || is_metadata) return false;
  key = path.substr(0, dot);
  extension = path.substr(dot + 1);
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return true;
}

/// What went wrong in the archive, as the library says it; some failures to open one leave no text (a null pointer).
std::string reason(archive* handle) {
  const char* text = archive_error_string(handle);
  return text == nullptr ? "no reason is known" : text;
}

}  // namespace

struct TarSamples::Archive {
  std::string where;
  std::unique_ptr<archive, FreeArchive> handle;
  bool is_done = false;
  archive_entry* entry = nullptr;  // the next file of a sample, its contents not read; null: none was looked for
  std::string key, extension;      // of `entry`
  uint64_t num_samples = 0;

  std::string damage;  // why the archive cannot be read on, not told yet

  void end_here() {
    is_done = true;
    entry = nullptr;
    damage = reason(handle.get());
  }

  void tell_damage() {
    if (damage.empty()) return;
    throw SampleFault(kCutArchive,
                      fmt::format("the archive is cut or damaged behind its first {} samples ({}), so the rest "
                                  "of it is missing",
                                  num_samples, std::exchange(damage, {})));
  }

  /// Looks for the next file of a sample; false if there is none, or if the archive cannot be read on.
  bool find_entry() {
    while (!is_done) {
      const int outcome = archive_read_next_header(handle.get(), &entry);
      if (outcome == ARCHIVE_EOF) {
        is_done = true;
      } else if (outcome < ARCHIVE_WARN) {
        end_here();
      } else {
        const char* path = archive_entry_pathname(entry);
        const bool is_plain = archive_entry_filetype(entry) == AE_IFREG && archive_entry_hardlink(entry) == nullptr;
        if (is_plain && path != nullptr && split_name(path, key, extension)) return true;
      }
    }
    entry = nullptr;
    return false;
  }

  void read(TarMember& member) {
    member.data.resize(member.bytes);
    std::size_t done = 0;
    while (done < member.data.size()) {
      const la_ssize_t got = archive_read_data(handle.get(), member.data.data() + done, member.data.size() - done);
      if (got <= 0) {
        end_here();
        tell_damage();
      }
      done += static_cast<std::size_t>(got);
    }
    member.is_read = true;
  }
};

TarSamples::TarSamples(const std::filesystem::path& path) : archive_(std::make_unique<Archive>()) {
  archive_->where = path.string();
  archive_->handle.reset(archive_read_new());
  archive* handle = archive_->handle.get();
  if (handle == nullptr) throw WorldError(path.string(), "there is no memory to read it.");
  archive_read_support_format_tar(handle);
  archive_read_support_filter_gzip(handle);
  archive_read_support_filter_zstd(handle);
  constexpr std::size_t kBlock = std::size_t{1} << 20;
  if (archive_read_open_filename(handle, path.c_str(), kBlock) != ARCHIVE_OK) {
    throw UserError(path.string(),
                    fmt::format("cannot be read as a tar archive ({}). Name one, .tar or .tar.gz.", reason(handle)));
  }
}

TarSamples::~TarSamples() = default;
TarSamples::TarSamples(TarSamples&&) noexcept = default;
TarSamples& TarSamples::operator=(TarSamples&&) noexcept = default;

bool TarSamples::next(TarSample& sample, const WantedMember& wanted) {
  sample = {};
  Archive& from = *archive_;
  if (from.entry == nullptr && !from.find_entry()) {
    from.tell_damage();
    return false;
  }
  sample.key = from.key;
  std::string fault;
  do {
    TarMember member;
    member.extension = from.extension;
    member.bytes = archive_entry_size_is_set(from.entry) ? static_cast<uint64_t>(archive_entry_size(from.entry)) : 0;
    if (std::ranges::find(sample.members, member.extension, &TarMember::extension) != sample.members.end()) {
      fault = fmt::format("'{}' has the extension '{}' twice", shown_name(sample.key), shown_name(member.extension));
    } else if (sample.members.size() == kMaxMembers) {
      fault = fmt::format("'{}' has more than {} files", shown_name(sample.key), kMaxMembers);
    }
    if (fault.empty()) {
      if (wanted(member.extension, member.bytes)) from.read(member);
      sample.members.push_back(std::move(member));
    }
  } while (from.find_entry() && from.key == sample.key);
  ++from.num_samples;
  if (!fault.empty()) throw SampleFault(kMalformed, fault);
  return true;
}

}  // namespace triptych::data
