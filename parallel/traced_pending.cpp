#include "parallel/traced_pending.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>

#include "parallel/progress.h"

namespace triptych::parallel {
namespace {

class TracedPending : public Pending {
 public:
  TracedPending(std::shared_ptr<Pending> pending, Trace& trace, Trace::Span span)
      : pending_(std::move(pending)), trace_(&trace), span_(std::move(span)) {}

  bool test() override {
    if (!pending_->test()) return false;
    end();
    return true;
  }

  void wait() override {
    const TraceScope scope(trace_, "wait", [this] { return span_.kind + ": " + span_.name; });
    pending_->wait();
    end();
  }

 private:
  void end() {
    if (std::exchange(is_done_, true)) return;
    span_.end_ns = std::clamp(done_ns(), span_.begin_ns, trace_->now());
    trace_->add(span_);
  }

  // On the clock of `trace_`: only flights are done at a time of their own, and no trace with another clock sees them.
  int64_t done_ns() const {
    const auto* const flight = dynamic_cast<const Flight*>(pending_.get());
    return flight == nullptr
               ? trace_->now()
               : std::chrono::duration_cast<std::chrono::nanoseconds>(flight->done_at().time_since_epoch()).count();
  }

  std::shared_ptr<Pending> pending_;
  Trace* trace_;
  Trace::Span span_;
  bool is_done_ = false;
};

}  // namespace

std::shared_ptr<Pending> traced(std::shared_ptr<Pending> pending, Trace& trace, const GroupIdentity& group,
                                const Operation& operation, int64_t begin) {
  return std::make_shared<TracedPending>(
      std::move(pending), trace,
      Trace::Span{
          .track = Trace::Track::kInFlight,
          .kind = group.name,
          .name = operation.to_string(),
          .details = fmt::format("{} bytes, number {}", moved_bytes(operation, group.size()), operation.sequence),
          .begin_ns = begin});
}

int64_t moved_bytes(const Operation& operation, int num_ranks) {
  const auto bytes = static_cast<int64_t>(operation.bytes());
  switch (operation.kind) {
    case Operation::Kind::kAllReduce:
      return 2 * (num_ranks - 1) * bytes / num_ranks;
    case Operation::Kind::kAllGather:
    case Operation::Kind::kReduceScatter:
    case Operation::Kind::kAllToAll:
      return (num_ranks - 1) * bytes;
    case Operation::Kind::kBroadcast:
    case Operation::Kind::kSend:
    case Operation::Kind::kRecv:
      break;
  }
  return bytes;
}

}  // namespace triptych::parallel
