#include "parallel/group.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "parallel/traced_pending.h"

namespace triptych::parallel {
namespace {

constexpr int kMaxTag = 32767;  // what every MPI takes
constexpr int64_t kMaxTextBytes = 64 << 20;

class Done : public Pending {
 public:
  bool test() override { return true; }
  void wait() override {}
};

class SelfGroup : public Group {
 public:
  explicit SelfGroup(GroupIdentity identity) : Group(std::move(identity)) {}
  std::unique_ptr<Group> split(int color, int key, std::string name) override {
    GroupIdentity identity = split_identity(color, key, std::move(name));
    return identity.size() == 0 ? nullptr : std::make_unique<SelfGroup>(std::move(identity));
  }
  void progress() override {}
  std::string_view transport() const override { return "none"; }
  std::chrono::milliseconds timeout() const override { return std::chrono::milliseconds::max(); }  // nobody to wait for
  [[noreturn]] void abort(int exit_code) override {
    std::fflush(nullptr);
    std::_Exit(exit_code);
  }

 protected:
  std::shared_ptr<Pending> start(const Operation& operation) override {
    throw InternalError(identity()->where(), fmt::format("{} has no other rank", operation.to_string()));
  }
};

std::string_view kind_name(Operation::Kind kind) {
  constexpr std::array<std::string_view, 7> kNames{
      "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send", "recv"};
  return kNames[static_cast<std::size_t>(kind)];
}

bool is_reduction(Operation::Kind kind) {
  return kind == Operation::Kind::kAllReduce || kind == Operation::Kind::kReduceScatter;
}

bool can_be_reduced(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat64 || dtype == DType::kInt32 || dtype == DType::kInt64;
}

}  // namespace

bool Operation::agrees_with(const Operation& other) const {
  return kind == other.kind && dtype == other.dtype && count == other.count && sequence == other.sequence &&
         (!is_reduction(kind) || reduce == other.reduce) && (kind != Kind::kBroadcast || peer == other.peer);
}

std::string Operation::to_string() const {
  const std::string elements = fmt::format("{} x {}", dtype_name(dtype), count);
  switch (kind) {
    case Kind::kAllReduce:
    case Kind::kReduceScatter:
      return fmt::format("{}({}, {})", kind_name(kind), reduce == ReduceOp::kSum ? "sum" : "max", elements);
    case Kind::kBroadcast:
      return fmt::format("broadcast({}, from rank {})", elements, peer);
    case Kind::kSend:
      return fmt::format("send({}, to rank {}, tag {})", elements, peer, tag);
    case Kind::kRecv:
      return fmt::format("recv({}, from rank {}, tag {})", elements, peer, tag);
    case Kind::kAllGather:
    case Kind::kAllToAll:
      break;
  }
  return fmt::format("{}({})", kind_name(kind), elements);
}

std::string GroupIdentity::rank_text(int of_rank) const {
  return fmt::format("rank {} (world rank {})", of_rank, world_ranks[static_cast<std::size_t>(of_rank)]);
}

Group::Group(GroupIdentity identity) : identity_(std::make_shared<const GroupIdentity>(std::move(identity))) {
  TRIPTYCH_CHECK(rank() >= 0 && rank() < size(), "rank {} of {} in {}", rank(), size(), name());
}

std::shared_ptr<Pending> Group::start_checked(Operation operation) {
  const auto refuse = [&](std::string_view why) {
    throw InternalError(identity_->where(), fmt::format("{} {}", operation.to_string(), why));
  };
  if (operation.count < 0) refuse("has a negative count");
  if (is_reduction(operation.kind) && !can_be_reduced(operation.dtype)) {
    refuse("reduces a type that is not float32, float64, int32 or int64. Sums are taken in float32");
  }
  if (operation.peer < 0 || operation.peer >= size()) refuse(fmt::format("names a rank that is not below {}", size()));
  if (!operation.is_collective()) {
    if (operation.peer == rank()) refuse("is a message to itself");
    if (operation.tag < 0 || operation.tag > kMaxTag) refuse(fmt::format("has a tag outside [0, {}]", kMaxTag));
    auto& numbers = operation.kind == Operation::Kind::kSend ? num_sent_ : num_received_;
    operation.sequence = numbers[{operation.peer, operation.tag}]++;
    return start_traced(operation);
  }
  operation.sequence = num_collectives_++;
  if (size() > 1) return start_traced(operation);
  if (operation.send != nullptr && operation.count > 0) copy(operation.recv, operation.send, operation.bytes());
  return std::make_shared<Done>();
}

std::shared_ptr<Pending> Group::start_traced(const Operation& operation) {
  if (trace_ == nullptr || !trace_->is_on()) return start(operation);
  std::shared_ptr<Pending> pending;
  const int64_t begin = trace_->now();
  {
    const TraceScope scope(trace_, "start", [&] { return identity_->name + ": " + operation.to_string(); });
    pending = start(operation);
  }
  return traced(std::move(pending), *trace_, *identity_, operation, begin);
}

void Group::copy(void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}

std::shared_ptr<Pending> Group::all_reduce(void* data, int64_t count, DType dtype, ReduceOp reduce) {
  return start_checked(
      {.kind = Operation::Kind::kAllReduce, .dtype = dtype, .reduce = reduce, .count = count, .recv = data});
}

std::shared_ptr<Pending> Group::all_gather(const void* send, void* recv, int64_t count, DType dtype) {
  return start_checked(
      {.kind = Operation::Kind::kAllGather, .dtype = dtype, .count = count, .send = send, .recv = recv});
}

std::shared_ptr<Pending> Group::reduce_scatter(const void* send, void* recv, int64_t count, DType dtype,
                                               ReduceOp reduce) {
  return start_checked({.kind = Operation::Kind::kReduceScatter,
                        .dtype = dtype,
                        .reduce = reduce,
                        .count = count,
                        .send = send,
                        .recv = recv});
}

std::shared_ptr<Pending> Group::all_to_all(const void* send, void* recv, int64_t count, DType dtype) {
  return start_checked(
      {.kind = Operation::Kind::kAllToAll, .dtype = dtype, .count = count, .send = send, .recv = recv});
}

std::shared_ptr<Pending> Group::broadcast(void* data, int64_t count, DType dtype, int root) {
  return start_checked(
      {.kind = Operation::Kind::kBroadcast, .dtype = dtype, .peer = root, .count = count, .recv = data});
}

std::shared_ptr<Pending> Group::send(const void* data, int64_t count, DType dtype, int peer, int tag) {
  return start_checked(
      {.kind = Operation::Kind::kSend, .dtype = dtype, .peer = peer, .tag = tag, .count = count, .send = data});
}

std::shared_ptr<Pending> Group::recv(void* data, int64_t count, DType dtype, int peer, int tag) {
  return start_checked(
      {.kind = Operation::Kind::kRecv, .dtype = dtype, .peer = peer, .tag = tag, .count = count, .recv = data});
}

void Group::barrier() {
  int32_t nothing = 0;
  all_reduce(&nothing, 1, DType::kInt32, ReduceOp::kSum)->wait();
}

std::vector<std::string> Group::all_gather_string(const std::string& text) {
  const int64_t length = static_cast<int64_t>(text.size());
  std::vector<int64_t> lengths(static_cast<std::size_t>(size()));
  all_gather(&length, lengths.data(), 1, DType::kInt64)->wait();
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  TRIPTYCH_CHECK(longest <= kMaxTextBytes, "a text of {} bytes in {}", longest, name());
  const std::size_t row = static_cast<std::size_t>(longest);
  std::vector<char> mine(row), all(row * lengths.size());
  std::copy(text.begin(), text.end(), mine.begin());
  all_gather(mine.data(), all.data(), longest, DType::kUInt8)->wait();
  std::vector<std::string> texts;
  for (std::size_t r = 0; r < lengths.size(); ++r) {
    texts.emplace_back(all.data() + r * row, static_cast<std::size_t>(lengths[r]));
  }
  return texts;
}

GroupIdentity Group::split_identity(int color, int key, std::string name) {
  const std::array<int32_t, 2> mine{color, key};
  std::vector<std::array<int32_t, 2>> all(static_cast<std::size_t>(size()));
  all_gather(mine.data(), all.data(), 2, DType::kInt32)->wait();
  GroupIdentity identity;
  identity.name = std::move(name);
  if (color < 0) return identity;
  std::vector<int> members;
  for (int r = 0; r < size(); ++r) {
    if (all[static_cast<std::size_t>(r)][0] == color) members.push_back(r);
  }
  std::stable_sort(members.begin(), members.end(), [&](int a, int b) {
    return all[static_cast<std::size_t>(a)][1] < all[static_cast<std::size_t>(b)][1];
  });
  for (const int member : members) {
    if (member == rank()) identity.rank = identity.size();
    identity.world_ranks.push_back(world_rank(member));
  }
  return identity;
}

std::unique_ptr<Group> Group::split_by(const std::function<int(int)>& color_of, std::string name) {
  return split(color_of(rank()), rank(), std::move(name));
}

std::unique_ptr<Group> make_self_group(std::string name, int world_rank) {
  return std::make_unique<SelfGroup>(GroupIdentity{.name = std::move(name), .rank = 0, .world_ranks = {world_rank}});
}

}  // namespace triptych::parallel
