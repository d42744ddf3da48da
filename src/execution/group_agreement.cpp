#include "execution/group_agreement.h"

#include <fmt/core.h>

#include "base/program_identity.h"
#include "parallel/agreement.h"

namespace triptych::execution {
namespace {

class GroupAgreement : public RowAgreement {
 public:
  explicit GroupAgreement(Group& world)
      : world_(world), name_(fmt::format("{}, rank {}/{}", machine_name(), world.rank(), world.size())) {}

  void raise(std::span<int32_t> values) override {
    world_.all_reduce(values.data(), static_cast<int64_t>(values.size()), DType::kInt32, ReduceOp::kMax)->wait();
  }
  std::vector<std::string> gather(const std::string& mine) override { return world_.all_gather_string(mine); }
  void together(const std::function<void()>& work) override { parallel::together(world_, work); }
  const std::string& name() const override { return name_; }

 private:
  Group& world_;
  std::string name_;
};

}  // namespace

std::unique_ptr<RowAgreement> make_row_agreement(Group& world) {
  if (world.size() == 1) return nullptr;
  return std::make_unique<GroupAgreement>(world);
}

}  // namespace triptych::execution
