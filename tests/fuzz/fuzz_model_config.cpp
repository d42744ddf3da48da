// What another library says of a model, for `triptych import`: its config, and behind a zero byte what its
// preprocessor_config.json says. It is refused, or gives keys of ours that are TOML.

#include "config/config_reader.h"
#include "fuzz.h"
#include "interop/their_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  const std::string_view text = test::text_of(data, size);
  const std::size_t zero = std::min(text.find('\0'), text.size());
  const std::filesystem::path folder = test::scratch_folder(), preprocessor = folder / "preprocessor_config.json";
  test::write_file(folder / "config.json", text.substr(0, zero));
  if (zero < text.size()) {
    test::write_file(preprocessor, text.substr(zero + 1));
  } else {
    std::filesystem::remove(preprocessor);
  }
  for (const interop::Library library : {interop::Library::kHuggingFace, interop::Library::kOpenClip}) {
    test::must_read_or_refuse([&] {
      const nlohmann::json config = interop::read_their_config(library, folder / "config.json", folder);
      interop::ConfigLinks links(config, "fuzz");
      interop::family_of(library, config, "fuzz").link_config(links);
      links.finish();
      std::string toml = links.ours().to_toml();
      try {
        config::ConfigReader::from_text(toml, "the imported keys");
      } catch (const base::UserError&) {
        test::must_hold(false);
      }
    });
  }
  return 0;
}
