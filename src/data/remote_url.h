#pragma once

#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::data {

/// True if a data set's place is no folder but an address: it begins with a letter-and-digits scheme and "://".
bool is_url(std::string_view text);

/// What a request is made of.
struct RemoteRequest {
  std::string url;     ///< http or https
  std::string name;    ///< for messages: as the user wrote it
  std::string region;  ///< of a request that is signed for S3; empty: not signed
  std::string access_key, secret_key, session_token;
};

/// A folder behind `https://`, `http://` or `s3://bucket/prefix`: the addresses of its files.
///
/// What S3 needs comes from the environment, as for other programs: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
/// (without them requests are anonymous), AWS_SESSION_TOKEN, AWS_REGION or AWS_DEFAULT_REGION (us-east-1), and
/// AWS_ENDPOINT_URL, whose host then has the bucket as the first part of the path.
class RemoteFolderUrl {
 public:
  /// Throws UserError on another scheme, a name and password, a query or fragment, "." or ".." in the path, a character
  /// that an address has only encoded, an address of more than 2000 bytes, or half of a key in the environment.
  explicit RemoteFolderUrl(std::string_view text);

  /// As it was given, without a '/' at its end.
  const std::string& text() const { return text_; }
  /// Of a file in it; `file` may be any name, and is encoded.
  RemoteRequest request(std::string_view file) const;

 private:
  std::string text_;
  std::string base_;  // http or https, without a '/' at its end
  RemoteRequest signature_;
};

}  // namespace triptych::data
