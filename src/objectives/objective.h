#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nn/parameter_store.h"
#include "nn/pass.h"
#include "parallel/pipeline/schedule.h"
#include "tensor/field.h"

namespace triptych::objectives {

/// A number that an objective reports beside its loss, such as a learned temperature.
struct ScalarSpec {
  std::string name;                     ///< its key in metrics.jsonl
  std::function<double(double)> shown;  ///< of what the device holds; none: as it is
};

/// A loss, with the parameters that are its own. It lives on the rank of the last stage.
class Objective {
 public:
  virtual ~Objective() = default;

  /// Adds to *count, float64 in device memory, how many terms these samples give the loss. A split one is divided by
  /// the sum over the global batch; of a coupled one it is what a batch counts in the mean over several: its pairs.
  /// Told before the forward pass, from the fields alone.
  virtual void count_terms(const Fields& fields, Stream& stream, double* count) const;

  /// The loss, float64 [1] on the device: Partial on the axes whose ranks hold summands.
  ///   slots, fields   those that its spec reads, in the spec's order; of a coupled loss: all rows of this
  ///                   rank's batch; of a split one: a microbatch's, and the sum of its terms
  virtual Variable loss(std::span<const Variable> slots, const Fields& fields, const Pass& pass) = 0;

  /// Copies its scalars of the last loss, as ScalarSpecs name them, to float64 device memory that holds zeros. Reads no
  /// parameter: one rank alone calls it.
  virtual void write_scalars(Stream& stream, double* scalars) const;

  /// Of the last loss, on this rank: for a scalar parameter's gradient the sum of its terms' magnitudes. The terms
  /// cancel, so this, not the sum, is what rounding errors are to be compared with. Partial as the loss; 0 where no
  /// gradient was asked for. Waits for the device.
  virtual std::map<std::string, double> gradient_magnitudes() const { return {}; }
};

/// What is known of an objective without making it.
struct ObjectiveSpec {
  std::string name;                 ///< "contrastive"
  std::vector<std::string> slots;   ///< that it reads
  std::vector<std::string> fields;  ///< of the batch
  /// Split: a sum of terms over the samples, so each microbatch gives its part. Coupled: a function of the whole global
  /// batch.
  LossCoupling coupling = LossCoupling::kSplit;
  double weight = 1;  ///< in the run's loss
  int64_t group = 1;  ///< so many neighbouring rows of a batch belong together: no rank and no microbatch parts them
  std::vector<ScalarSpec> scalars;
  std::function<std::unique_ptr<Objective>(ParameterStore&)> make;
};

/// kCoupled if one of them is.
LossCoupling coupling_of(std::span<const ObjectiveSpec> objectives);

}  // namespace triptych::objectives
