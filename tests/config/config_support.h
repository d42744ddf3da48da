#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/config_reader.h"

namespace triptych::test {

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
inline bool contains_both(const std::string& text, const std::string& a, const std::string& b) {
  return contains(text, a) && contains(text, b);
}

struct Options {
  int64_t steps = 100;
  uint64_t seed = 7;
  int threads = 1;
  float dropout = 0.1f;
  double rate = 1e-3;
  bool flip = false;
  std::string precision = "fp32";
  std::string path;
  std::vector<std::string> names{"a", "b"};
  std::vector<double> means{0.5, 0.25};

  bool operator==(const Options&) const = default;
};

inline void bind(ConfigReader& reader, Options& options) {
  reader.read("training.steps", options.steps, "Optimizer updates of the whole run.").at_least(1);
  reader.read("run.seed", options.seed, "Of every random number.");
  reader.read("run.threads", options.threads, "Of one rank.").at_least(1).at_most(1024);
  reader.read("training.dropout", options.dropout, "Share of zeros.").at_least(0).below(1);
  reader.read("optimizer.rate", options.rate, "Peak learning rate.").positive();
  reader.read("data.flip", options.flip, "Mirror images.");
  reader.read("training.precision", options.precision, "Of products.").one_of({"fp32", "bf16"});
  reader.read("data.path", options.path, "A folder of shards | or an index.");
  reader.read("data.names", options.names, "Kinds.").not_empty();
  reader.read("data.means", options.means, "Of the channels.").at_least(0);
}

/// The message of the UserError that a config's text and overrides end with; "" if there is none.
inline std::string message_of(std::string_view text, const std::vector<std::string>& overrides = {}) {
  try {
    ConfigReader reader = ConfigReader::from_text(text, "a.toml", overrides);
    Options options;
    bind(reader, options);
    reader.finish();
  } catch (const UserError& e) {
    return e.what();
  }
  return "";
}

inline Options read_options(std::string_view text, const std::vector<std::string>& overrides = {}) {
  ConfigReader reader = ConfigReader::from_text(text, "a.toml", overrides);
  Options options;
  bind(reader, options);
  reader.finish();
  return options;
}

}  // namespace triptych::test
