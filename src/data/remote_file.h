#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "data/remote_url.h"

namespace triptych::data {

/// How long a transfer is tried.
struct RemotePatience {
  int attempts = 6;                            ///< in a row that bring no byte
  std::chrono::milliseconds first_pause{250};  ///< between attempts; doubled each time, up to 8 s
  int connect_s = 15;
  int stall_s = 30;  ///< without a byte, then the attempt has failed
};

/// True once whoever wants a transfer does not want it any more; it then ends with a WorldError. May be empty.
using IsUnwanted = std::function<bool()>;

/// Brings the file of a request to `path`, and goes on where a file that is there ends. One that is as long as asked is
/// left as it is.
///
///   bytes  that it has; a longer or shorter one is an error
///
/// A transfer that breaks, stalls or is refused for now (HTTP 408, 425, 429, 500, 502, 503, 504) is tried again, from
/// where it broke. Throws WorldError that names the address and the status, or what broke.
void download(const RemoteRequest& request, const std::filesystem::path& path, uint64_t bytes,
              const RemotePatience& patience = {}, const IsUnwanted& is_unwanted = {});

/// A small file's contents; nothing if there is none: HTTP status 404, or 403, which S3 answers where listing is not
/// allowed. Throws as download() does, and WorldError if it has more than `max_bytes`.
std::optional<std::string> fetch_text(const RemoteRequest& request, uint64_t max_bytes,
                                      const RemotePatience& patience = {}, const IsUnwanted& is_unwanted = {});

}  // namespace triptych::data
