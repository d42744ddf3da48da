// A run's config: TOML, and overrides as `--set` gives them. The input is the text; what follows a zero byte is one
// override a line.

#include <vector>

#include "config/config_reader.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace triptych;
  std::string_view text = test::text_of(data, size);
  std::vector<std::string> overrides;
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) {
    std::string_view rest = text.substr(zero + 1);
    text = text.substr(0, zero);
    while (!rest.empty() && overrides.size() < 8) {
      const std::size_t end = rest.find('\n');
      overrides.emplace_back(rest.substr(0, end));
      rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
    }
  }
  test::must_read_or_refuse([&] {
    // One key of each type that can be bound.
    struct Values {
      std::string dir = "runs/default";
      uint64_t seed = 1;
      int threads = 0;
      int64_t steps = 10;
      double rate = 0.1;
      float decay = 0.1F;
      bool recompute = false;
      std::vector<std::string> sets;
      std::vector<double> betas{0.9, 0.999};
    };
    const auto bind = [](config::ConfigReader& reader, Values& values) {
      reader.read("run.dir", values.dir, "A folder.");
      reader.read("run.seed", values.seed, "A seed.");
      reader.read("run.threads", values.threads, "Threads.").at_least(0).at_most(1024);
      reader.read("training.steps", values.steps, "Steps.").at_least(1);
      reader.read("optimizer.learning_rate", values.rate, "A rate.").positive();
      reader.read("optimizer.weight_decay", values.decay, "A rate.").at_least(0);
      reader.read("parallel.recompute", values.recompute, "A switch.");
      reader.read("evaluation.sets", values.sets, "Folders.");
      reader.read("optimizer.betas", values.betas, "Two rates.").below(1);
      reader.finish();
    };
    Values values, again;
    config::ConfigReader reader = config::ConfigReader::from_text(text, "fuzz.toml", overrides);
    bind(reader, values);
    // What a checkpoint carries must read back to the same.
    const std::string effective = reader.effective_toml();
    config::ConfigReader second = config::ConfigReader::from_text(effective, "effective.toml");
    try {
      bind(second, again);
    } catch (const base::UserError&) {
      test::must_hold(false);
    }
    test::must_hold(second.effective_toml() == effective);
  });
  return 0;
}
