#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/config_reader.h"
#include "data/dataset.h"
#include "data/field_source.h"
#include "data/transforms.h"
#include "evaluation/baseline.h"
#include "models/model.h"
#include "objectives/objective.h"
#include "parallel/mesh.h"
#include "report/panel.h"
#include "text/tokenizer.h"

namespace triptych::evaluation {
class Inference;
}

namespace triptych::tasks {

/// What an evaluation works with beside the model.
struct EvaluationInputs {
  std::vector<std::string> sets;               ///< data-set folders, at least one
  std::shared_ptr<const Tokenizer> tokenizer;  ///< null if the task reads no text
  std::span<const Baseline> baselines;         ///< results to stand beside the model's
  int64_t maps = 0;                            ///< pictures of a set of which it is shown where the model looked
};

/// What an evaluation found: numbers by name ("unseen style: text to image recall@1"), and panels for the report. The
/// first panel is a table; a terminal shows all tables. What ranks but the first have of it is not looked at.
struct EvaluationResults {
  std::vector<std::pair<std::string, double>> metrics;
  std::vector<Panel> panels;
};

/// A slot that describes a picture by itself: [tokens, width], of which the first or their mean is a vector, or
/// [width].
struct FeatureSlot {
  std::string slot;
  int64_t width = 0;
  bool is_mean = false;
};

/// A space in which pictures and texts meet: the slots "image_embedding" and "text_embedding", float32 [width] of
/// length 1, each of which needs one of the two alone (tasks/search.h).
struct SharedSpace {
  int64_t image_size = 0;       ///< pixels a side of what the model sees
  int64_t text_length = 0;      ///< tokens of a text
  PictureOptions picture = {};  ///< how a picture becomes what the model sees
};

/// A picture, and what of a model's view of it is asked.
struct ExplainInputs {
  std::string name;                            ///< of the picture, for errors
  std::vector<std::byte> image;                ///< encoded
  std::string text;                            ///< to compare it with, or to be read by a decoder; "": none
  std::optional<int64_t> class_number;         ///< whose score is explained; none: the best
  std::vector<std::string> class_names;        ///< by label, as far as they are known
  std::shared_ptr<const Tokenizer> tokenizer;  ///< null if the task reads no text
};
struct Explanation;

/// What a kind of run is made of, as one config says it: a model, weighted objectives, the fields that they read, and
/// how the result is measured. Everything else (meshes, steps, checkpoints, files) is the same for all tasks.
class Task {
 public:
  virtual ~Task() = default;

  virtual ModelSpec model() const = 0;
  virtual std::vector<ObjectiveSpec> objectives() const = 0;
  /// The sources of all fields that blocks and objectives read.
  ///   tokenizer   null where there is none: for fields that are synthesized
  virtual std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer> tokenizer) const = 0;
  /// Rows of the token embedding, at least as many as the tokenizer has pieces; 0 if the task reads no text.
  virtual int64_t vocabulary() const { return 0; }
  /// Which texts of a sample a row may be about; see LoaderOptions::text_role.
  virtual TextRole text_role() const { return TextRole::kCaption; }
  /// Throws UserError if a training set lacks what the task needs.
  virtual void check_data(const Dataset& dataset) const = 0;
  /// Throws UserError if a set lacks what the measure needs.
  virtual void check_evaluation_set(const Dataset& dataset) const = 0;
  /// Measures the model on data sets that pass the check. Collective.
  virtual EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const = 0;
  /// What a linear probe learns from; nothing if the model has no features of pictures.
  virtual std::optional<FeatureSlot> features() const { return std::nullopt; }
  /// Where the model compares texts with pictures; nothing if it does not.
  virtual std::optional<SharedSpace> shared_space() const { return std::nullopt; }
  /// The sources of the fields that its two slots are made of, with texts as they are: no token is hidden.
  virtual std::vector<FieldSource> shared_space_fields(std::shared_ptr<const Tokenizer> tokenizer) const {
    return fields(std::move(tokenizer));
  }
  /// Whether it can be shown where the model looks in a picture.
  virtual bool can_explain() const { return false; }
  /// Where the model looks in a picture (tasks/explain.h). Collective. Throws InternalError if that cannot be shown.
  virtual Explanation explain(Inference& inference, const ExplainInputs& inputs) const;
};

/// A kind of task: how `task = "<name>"` in a config is read.
struct TaskKind {
  std::string_view name;
  std::string_view summary;  ///< a clause for help and documentation
  /// Binds the task's own keys ("model.", "objective.", "data.augment.") and checks them, together and with the mesh.
  /// What is wrong is told to the reader; the task is then not used.
  std::unique_ptr<Task> (*read)(ConfigReader& reader, const MeshShape& mesh);
};

/// Passed to whoever reads configs: a program's own tasks are rows of a table of its own.
using TaskTable = std::span<const TaskKind>;

}  // namespace triptych::tasks
