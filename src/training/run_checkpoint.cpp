#include "training/run_checkpoint.h"

namespace triptych::training {
namespace {

constexpr const char* kFirstMoment = ".first_moment";
constexpr const char* kSecondMoment = ".second_moment";

TensorBox box_of(const Parameter& parameter, const Mesh& mesh, const std::string& name) {
  Shape begin;
  local_shape(parameter.global_shape, parameter.layout, mesh, &begin);
  return {.name = name,
          .dtype = DType::kFloat32,
          .global_shape = parameter.global_shape.to_vector(),
          .begin = begin.to_vector(),
          .shape = parameter.value.shape().to_vector()};
}

// Reads a box of a checkpoint into a tensor on the device.
void read_into(CheckpointReader& reader, const TensorBox& box, const Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.num_bytes());
  reader.read(box, bytes.data());
  tensor.device().write(tensor.raw(), bytes.data(), bytes.size());
}

}  // namespace

OwnedPieces owned_pieces(const Mesh& mesh, std::span<AdamW::State> states) {
  OwnedPieces result;
  for (const AdamW::State& state : states) {
    const Parameter& parameter = *state.parameter;
    if (!parameter.is_first_copy || !holds_first_copy(parameter.layout, mesh)) continue;
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
  load_parameters(reader, session);
}

void load_parameters(CheckpointReader& reader, Session& session) {
  std::vector<TensorBox> boxes;
  for (const Parameter* parameter : session.store().all()) {
    boxes.push_back(box_of(*parameter, session.mesh(), parameter->name));
  }
  reader.require(boxes, false);
  for (const Parameter* parameter : session.store().all()) {
    read_into(reader, box_of(*parameter, session.mesh(), parameter->name), parameter->value);
  }
  session.store().refresh_compute_copies();
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
