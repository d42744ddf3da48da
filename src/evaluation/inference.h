#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/loader.h"
#include "execution/executor.h"

namespace triptych::evaluation {

struct InferenceOptions {
  int64_t batch = 64;                       ///< items a forward pass, over all of `dp`
  int threads = 1;                          ///< that read and decode, a rank
  TextRole text_role = TextRole::kCaption;  ///< which of a sample's texts items are about
};

/// What a forward pass gave for some items of a data set.
struct InferredRows {
  uint64_t first_item = 0;
  int64_t num_items = 0;
  /// [num_items] whether the item could be read and has its image, its caption.
  std::vector<bool> image_present, text_present;
  std::map<std::string, std::vector<float>> outputs;     ///< by slot: [num_items, dims...]
  std::map<std::string, std::vector<std::byte>> fields;  ///< those that were asked for: [num_items, dims...]

  /// Row `item` of a field that was asked for; T is its type.
  template <typename T>
  std::span<const T> field_row(const std::string& name, int64_t item) const {
    const std::vector<std::byte>& all = fields.at(name);
    const std::size_t size = all.size() / static_cast<std::size_t>(num_items);
    return {reinterpret_cast<const T*>(all.data() + static_cast<std::size_t>(item) * size), size / sizeof(T)};
  }
};

/// A trained model, for measuring it on any mesh: forward passes without a graph, of the blocks alone that the wanted
/// slots need. Everything here is collective over all ranks, and gives all of them the same.
class Inference {
 public:
  /// The executor and what it stands on must outlive this.
  Inference(Device& device, Mesh& mesh, Executor& executor, const InferenceOptions& options)
      : device_(&device), mesh_(&mesh), executor_(&executor), options_(options) {}

  /// True on the one rank that tells results.
  bool is_first() const { return mesh_->world().rank() == 0; }
  Device& device() const { return *device_; }
  Mesh& mesh() const { return *mesh_; }
  Executor& executor() const { return *executor_; }
  const InferenceOptions& options() const { return options_; }

  /// Goes once through a data set's items, in order.
  ///   sources   of the fields that the model reads, and maybe others
  ///   outputs   slots of float types
  ///   fields    of `sources`, that `consume` is to see too; every rank then loads them
  void run(std::shared_ptr<const Dataset> dataset, std::span<const FieldSource> sources, EvaluationItems items,
           std::span<const std::string> outputs, const std::function<void(const InferredRows&)>& consume,
           std::span<const std::string> fields = {});

  /// Goes once through a data set's items, in the batches that `options` ask for (fields, batch, dp, items; the rest is
  /// set here), or only once through the first `most_items` of them and the rest of their batch (0: all). An item that
  /// some rank cannot use is cleared on all of them, and the first rank tells their number once a data set. `consume`
  /// may do collective work.
  void for_batches(const std::shared_ptr<const Dataset>& dataset, LoaderOptions options,
                   const std::function<void(Batch&)>& consume, int64_t most_items = 0);

  /// One forward pass over rows that every rank has alike; a slot of it, [rows, dims...].
  std::vector<float> infer(const Fields& data, const std::string& output);

  /// A value of the last stage's, whole and in float32, on every rank's host. `value` is undefined elsewhere.
  std::vector<float> to_all_hosts(const Variable& value);

 private:
  std::vector<std::byte> gather_field(const Batch& batch, const std::string& name, int64_t num_items);
  void tell_left_out(const Dataset& dataset, const LoaderStats& stats);

  Device* device_;
  Mesh* mesh_;
  Executor* executor_;
  InferenceOptions options_;
  std::set<std::string> told_;  // data sets
};

}  // namespace triptych::evaluation
