#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/rooms.h"

// How each parameter is trained: by its name, and by how deep in the model it lies.

namespace triptych::optim {

/// What a config says of the parameters whose names match a pattern.
struct ParameterGroup {
  std::string pattern;  ///< as match_pattern takes it: "image.*", "*.norm.weight"
  double learning_rate_scale = 1;
  float weight_decay = 0;  ///< in place of AdamWOptions::weight_decay, of those that decay at all
  bool frozen = false;
  int64_t thaw_step = 0;  ///< of a frozen group: trained from the update on that follows so many steps; 0: never
};

struct TreatmentOptions {
  std::vector<ParameterGroup> groups;  ///< the first whose pattern matches holds
  /// The learning rate of a parameter that lies d blocks below the model's top is layer_decay^d of what it were.
  /// Source: Clark et al. 2020, ELECTRA, section A.2; Bao et al. 2022, BEiT, and He et al. 2022, MAE, for fine-tuning.
  double layer_decay = 1;
};

/// How one parameter is trained.
struct Treatment {
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  double learning_rate_scale = 1;
  std::optional<float> weight_decay;  ///< none: AdamWOptions::weight_decay
  int64_t first_step = 0;             ///< trained in the updates that follow so many finished steps or more
};

/// A parameter of the model, as every rank knows it, whichever holds it.
struct NamedParameter {
  std::string name;
  int depth = 0;  ///< blocks between it and the model's top: 0 of the last block, and of what belongs to no block
  bool has_adapter = false;  ///< which is trained in its place: it is frozen, whatever the groups say
};

/// The treatment of every parameter of a model. By default all are trained alike.
class Treatments {
 public:
  Treatments() = default;
  /// Of a name that is there twice the first place holds. Throws UserError if a pattern holds for no parameter, or
  /// nothing would be trained from the first step on.
  Treatments(const TreatmentOptions& options, std::span<const NamedParameter> parameters);

  const Treatment& of(const std::string& name) const;
  /// In the update that follows `step` finished ones.
  bool is_trained(const std::string& name, int64_t step) const { return step >= of(name).first_step; }
  /// Whether that update is the first one of some parameter, others having had theirs before.
  bool thaws_at(int64_t step) const { return thaw_steps().contains(step); }
  /// The steps at which some parameter of the model thaws.
  std::set<int64_t> thaw_steps() const;

 private:
  std::map<std::string, Treatment, std::less<>> treatments_;
  Treatment usual_;
};

}  // namespace triptych::optim
