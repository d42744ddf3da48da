#include "training/run_checkpoint.h"

#include <algorithm>

namespace triptych::training {
namespace {

constexpr const char* kFirstMoment = ".first_moment";
constexpr const char* kSecondMoment = ".second_moment";
constexpr const char* kAverage = ".average";

}  // namespace

TensorBox box_of(const Parameter& parameter, const Mesh& mesh, const std::string& name) {
  Shape begin;
  local_shape(parameter.global_shape, parameter.kept, mesh, &begin);
  return {.name = name,
          .dtype = DType::kFloat32,
          .global_shape = parameter.global_shape.to_vector(),
          .begin = begin.to_vector(),
          .shape = parameter.value.shape().to_vector()};
}

void read_into(CheckpointReader& reader, const TensorBox& box, const Tensor& tensor) {
  if (tensor.num_elements() == 0) return;
  std::vector<std::byte> bytes(tensor.num_bytes());
  reader.read(box, bytes.data());
  tensor.device().write(tensor.raw(), bytes.data(), bytes.size());
}

OwnedPieces owned_pieces(const Mesh& mesh, std::span<AdamW::State> states) {
  OwnedPieces result;
  for (const AdamW::State& state : states) {
    const Parameter& parameter = *state.parameter;
    if (!parameter.is_first_copy || !holds_first_copy(parameter.kept, mesh)) continue;
    if (parameter.value.num_elements() == 0) continue;  // a dim of fewer indices than ranks
    const auto add = [&](const std::string& name, const Tensor& tensor) {
      TensorPiece piece;
      static_cast<TensorBox&>(piece) = box_of(parameter, mesh, name);
      piece.data = static_cast<const std::byte*>(tensor.raw());
      if (!tensor.device().host_can_read()) {
        std::vector<std::byte>& copy = result.memory.emplace_back(tensor.num_bytes());
        tensor.device().read(copy.data(), tensor.raw(), copy.size());
        piece.data = copy.data();
      }
      result.pieces.push_back(std::move(piece));
    };
    add(parameter.name, parameter.value);
    if (!state.first_moment.defined()) continue;
    add(parameter.name + kFirstMoment, state.first_moment);
    add(parameter.name + kSecondMoment, state.second_moment);
    if (state.average.defined()) add(parameter.name + kAverage, state.average);
  }
  return result;
}

void require_same_model(const CheckpointReader& reader, const Session& session) {
  const std::string& then = reader.manifest().run.model;
  const std::string& now = session.model().fingerprint;
  if (then == now) return;
  throw UserError(
      reader.folder().string(),
      fmt::format("is a checkpoint of another model.\n  checkpoint: {}\n  config:     {}\nUse the config it "
                  "was made with (config.toml in its run's folder)",
                  then, now));
}

void load_states(CheckpointReader& reader, Session& session, std::span<AdamW::State> states) {
  for (AdamW::State& state : states) {
    if (!state.first_moment.defined()) continue;
    const Parameter& parameter = *state.parameter;
    read_into(reader, box_of(parameter, session.mesh(), parameter.name + kFirstMoment), state.first_moment);
    read_into(reader, box_of(parameter, session.mesh(), parameter.name + kSecondMoment), state.second_moment);
  }
  load_parameters(reader, session, SavedWeights::kLast);
  for (AdamW::State& state : states) {
    if (!state.average.defined()) continue;
    const Parameter& parameter = *state.parameter;
    const std::string name = parameter.name + kAverage;
    if (reader.contains(name)) {
      read_into(reader, box_of(parameter, session.mesh(), name), state.average);
    } else {
      state.average.copy_from(parameter.value);  // the run kept none so far
    }
  }
}

void load_parameters(CheckpointReader& reader, Session& session, SavedWeights weights) {
  std::vector<TensorBox> boxes;
  for (const Parameter* parameter : session.store().all()) {
    boxes.push_back(box_of(*parameter, session.mesh(), parameter->name));
  }
  reader.require(boxes, false);
  if (weights == SavedWeights::kAverage) require_averages(reader);
  for (const Parameter* parameter : session.store().all()) {
    const std::string name = saved_name(reader.manifest(), parameter->name, weights);
    read_into(reader, box_of(*parameter, session.mesh(), name), parameter->value);
  }
  session.store().refresh_compute_copies();
}

bool is_of_optimizer(const Manifest& manifest, std::string_view name) {
  for (const std::string_view suffix : {kFirstMoment, kSecondMoment, kAverage}) {
    if (!name.ends_with(suffix)) continue;
    if (manifest.tensors.contains(std::string(name.substr(0, name.size() - suffix.size())))) return true;
  }
  return false;
}

std::string saved_name(const Manifest& manifest, const std::string& parameter, SavedWeights weights) {
  const std::string average = parameter + kAverage;
  return weights == SavedWeights::kAverage && manifest.tensors.contains(average) ? average : parameter;
}

void require_averages(const CheckpointReader& reader) {
  const auto& tensors = reader.manifest().tensors;
  const bool has_some = std::any_of(tensors.begin(), tensors.end(), [&](const auto& tensor) {
    return tensor.first.ends_with(kAverage) && is_of_optimizer(reader.manifest(), tensor.first);
  });
  if (has_some) return;
  throw UserError(reader.folder().string(),
                  "holds no moving average of the weights. Use the last weights (\"last\"), or a checkpoint of a run "
                  "with optimizer.ema_decay");
}

std::shared_ptr<const Tokenizer> read_tokenizer(CheckpointReader& reader, const Task& task) {
  if (task.vocabulary() == 0) return nullptr;
  return Tokenizer::from_bytes(reader.read_file(std::string(kTokenizerFile)), reader.folder().string());
}

std::vector<ExtraFile> extra_files(const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return {};
  return {{std::string(kTokenizerFile), tokenizer->bytes()}};
}

}  // namespace triptych::training
