#include "parallel/world.h"

#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych::test {
namespace {

// Sets a variable, or removes it if there is no value, for as long as it lives.
class Environment {
 public:
  Environment(std::string name, const char* value) : name_(std::move(name)) {
    if (const char* before = std::getenv(name_.c_str())) before_ = before, was_set_ = true;
    set(value);
  }
  ~Environment() { set(was_set_ ? before_.c_str() : nullptr); }
  Environment(const Environment&) = delete;

 private:
  void set(const char* value) {
    if (value != nullptr) {
      setenv(name_.c_str(), value, 1);
    } else {
      unsetenv(name_.c_str());
    }
  }
  std::string name_, before_;
  bool was_set_ = false;
};

TEST(World, StartedAloneIsOneRankWithoutMpi) {
  const Environment slurm("SLURM_STEP_NUM_TASKS", nullptr);
  EXPECT_FALSE(started_by_mpi());
  const auto world = make_world();
  EXPECT_EQ(world->group().size(), 1);
  EXPECT_EQ(world->group().transport(), "none");
  EXPECT_EQ(world->node_rank(), 0);
  EXPECT_EQ(world->node_size(), 1);
  char host[256] = {};
  ASSERT_EQ(gethostname(host, sizeof host - 1), 0);
  EXPECT_EQ(world->host(), host);
  const std::vector<double> send{1, 2, 3};
  std::vector<double> recv(3);
  world->group().reduce_scatter(send.data(), recv.data(), 3, DType::kFloat64, ReduceOp::kSum)->wait();
  EXPECT_EQ(recv, send);
}

TEST(World, RefusesSlurmTasksThatCannotFindEachOther) {
  const Environment slurm("SLURM_STEP_NUM_TASKS", "4");
  try {
    make_world();
    FAIL() << "accepted";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "[world] several tasks must find each other: Slurm started 4 of them without PMIx. Start them with "
                 "`srun --mpi=pmix` or with mpirun");
  }
}

TEST(World, AbortEndsTheProcessWithTheExitCode) {
  const Environment slurm("SLURM_STEP_NUM_TASKS", nullptr);
  EXPECT_EXIT(make_world()->abort(5), ::testing::ExitedWithCode(5), "");
}

}  // namespace
}  // namespace triptych::test
