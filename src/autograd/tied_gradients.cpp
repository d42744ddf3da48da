#include "autograd/tied_gradients.h"

#include <algorithm>
#include <map>
#include <string>

namespace triptych::autograd {
namespace {

constexpr char kSeparator = '\n';  // no name has it

}  // namespace

// Which stages have a copy of which tied parameter: they tell each other their names. Parameters of the same stages
// share a group, and those of all stages have the pipeline's: each group is a communicator, which costs memory.
TiedGradients::TiedGradients(Mesh& mesh, std::span<Parameter* const> parameters) {
  std::string mine;
  for (const Parameter* parameter : parameters) {
    if (parameter->is_tied) mine += parameter->name + kSeparator;
  }
  Group& pp = mesh.pp();
  if (pp.size() == 1) return;
  const std::vector<std::string> all = pp.all_gather_string(mine);
  std::map<std::string, std::vector<bool>> stages_of;  // by name: which stages have it
  for (std::size_t stage = 0; stage < all.size(); ++stage) {
    const std::string& list = all[stage];
    for (std::size_t begin = 0, end = 0; (end = list.find(kSeparator, begin)) != std::string::npos; begin = end + 1) {
      std::vector<bool>& stages = stages_of[list.substr(begin, end - begin)];
      stages.resize(all.size());
      stages[stage] = true;
    }
  }
  const auto own_stage = static_cast<std::size_t>(pp.rank());
  std::map<std::vector<bool>, Group*> group_of;
  for (const auto& [name, stages] : stages_of) {
    const auto count = std::count(stages.begin(), stages.end(), true);
    if (count == 1) continue;
    const auto [found, is_new] = group_of.emplace(stages, &pp);
    if (is_new && count < pp.size()) {
      groups_.push_back(pp.split(stages[own_stage] ? 0 : -1, pp.rank(), "stages of " + name));
      found->second = groups_.back().get();
    }
    if (!stages[own_stage]) continue;
    const auto parameter =
        std::find_if(parameters.begin(), parameters.end(), [&](const Parameter* one) { return one->name == name; });
    (*parameter)->is_first_copy = found->second->rank() == 0;
    tied_.push_back({*parameter, found->second});
  }
}

// In the order of the names, which is the same on every stage; that in which gradients are completed need not be.
void TiedGradients::sum() {
  for (const Tied& tied : tied_) {
    if (!tied.parameter->is_trained) continue;
    const Tensor& sum = tied.parameter->reduced;
    tied.stages->all_reduce(sum.raw(), sum.num_elements(), DType::kFloat32, ReduceOp::kSum)->wait();
  }
}

}  // namespace triptych::autograd
