#include "data/remote_url.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/error.h"

namespace triptych::data {
namespace {

constexpr std::size_t kMaxUrlBytes = 2000;

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string encoded(std::string_view name) {
  std::string text;
  for (const char c : name) {
    if (is_letter_or_digit(c) || c == '-' || c == '_' || c == '.' || c == '~') {
      text += c;
    } else {
      text += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return text;
}

/// What is wrong with a path or host, in a clause that follows "must"; empty if nothing is.
std::string fault_of(std::string_view rest) {
  if (rest.find('@') != std::string_view::npos) return "have no name and password: they would be printed and saved";
  if (rest.find_first_of("?#") != std::string_view::npos) return "have no query and no fragment";
  for (const char c : rest) {
    if (!is_letter_or_digit(c) && std::string_view("-_.~:/%+=,!$&'()*;[]").find(c) == std::string_view::npos) {
      return "have letters, digits and signs of an address alone, others encoded as %XX";
    }
  }
  if (rest.empty() || rest.front() == '/') return "name a host or a bucket";
  for (std::size_t begin = 0; begin <= rest.size();) {
    const std::size_t end = std::min(rest.find('/', begin), rest.size());
    const std::string_view part = rest.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return "have no empty part, '.' or '..' in its path";
    begin = end + 1;
  }
  return {};
}

}  // namespace

bool is_url(std::string_view text) {
  const std::size_t end = text.find("://");
  return end != std::string_view::npos && end > 0 && std::ranges::all_of(text.substr(0, end), is_letter_or_digit);
}

RemoteFolderUrl::RemoteFolderUrl(std::string_view text) {
  while (text.ends_with('/')) text.remove_suffix(1);
  text_ = text;
  const auto refuse = [&](std::string_view rule) {
    throw UserError(text_.substr(0, 200),
                    fmt::format("an address of a data set must {}. Write it as https://host/folder or "
                                "s3://bucket/folder",
                                rule));
  };
  if (text.size() > kMaxUrlBytes) refuse(fmt::format("have at most {} bytes, found {}", kMaxUrlBytes, text.size()));
  const std::size_t end = text.find("://");
  const std::string_view scheme = text.substr(0, end == std::string_view::npos ? 0 : end);
  if (scheme != "https" && scheme != "http" && scheme != "s3") refuse("begin with https://, http:// or s3://");
  const std::string_view rest = text.substr(end + 3);
  if (const std::string fault = fault_of(rest); !fault.empty()) refuse(fault);
  if (scheme != "s3") {
    base_ = text_;
    return;
  }
  signature_.access_key = environment("AWS_ACCESS_KEY_ID");
  signature_.secret_key = environment("AWS_SECRET_ACCESS_KEY");
  signature_.session_token = environment("AWS_SESSION_TOKEN");
  if (signature_.access_key.empty() != signature_.secret_key.empty()) {
    throw UserError("AWS_ACCESS_KEY_ID", "and AWS_SECRET_ACCESS_KEY must both be set, or neither for a public bucket");
  }
  std::string region = environment("AWS_REGION");
  if (region.empty()) region = environment("AWS_DEFAULT_REGION");
  if (region.empty()) region = "us-east-1";
  if (!std::ranges::all_of(region, [](char c) { return is_letter_or_digit(c) || c == '-'; })) {
    throw UserError("AWS_REGION", "must be letters, digits and '-'");
  }
  if (!signature_.access_key.empty()) signature_.region = region;
  const std::string_view bucket = rest.substr(0, rest.find('/'));
  if (!std::ranges::all_of(bucket, [](char c) { return is_letter_or_digit(c) || c == '-' || c == '.' || c == '_'; })) {
    refuse("name a bucket of letters, digits, '-', '.' and '_'");
  }
  std::string endpoint = environment("AWS_ENDPOINT_URL");
  if (endpoint.empty()) {
    base_ = fmt::format("https://{}.s3.{}.amazonaws.com{}", bucket, region, rest.substr(bucket.size()));
    return;
  }
  while (endpoint.ends_with('/')) endpoint.pop_back();
  const std::size_t host = endpoint.find("://");
  if ((!endpoint.starts_with("http://") && !endpoint.starts_with("https://")) ||
      !fault_of(std::string_view(endpoint).substr(host + 3)).empty()) {
    throw UserError("AWS_ENDPOINT_URL", "must be http://host or https://host, without a name, password or query");
  }
  base_ = fmt::format("{}/{}", endpoint, rest);
}

RemoteRequest RemoteFolderUrl::request(std::string_view file) const {
  RemoteRequest request = signature_;
  request.url = fmt::format("{}/{}", base_, encoded(file));
  request.name = fmt::format("{}/{}", text_, file);
  return request;
}

}  // namespace triptych::data
