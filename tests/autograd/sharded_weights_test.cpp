#include "autograd/sharded_weights.h"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/in_process_group.h"

namespace triptych::test {
namespace {

constexpr int kRanks = 2, kUnits = 8;
constexpr int64_t kRows = 6, kColumns = 128;
constexpr std::size_t kUnitBytes = kRows * kColumns * sizeof(float);

// A model of blocks with one weight each, whose elements say which it is.
struct Weights {
  explicit Weights(Group& world, bool is_freed) : device(1), mesh(world, {.dp = kRanks}, device) {
    std::vector<std::vector<Parameter*>> units;
    for (int i = 0; i < kUnits; ++i) {
      auto p = std::make_unique<Parameter>("p" + std::to_string(i));
      p->global_shape = Shape{kRows, kColumns};
      p->kept = split_further(p->layout, p->global_shape, Axis::kDp, mesh.shape());
      p->value = Tensor::empty(device, DType::kFloat32, local_shape(p->global_shape, p->kept, mesh));
      p->compute = Tensor::without_memory(device, DType::kFloat32, p->global_shape);
      units.push_back({p.get()});
      owned.push_back(std::move(p));
    }
    set(0);
    sharded = std::make_unique<ShardedWeights>(device, mesh, units, is_freed);
  }

  void set(int version) {
    for (int i = 0; i < kUnits; ++i) {
      const Tensor& value = owned[static_cast<std::size_t>(i)]->value;
      for (int64_t e = 0; e < value.num_elements(); ++e) {
        value.data<float>()[e] = static_cast<float>(version * 10000 + i * 100 + mesh.rank(Axis::kDp));
      }
    }
  }
  // What an operation does with it: every rank's rows must be there.
  void read(int i, int version) {
    const std::vector<float> whole = owned[static_cast<std::size_t>(i)]->compute.to_vector<float>();
    for (int64_t row = 0; row < kRows; ++row) {
      ASSERT_EQ(whole[static_cast<std::size_t>(row * kColumns)],
                static_cast<float>(version * 10000 + i * 100 + (row < kRows / 2 ? 0 : 1)));
    }
    most = std::max(most, device.memory().used_by_part[MemoryPart::kComputeCopies]);
  }
  // Two towers of half of the units each: forward block by block, backward in turns, two operations a block.
  void step(int version) {
    most = 0;
    sharded->begin_step();
    for (int i = 0; i < kUnits; ++i) {
      read(i, version);
      sharded->tick();
    }
    for (int i = kUnits / 2 - 1; i >= 0; --i) {
      for (int operation = 0; operation < 2; ++operation) {
        for (const int tower : {0, kUnits / 2}) {
          read(i + tower, version);
          sharded->tick();
        }
      }
    }
    sharded->end_step();
  }

  Device device;
  Mesh mesh;
  std::vector<std::unique_ptr<Parameter>> owned;
  std::unique_ptr<ShardedWeights> sharded;
  std::size_t most = 0;
};

TEST(ShardedWeightsTest, AreWholeWhereTheyAreReadAndFreedAfterIt) {
  run_ranks(kRanks, [](Group& world) {
    Weights w(world, true);
    for (int step = 0; step < 4; ++step) {
      w.set(step);
      w.sharded->values_changed();
      w.step(step);
      // The unit that is read, two more that are soon read again, one that is gathered ahead: each of these with what
      // it was received in and sent from while it comes.
      EXPECT_LE(w.most, 7 * kUnitBytes) << "step " << step;
      EXPECT_EQ(w.device.memory().used_by_part[MemoryPart::kComputeCopies], 0u) << "step " << step;
    }
  });
}

TEST(ShardedWeightsTest, ThatStayAreGatheredOnceForEachChange) {
  run_ranks(kRanks, [](Group& world) {
    Weights w(world, false);
    for (int step = 0; step < 3; ++step) {
      w.set(step);
      w.sharded->values_changed();
      w.step(step);
      EXPECT_EQ(w.device.memory().used_by_part[MemoryPart::kComputeCopies], kUnits * kUnitBytes);
    }
  });
}

// Of the group's operations, seen by a trace: a unit that is read again soon is not gathered again.
TEST(ShardedWeightsTest, TheSecondStepGathersLessThanTheFirst) {
  run_ranks(kRanks, [](Group& world) {
    Weights w(world, true);
    const auto gathers_of = [&](int version) {
      Trace trace;
      trace.start();
      w.mesh.set_trace(&trace);
      w.step(version);
      w.mesh.set_trace(nullptr);
      int count = 0;
      for (const Trace::Span& span : trace.spans()) {
        if (span.track == Trace::Track::kInFlight && span.name.starts_with("all_gather")) ++count;
      }
      return count;
    };
    const int first = gathers_of(0), second = gathers_of(0), third = gathers_of(0);
    EXPECT_EQ(first, kUnits + 2 * kUnits);  // forward, and each operation of backward
    // The last block of one tower is still there when backward begins, the other's too.
    EXPECT_EQ(second, 2 * kUnits - 1);
    EXPECT_EQ(third, second);
  });
}

// Forward passes outside of steps, between them and before the first.
TEST(ShardedWeightsTest, AreThereOutsideOfSteps) {
  run_ranks(kRanks, [](Group& world) {
    Weights w(world, true);
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < kUnits; ++i) {
        w.read(i, 0);
        w.sharded->tick();
      }
      w.step(0);
    }
    EXPECT_LE(w.most, 7 * kUnitBytes);
  });
}

TEST(ShardedWeightsTest, AnotherOrderOfReadsIsStillRight) {
  run_ranks(kRanks, [](Group& world) {
    Weights w(world, true);
    w.step(0);
    w.sharded->begin_step();
    for (int i = kUnits - 1; i >= 0; --i) {
      w.read(i, 0);
      w.read((i * 3) % kUnits, 0);
      w.sharded->tick();
    }
    w.sharded->end_step();
    w.sharded->relearn();
    w.step(0);
    w.step(0);
  });
}

}  // namespace
}  // namespace triptych::test
