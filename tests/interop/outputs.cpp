// usage: interop_outputs CONFIG CHECKPOINT DATA_SET samples|texts FOLDER FIELD... --slots SLOT...
//
// What a run's model makes of a data set: of every item, in order, these fields and slots, to compare them with what
// the Python package makes of the same. Writes FOLDER/NAME.bin for each: the values of all items one behind the other,
// slots in float32, fields in their own type. Whatever the run was trained in, its model computes in float32 here.
// CHECKPOINT as of `triptych eval`.

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "evaluation/inference.h"
#include "tasks/standard_tasks.h"
#include "training/trained_model.h"

namespace triptych::test {
namespace {

// The bytes of each name go to a file of its own.
class Files {
 public:
  Files(std::filesystem::path folder, const std::vector<std::string>& names) : folder_(std::move(folder)) {
    for (const std::string& name : names) std::ofstream(path(name), std::ios::binary | std::ios::trunc);
  }
  void append(const std::string& name, const void* bytes, std::size_t size) const {
    std::ofstream file(path(name), std::ios::binary | std::ios::app);
    file.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
    file.flush();
    if (!file) throw WorldError(path(name).string(), "must take what is written. Free space on its disk");
  }

 private:
  std::filesystem::path path(const std::string& name) const { return folder_ / (name + ".bin"); }

  std::filesystem::path folder_;
};

void write_outputs(const std::vector<std::string>& arguments) {
  const std::unique_ptr<World> world = make_world();
  const RunConfig config =
      load_run_config(arguments[0], {"training.precision=\"fp32\""}, standard_tasks(), MeshUse::kForward, 1);
  TrainedModel model(config, *world, arguments[1]);
  const auto dataset = std::make_shared<const Dataset>(Dataset::open(arguments[2]));
  const std::vector<FieldSource> sources = config.task->fields(model.tokenizer());
  const auto slots_begin = std::find(arguments.begin() + 5, arguments.end(), "--slots");
  const std::vector<std::string> fields(arguments.begin() + 5, slots_begin), slots(slots_begin + 1, arguments.end());
  std::vector<std::string> names = fields;
  names.insert(names.end(), slots.begin(), slots.end());
  const Files files(arguments[4], names);
  const EvaluationItems items = arguments[3] == "texts" ? EvaluationItems::kCaptions : EvaluationItems::kSamples;
  model.inference().run(
      dataset, sources, items, slots,
      [&](const InferredRows& rows) {
        for (const auto& [name, values] : rows.outputs)
          files.append(name, values.data(), values.size() * sizeof(float));
        for (const auto& [name, bytes] : rows.fields) files.append(name, bytes.data(), bytes.size());
      },
      fields);
}

}  // namespace
}  // namespace triptych::test

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool has_slots = std::find(arguments.begin(), arguments.end(), "--slots") != arguments.end();
  if (arguments.size() < 7 || !has_slots || (arguments[3] != "samples" && arguments[3] != "texts")) {
    std::fputs("usage: interop_outputs CONFIG CHECKPOINT DATA_SET samples|texts FOLDER FIELD... --slots SLOT...\n",
               stderr);
    return 2;
  }
  try {
    triptych::test::write_outputs(arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "interop_outputs: %s\n", error.what());
    return 1;
  }
  return 0;
}
