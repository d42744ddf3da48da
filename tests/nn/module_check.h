#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/all_reducer.h"
#include "nn/parameter_store.h"
#include "nn/pass.h"
#include "parallel/in_process_group.h"
#include "parallel/redistribute.h"
#include "support/gradient_check.h"

namespace triptych::test {

/// Whole tensors by name: parameters, inputs or their gradients, and "y".
using Wholes = std::map<std::string, std::vector<double>>;

struct ModuleInput {
  std::string name;
  Shape shape;
  std::string_view place;  ///< in the plan
};

/// A module with its parameters, as a function of the inputs; `rows` are those of the batch that this rank has.
using Module = std::function<Variable(std::span<const Variable> inputs, const Pass& pass, const Range& rows)>;

struct ModuleSetup {
  std::function<Module(ParameterStore&)> make;
  std::vector<ModuleInput> inputs;
  int64_t batch = 0;
  std::vector<AdapterOptions> adapters = {};
};

struct ParallelRun {
  MeshShape mesh;
  bool sequence_parallel = false;
  Recompute recompute = Recompute::kNone;
  DType dtype = DType::kFloat32;  ///< of activations and of what operations read of the weights
  int64_t tp_pieces = 1;

  std::string to_string() const {
    return fmt::format("dp {} cp {} tp {} in {}{}{} {}", mesh.dp, mesh.cp, mesh.tp, tp_pieces,
                       sequence_parallel ? ", sequence parallel" : "",
                       recompute == Recompute::kNone ? "" : fmt::format(", recompute {}", recompute_name(recompute)),
                       dtype_name(dtype));
  }
};

inline const std::vector<ParallelRun> kParallelRuns{{{}},
                                                    {{}, false, Recompute::kFull},
                                                    {{}, false, Recompute::kSelective},
                                                    {{.tp = 2}},
                                                    {{.tp = 2}, true},
                                                    {{.tp = 2}, true, Recompute::kFull},
                                                    {{.tp = 2}, true, Recompute::kSelective},
                                                    {{.tp = 2}, false, Recompute::kNone, DType::kFloat32, 2},
                                                    {{.tp = 2}, true, Recompute::kNone, DType::kFloat32, 2},
                                                    {{.tp = 2}, true, Recompute::kSelective, DType::kFloat32, 2},
                                                    {{.dp = 2}},
                                                    {{.dp = 2, .tp = 2}, true, Recompute::kSelective},
                                                    {{.cp = 2}},
                                                    {{.cp = 4}},
                                                    {{.cp = 2}, false, Recompute::kSelective},
                                                    {{.cp = 2, .tp = 2}, true, Recompute::kFull}};

inline Tensor piece_of(Device& device, const std::vector<float>& values, const Shape& shape, const Layout& layout,
                       const Mesh& mesh, DType dtype = DType::kFloat32) {
  Shape begin;
  const Shape local = local_shape(shape, layout, mesh, &begin);
  Tensor piece = Tensor::from<float>(device, shape, values);
  for (int dim = 0; dim < shape.rank(); ++dim) piece = piece.slice(dim, begin[dim], local[dim]);
  if (dtype == DType::kFloat32) return piece.contiguous();
  std::vector<BFloat16> rounded;
  for (const float value : piece.to_vector<float>()) rounded.push_back(BFloat16(value));
  return Tensor::from<BFloat16>(device, local, rounded);
}

inline std::vector<double> whole_of(const Tensor& piece, const Shape& shape, const Layout& layout, Mesh& mesh) {
  const Tensor whole = redistribute(piece, shape, layout, Layout(), mesh);
  std::vector<double> values;
  if (whole.dtype() == DType::kFloat32) {
    for (const float value : whole.to_vector<float>()) values.push_back(value);
  } else {
    for (const BFloat16 value : whole.to_vector<BFloat16>()) values.push_back(static_cast<float>(value));
  }
  return values;
}

/// Runs two steps on a mesh, from random values that depend on the names alone, and gives every rank what came out: y
/// and the gradients of sum(dy * y), dy random. The second step's gradients are reduced while backward goes on.
inline void run_module(const ModuleSetup& setup, const ParallelRun& run,
                       const std::function<void(const Wholes&, const std::vector<Parameter*>&)>& see) {
  run_ranks(run.mesh.dp * run.mesh.cp * run.mesh.tp, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, run.mesh, device);
    const Plan plan = run.sequence_parallel ? sequence_parallel_plan() : tensor_parallel_plan();
    ParameterStore store(device, mesh, plan, 3, run.dtype, setup.adapters);
    const Module module = setup.make(store);
    const std::vector<Parameter*> parameters = store.all();
    for (Parameter* p : parameters) {
      const std::vector<float> values = random_values(p->name, p->global_shape.num_elements());
      p->value.copy_from(piece_of(device, values, p->global_shape, p->layout, mesh));
    }
    store.refresh_compute_copies();
    AllReducer reducer(device, mesh, parameters, 64);
    const Range rows = shard_range(setup.batch, run.mesh.dp, mesh.rank(Axis::kDp));
    const Pass pass{.device = device,
                    .mesh = mesh,
                    .plan = plan,
                    .dtype = run.dtype,
                    .recompute = run.recompute,
                    .tp_pieces = run.tp_pieces,
                    .seed = 9,
                    .step = 4,
                    .first_sample = rows.begin};
    for (int step = 0; step < 2; ++step) {
      reducer.begin_step();
      std::vector<Variable> inputs;
      for (const ModuleInput& input : setup.inputs) {
        const std::vector<float> values = random_values(input.name, input.shape.num_elements());
        const Layout layout = pass.layout(input.place);
        inputs.push_back(
            Variable::leaf(piece_of(device, values, input.shape, layout, mesh, run.dtype), input.shape, layout));
      }
      const Variable y = module(inputs, pass, rows);
      const std::vector<float> dy = random_values("dy", y.global_shape().num_elements());
      const Gradient seed{piece_of(device, dy, y.global_shape(), y.layout(), mesh, y.dtype()), y.layout()};
      backward(std::span(&y, 1), std::span(&seed, 1), {.poll = [&] { reducer.poll(); }});
      reducer.finish();

      Wholes wholes{{"y", whole_of(y.tensor(), y.global_shape(), y.layout(), mesh)}};
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const Gradient gradient = *inputs[i].gradient();
        wholes[setup.inputs[i].name] = whole_of(gradient.tensor, setup.inputs[i].shape, gradient.layout, mesh);
      }
      for (const Parameter* p : parameters) {
        EXPECT_EQ(p->gradient.layout().of_gradient(), p->layout) << p->name;
        wholes[p->name] = whole_of(p->gradient.tensor(), p->global_shape, p->layout, mesh);
      }
      see(wholes, parameters);
    }
  });
}

/// What differs from `expected` by more than sums of that type do.
inline void expect_close(const Wholes& actual, const Wholes& expected, DType dtype) {
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [name, values] : expected) {
    EXPECT_LT(relative_error(actual.at(name), values), tolerance(dtype).summed) << name;
  }
}

/// The same on every mesh, and the same as `reference`, the module in double precision, with central differences.
inline void check_module(const ModuleSetup& setup, const std::function<std::vector<double>(const Wholes&)>& reference,
                         const std::vector<ParallelRun>& runs = kParallelRuns) {
  Wholes values;
  for (const ModuleInput& input : setup.inputs) {
    const std::vector<float> x = random_values(input.name, input.shape.num_elements());
    values[input.name].assign(x.begin(), x.end());
  }
  OneRank alone;
  const Plan plan = tensor_parallel_plan();
  ParameterStore store(alone.device, alone.mesh, plan, 3, DType::kFloat32, setup.adapters);
  setup.make(store);
  for (const Parameter* p : store.all()) {
    const std::vector<float> x = random_values(p->name, p->global_shape.num_elements());
    values[p->name].assign(x.begin(), x.end());
  }
  Wholes expected{{"y", reference(values)}};
  const std::vector<float> dy = random_values("dy", static_cast<int64_t>(expected["y"].size()));
  const auto objective = [&] {
    const std::vector<double> y = reference(values);
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += dy[i] * y[i];
    return sum;
  };
  for (auto& [name, elements] : values) {
    for (double& x : elements) {
      const double saved = x, h = 1e-5;
      x = saved + h;
      const double up = objective();
      x = saved - h;
      expected[name].push_back((up - objective()) / (2 * h));
      x = saved;
    }
  }
  for (const ParallelRun& run : runs) {
    SCOPED_TRACE(run.to_string());
    run_module(setup, run, [&](const Wholes& actual, const auto&) { expect_close(actual, expected, run.dtype); });
  }
}

}  // namespace triptych::test
