// An address of a data set, as a config has it, and a file's name, as an index has it: up to the first zero byte and
// behind it.

#include "data/remote_url.h"
#include "fuzz.h"

namespace {

using namespace triptych;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  const std::string_view input = test::text_of(data, size);
  const std::size_t zero = input.find('\0');
  const std::string_view name = zero == std::string_view::npos ? "" : input.substr(zero + 1);
  test::must_read_or_refuse([&] {
    const data::RemoteFolderUrl url(input.substr(0, zero));
    const std::string asked = url.request(name).url;
    // What is sent has nothing that ends a line or a word of the protocol, and begins with a known scheme.
    test::must_hold(asked.starts_with("http://") || asked.starts_with("https://"));
    test::must_hold(std::ranges::all_of(asked, [](char c) { return c > ' ' && c < '\x7f'; }));
    test::must_hold(asked.find("/../") == std::string::npos && asked.find('@') == std::string::npos);
    // A name is one part of the path.
    test::must_hold(asked.find('/', asked.size() - std::min(asked.size(), name.size())) == std::string::npos);
  });
  return 0;
}
