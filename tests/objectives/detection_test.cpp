#include "objectives/detection.h"

#include <memory>
#include <vector>

#include "objectives/box_matching.h"
#include "objectives/grounding.h"
#include "ops/mean_of_terms.h"
#include "parallel/in_process_group.h"
#include "parallel/redistribute.h"
#include "support/gradient_check.h"
#include "support/reference.h"

namespace triptych::test {
namespace {

constexpr int64_t kBatch = 8, kQueries = 5, kOutputs = 4, kObjects = 4;
const std::vector<MeshShape> kMeshes{{}, {.dp = 2}, {.tp = 2}, {.dp = 4}, {.dp = 2, .tp = 2}, {.tp = 3}};

std::vector<double> flat(const nlohmann::json& values) {
  if (!values.is_array()) return {values.get<double>()};
  std::vector<double> all;
  for (const nlohmann::json& each : values) {
    const std::vector<double> part = flat(each);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

std::vector<float> floats(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

// Slots and fields of a whole batch, and what is expected of them.
struct Batch {
  std::vector<float> logits, boxes, truths;
  std::vector<int32_t> labels;
  std::vector<uint8_t> present;
  std::vector<float> logits_gradient, boxes_gradient;
  double loss = 0, num_objects = 0;
};

// The four images of another library, each followed by one that is not there, with junk in all its rows.
Batch reference_batch() {
  const nlohmann::json reference = read_reference("detection.json");
  Batch batch{.loss = reference["loss"]};
  const auto append = [](std::vector<float>& to, const std::vector<double>& values) {
    to.insert(to.end(), values.begin(), values.end());
  };
  for (std::size_t i = 0; i < 4; ++i) {
    append(batch.logits, flat(reference["logits"][i]));
    append(batch.boxes, flat(reference["boxes"][i]));
    append(batch.logits_gradient, flat(reference["logits_gradient"][i]));
    append(batch.boxes_gradient, flat(reference["boxes_gradient"][i]));
    batch.present.insert(batch.present.end(), {1, 0});
    const nlohmann::json& objects = reference["objects"][i];
    for (std::size_t k = 0; k < kObjects; ++k) {
      const bool is_there = k < objects.size();
      for (std::size_t c = 0; c < 4; ++c) batch.truths.push_back(is_there ? objects[k][c].get<float>() : 0.0f);
      batch.labels.push_back(is_there ? objects[k][4].get<int32_t>() : -1);
    }
    batch.num_objects += static_cast<double>(objects.size());
    append(batch.logits, std::vector<double>(kQueries * kOutputs, 3));
    append(batch.boxes, std::vector<double>(kQueries * 4, 0.25));
    append(batch.logits_gradient, std::vector<double>(kQueries * kOutputs, 0));
    append(batch.boxes_gradient, std::vector<double>(kQueries * 4, 0));
    append(batch.truths, std::vector<double>(kObjects * 4, 0.5));
    batch.labels.insert(batch.labels.end(), kObjects, 1);
  }
  return batch;
}

// This rank's samples of it through the objective, on any mesh: loss and gradients against what is expected.
void check(Group& world, const MeshShape& shape, const Batch& batch) {
  Device device(1);
  Mesh mesh(world, shape, device);
  const Plan plan = tensor_parallel_plan();
  ParameterStore store(device, mesh, plan, 1, DType::kFloat32);
  const ObjectiveSpec spec = detection_objective({.needs = {"boxes_present"}});
  const std::unique_ptr<Objective> objective = spec.make(store);
  EXPECT_TRUE(store.all().empty());
  const Pass pass{.device = device, .mesh = mesh, .plan = plan};
  const Range rows = shard_range(kBatch, shape.dp, mesh.rank(Axis::kDp));
  const auto mine = [&](const Tensor& all) { return all.slice(0, rows.begin, rows.length).contiguous(); };
  const Shape logits_shape{kBatch, kQueries, kOutputs}, boxes_shape{kBatch, kQueries, 4};
  Fields fields(rows.length);
  fields.set("boxes", mine(Tensor::from<float>(device, Shape{kBatch, kObjects, 4}, batch.truths)));
  fields.set("box_classes", mine(Tensor::from<int32_t>(device, Shape{kBatch, kObjects}, batch.labels)));
  fields.set("boxes_present", mine(Tensor::from<uint8_t>(device, Shape{kBatch}, batch.present)));
  const Tensor count = Tensor::zeros(device, DType::kFloat64, Shape{1});
  objective->count_terms(fields, device.stream(), count.data<double>());
  const Layout partial = on_mesh(Layout().with(Axis::kDp, Placement::partial()), mesh);
  const Tensor total = redistribute(count, Shape{1}, partial, Layout(), mesh);
  EXPECT_EQ(total.item<double>(), batch.num_objects);

  const std::vector<Variable> slots{
      Variable::leaf(mine(Tensor::from<float>(device, logits_shape, batch.logits)), logits_shape, pass.layout("batch")),
      Variable::leaf(mine(Tensor::from<float>(device, boxes_shape, batch.boxes)), boxes_shape, pass.layout("batch"))};
  const Variable loss = mean_of_terms(objective->loss(slots, fields, pass), 1, total);
  EXPECT_NEAR(redistribute(loss.tensor(), Shape{1}, loss.layout(), Layout(), mesh).item<double>(), batch.loss,
              tolerance(DType::kFloat32).summed * batch.loss);
  const double one = 1;
  const Gradient seed{Tensor::from<double>(device, Shape{1}, std::span(&one, 1)), loss.layout().of_gradient()};
  backward(std::span(&loss, 1), std::span(&seed, 1));
  const auto expect = [&](const Variable& slot, const Shape& all, const std::vector<float>& values, const char* what) {
    const Tensor wanted = mine(Tensor::from<float>(device, all, values));
    EXPECT_LT(relative_error(slot.gradient()->tensor.to_vector<float>(), wanted.to_vector<float>()),
              tolerance(DType::kFloat32).summed)
        << what;
  };
  expect(slots[0], logits_shape, batch.logits_gradient, "logits");
  expect(slots[1], boxes_shape, batch.boxes_gradient, "boxes");
}

// DETR's matching, losses and their gradients, as tests/interop/make_detection_reference.py has them from another
// library, whatever mesh the samples are on, and with samples that have no boxes or none that anybody drew.
TEST(DetectionObjective, IsThatOfAnotherLibraryOnEveryMesh) {
  const Batch batch = reference_batch();
  for (const MeshShape& shape : kMeshes) {
    SCOPED_TRACE(fmt::format("dp {} tp {}", shape.dp, shape.tp));
    run_ranks(shape.dp * shape.tp, [&](Group& world) { check(world, shape, batch); });
  }
}

TEST(DetectionObjective, PairsQueriesAsAnotherLibraryDoes) {
  const nlohmann::json reference = read_reference("detection.json");
  for (std::size_t i = 0; i < 4; ++i) {
    const std::vector<float> logits = floats(flat(reference["logits"][i])), boxes = floats(flat(reference["boxes"][i]));
    std::vector<float> truths;
    std::vector<int32_t> labels;
    for (const nlohmann::json& object : reference["objects"][i]) {
      for (std::size_t c = 0; c < 4; ++c) truths.push_back(object[c]);
      labels.push_back(object[4]);
    }
    EXPECT_EQ(match_queries({.logits = logits, .boxes = boxes, .truths = truths, .labels = labels}, {}),
              reference["matches"][i].get<std::vector<int32_t>>());
  }
}

TEST(DetectionObjective, OfABatchWithoutObjectsIsZero) {
  Batch batch = reference_batch();
  batch.labels.assign(batch.labels.size(), -1);
  batch.loss = batch.num_objects = 0;
  batch.logits_gradient.assign(batch.logits_gradient.size(), 0);
  batch.boxes_gradient.assign(batch.boxes_gradient.size(), 0);
  run_ranks(2, [&](Group& world) { check(world, {.dp = 2}, batch); });
}

// By hand: the first box is its truth, the second is one square of side 2 beside another, the third has no phrase and
// the fourth no image.
TEST(GroundingObjective, IsTheMeanOverThePhrasesOfTheGlobalBatch) {
  const std::vector<float> boxes{0.5f, 0.5f, 0.5f, 0.5f, 1, 1, 2, 2, 0.5f, 0.5f, 1, 1, 0.1f, 0.1f, 0.1f, 0.1f};
  const std::vector<float> truths{0.25f, 0.25f, 0.75f, 0.75f, 1, 1, 3, 3, 0, 0, 0, 0, 0, 0, 1, 1};
  const double expected = (3 * 2 + 7 * (1 - (1.0 / 7 - 2.0 / 9))) / 2;
  for (const MeshShape& shape : {MeshShape{}, MeshShape{.dp = 2}, MeshShape{.dp = 4}, MeshShape{.dp = 2, .tp = 2}}) {
    SCOPED_TRACE(fmt::format("dp {} tp {}", shape.dp, shape.tp));
    run_ranks(shape.dp * shape.tp, [&](Group& world) {
      Device device(1);
      Mesh mesh(world, shape, device);
      const Plan plan = tensor_parallel_plan();
      ParameterStore store(device, mesh, plan, 1, DType::kFloat32);
      const ObjectiveSpec spec = grounding_objective({.l1_weight = 3, .giou_weight = 7, .needs = {"image_present"}});
      EXPECT_EQ(spec.fields, (std::vector<std::string>{"image_present", "phrase_box_present", "phrase_box"}));
      const std::unique_ptr<Objective> objective = spec.make(store);
      const Pass pass{.device = device, .mesh = mesh, .plan = plan};
      const Range rows = shard_range(4, shape.dp, mesh.rank(Axis::kDp));
      const auto mine = [&](const Tensor& all) { return all.slice(0, rows.begin, rows.length).contiguous(); };
      Fields fields(rows.length);
      fields.set("phrase_box", mine(Tensor::from<float>(device, Shape{4, 4}, truths)));
      fields.set("phrase_box_present", mine(Tensor::from<uint8_t>(device, Shape{4}, std::vector<uint8_t>{1, 1, 0, 1})));
      fields.set("image_present", mine(Tensor::from<uint8_t>(device, Shape{4}, std::vector<uint8_t>{1, 1, 1, 0})));
      const Tensor count = Tensor::zeros(device, DType::kFloat64, Shape{1});
      objective->count_terms(fields, device.stream(), count.data<double>());
      const Layout partial = on_mesh(Layout().with(Axis::kDp, Placement::partial()), mesh);
      const Tensor total = redistribute(count, Shape{1}, partial, Layout(), mesh);
      EXPECT_EQ(total.item<double>(), 2);
      const Variable slot =
          Variable::leaf(mine(Tensor::from<float>(device, Shape{4, 4}, boxes)), Shape{4, 4}, pass.layout("batch"));
      const Variable loss = mean_of_terms(objective->loss(std::span(&slot, 1), fields, pass), 1, total);
      EXPECT_NEAR(redistribute(loss.tensor(), Shape{1}, loss.layout(), Layout(), mesh).item<double>(), expected,
                  kBetweenDoubles * expected);
      const double one = 1;
      const Gradient seed{Tensor::from<double>(device, Shape{1}, std::span(&one, 1)), loss.layout().of_gradient()};
      backward(std::span(&loss, 1), std::span(&seed, 1));
      const std::vector<float> slopes = slot.gradient()->tensor.to_vector<float>();
      for (int64_t i = 0; i < rows.length; ++i) {
        const bool counts = rows.begin + i == 1;  // the first is where it should be
        EXPECT_EQ(slopes[static_cast<std::size_t>(4 * i)] != 0, counts) << rows.begin + i;
      }
    });
  }
}

}  // namespace
}  // namespace triptych::test
