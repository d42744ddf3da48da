#include "data/remote_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <mutex>
#include <thread>

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych::data {
namespace {

constexpr std::chrono::milliseconds kLongestPause{8000};
// SHA-256 of nothing: what a signed request without a body says of it.
constexpr const char* kEmptyBody =
    "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

void start_curl() {
  static std::once_flag started;  // the library's own state, which it has one of
  std::call_once(started, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

struct CurlDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

/// One attempt at a transfer: where its bytes go, and how it ended.
struct Attempt {
  std::function<bool(std::string_view bytes)> take;  // false: no more is wanted
  const IsUnwanted* is_unwanted = nullptr;
  CURL* handle = nullptr;
  uint64_t offset = 0;
  bool has_status = false, is_refused = false;
  bool begins_anew = false;  // what was there before is gone, so another attempt is due
  long status = 0;
  uint64_t num_bytes = 0;
  CURLcode code = CURLE_OK;
  std::string error;
};

std::size_t on_bytes(const char* bytes, std::size_t size, std::size_t count, void* user) {
  auto& attempt = *static_cast<Attempt*>(user);
  if (!attempt.has_status) {
    curl_easy_getinfo(attempt.handle, CURLINFO_RESPONSE_CODE, &attempt.status);
    attempt.has_status = true;
  }
  if (attempt.status != 200 && attempt.status != 206) return size * count;  // an error's page
  attempt.num_bytes += size * count;
  if (attempt.take({bytes, size * count})) return size * count;
  attempt.is_refused = true;
  return 0;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const IsUnwanted& is_unwanted = *static_cast<Attempt*>(user)->is_unwanted;
  return is_unwanted && is_unwanted() ? 1 : 0;
}

void transfer(const RemoteRequest& request, const RemotePatience& patience, Attempt& attempt) {
  start_curl();
  const std::unique_ptr<CURL, CurlDeleter> handle(curl_easy_init());
  if (handle == nullptr) throw WorldError(request.name, "cannot be fetched: libcurl does not start");
  std::array<char, CURL_ERROR_SIZE> error{};
  std::unique_ptr<curl_slist, CurlDeleter> headers;
  const auto set = [&](CURLoption option, auto value) { curl_easy_setopt(handle.get(), option, value); };
  const bool is_signed = !request.region.empty();
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  // What came encrypted is not fetched in the clear, and a signature is of one host alone.
  set(CURLOPT_FOLLOWLOCATION, is_signed ? 0L : 1L);
  set(CURLOPT_MAXREDIRS, 5L);
  set(CURLOPT_REDIR_PROTOCOLS_STR, request.url.starts_with("https://") ? "https" : "http,https");
  set(CURLOPT_CONNECTTIMEOUT, static_cast<long>(patience.connect_s));
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(patience.stall_s));
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_USERAGENT, "triptych");
  set(CURLOPT_ERRORBUFFER, error.data());
  set(CURLOPT_WRITEFUNCTION, &on_bytes);
  set(CURLOPT_WRITEDATA, &attempt);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &on_progress);
  set(CURLOPT_XFERINFODATA, &attempt);
  if (attempt.offset > 0) set(CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(attempt.offset));
  if (is_signed) {
    set(CURLOPT_AWS_SIGV4, fmt::format("aws:amz:{}:s3", request.region).c_str());
    set(CURLOPT_USERNAME, request.access_key.c_str());
    set(CURLOPT_PASSWORD, request.secret_key.c_str());
    headers.reset(curl_slist_append(nullptr, kEmptyBody));
    if (!request.session_token.empty()) {
      curl_slist_append(headers.get(), ("x-amz-security-token: " + request.session_token).c_str());
    }
    set(CURLOPT_HTTPHEADER, headers.get());
  }
  attempt.handle = handle.get();
  attempt.code = curl_easy_perform(handle.get());
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &attempt.status);
  attempt.error = error[0] != '\0' ? error.data() : curl_easy_strerror(attempt.code);
}

bool is_sound(const Attempt& attempt) {
  return attempt.code == CURLE_OK && (attempt.status == 200 || attempt.status == 206);
}

/// Whether another attempt may end otherwise.
bool is_passing(const Attempt& attempt) {
  if (attempt.begins_anew) return true;
  if (attempt.is_refused || attempt.code == CURLE_ABORTED_BY_CALLBACK) return false;
  if (attempt.code == CURLE_OK || attempt.code == CURLE_RANGE_ERROR || attempt.code == CURLE_HTTP_RETURNED_ERROR) {
    constexpr std::array<long, 7> kForNow{408, 425, 429, 500, 502, 503, 504};
    return std::ranges::count(kForNow, attempt.status) != 0;
  }
  constexpr std::array kForGood{
      CURLE_UNSUPPORTED_PROTOCOL,     CURLE_URL_MALFORMAT,   CURLE_WRITE_ERROR,   CURLE_TOO_MANY_REDIRECTS,
      CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM, CURLE_OUT_OF_MEMORY, CURLE_REMOTE_ACCESS_DENIED};
  return std::ranges::count(kForGood, attempt.code) == 0;
}

std::string told(const Attempt& attempt) {
  if (attempt.code != CURLE_OK && attempt.code != CURLE_RANGE_ERROR) return attempt.error;
  return fmt::format("HTTP status {}", attempt.status);
}

[[noreturn]] void fail(const RemoteRequest& request, const Attempt& attempt, int attempts) {
  const long status = attempt.code == CURLE_OK ? attempt.status : 0;
  const std::string_view remedy = status == 404                    ? "Look whether the address is right"
                                  : status == 401 || status == 403 ? "Look whether you may read it"
                                                                   : "Look whether the server can be reached";
  throw WorldError(request.name, fmt::format("cannot be fetched: {} ({} attempt{}). {}", told(attempt), attempts,
                                             attempts == 1 ? "" : "s", remedy));
}

/// Tries until `try_once` returns true. It makes an attempt and takes what it brings.
template <typename TryOnce>
void persist(const RemoteRequest& request, const RemotePatience& patience, const IsUnwanted& is_unwanted,
             const TryOnce& try_once) {
  std::chrono::milliseconds pause = patience.first_pause;
  for (int in_row = 1, all = 1;; ++in_row, ++all) {
    Attempt attempt;
    attempt.is_unwanted = &is_unwanted;
    if (try_once(attempt)) return;
    if (attempt.num_bytes > 0 && all < 100) {  // it came nearer
      in_row = 1;
      pause = patience.first_pause;
    }
    if (!is_passing(attempt) || in_row >= patience.attempts) fail(request, attempt, all);
    for (auto waited = std::chrono::milliseconds(0); waited < pause; waited += std::chrono::milliseconds(50)) {
      if (is_unwanted && is_unwanted()) fail(request, attempt, all);
      std::this_thread::sleep_for(std::min(pause - waited, std::chrono::milliseconds(50)));
    }
    pause = std::min(2 * pause, kLongestPause);
  }
}

/// A file that grows at its end.
class GrowingFile {
 public:
  explicit GrowingFile(const std::filesystem::path& path)
      : path_(path), descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644)) {
    struct stat status {};
    if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) fail("open it for writing");
    size_ = static_cast<uint64_t>(status.st_size);
  }
  GrowingFile(const GrowingFile&) = delete;
  GrowingFile& operator=(const GrowingFile&) = delete;
  ~GrowingFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  uint64_t size() const { return size_; }
  bool clear() {
    size_ = 0;
    return ::ftruncate(descriptor_, 0) == 0;
  }
  bool append(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        error_ = errno;
        return false;
      }
      size_ += static_cast<uint64_t>(count);
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }
  /// Throws what `append` met.
  void require_written() {
    errno = error_;
    if (error_ != 0) fail("write to it");
  }

 private:
  [[noreturn]] void fail(std::string_view verb) const {
    const int number = errno;
    if (descriptor_ >= 0) ::close(descriptor_);
    throw WorldError(path_.string(), fmt::format("cannot {} ({})", verb, describe_errno(number)));
  }

  std::filesystem::path path_;
  int descriptor_;
  uint64_t size_ = 0;
  int error_ = 0;
};

}  // namespace

void download(const RemoteRequest& request, const std::filesystem::path& path, uint64_t bytes,
              const RemotePatience& patience, const IsUnwanted& is_unwanted) {
  GrowingFile file(path);
  if (file.size() > bytes) file.clear();
  if (file.size() == bytes) return;
  bool is_longer = false;
  persist(request, patience, is_unwanted, [&](Attempt& attempt) {
    attempt.offset = file.size();
    attempt.take = [&](std::string_view piece) {
      is_longer = piece.size() > bytes - file.size();
      return !is_longer && file.append(piece);
    };
    transfer(request, patience, attempt);
    file.require_written();
    if (is_longer || (is_sound(attempt) && file.size() != bytes)) {
      file.clear();
      throw WorldError(request.name,
                       fmt::format("must have {} bytes as the index says, found {}: it is another file than was "
                                   "indexed. Bring the right one to the server, or index the data set again",
                                   bytes, is_longer ? "more" : "fewer"));
    }
    // The server gives no parts, or what is here is longer than what is there: from the beginning.
    const bool gives_no_part = attempt.code == CURLE_RANGE_ERROR && (attempt.status == 200 || attempt.status == 206);
    if (attempt.offset > 0 && (attempt.status == 416 || gives_no_part)) {
      attempt.begins_anew = true;
      file.clear();
      return false;
    }
    return is_sound(attempt);
  });
}

std::optional<std::string> fetch_text(const RemoteRequest& request, uint64_t max_bytes, const RemotePatience& patience,
                                      const IsUnwanted& is_unwanted) {
  std::string text;
  bool is_there = true, is_longer = false;
  persist(request, patience, is_unwanted, [&](Attempt& attempt) {
    text.clear();
    attempt.take = [&](std::string_view piece) {
      is_longer = piece.size() > max_bytes - text.size();
      if (!is_longer) text += piece;
      return !is_longer;
    };
    transfer(request, patience, attempt);
    if (is_longer) throw WorldError(request.name, fmt::format("must have at most {} bytes, found more", max_bytes));
    is_there = attempt.status != 404 && attempt.status != 403;
    return is_sound(attempt) || (attempt.code == CURLE_OK && !is_there);
  });
  if (!is_there) return std::nullopt;
  return text;
}

}  // namespace triptych::data
