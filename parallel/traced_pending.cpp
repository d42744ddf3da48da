#include "parallel/traced_pending.h"

#include <utility>

#include <fmt/core.h>

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
    span_.end_ns = trace_->now();
    trace_->add(span_);
  }

  std::shared_ptr<Pending> pending_;
  Trace* trace_;
  Trace::Span span_;
  bool is_done_ = false;
};

}  // namespace

std::shared_ptr<Pending> traced(std::shared_ptr<Pending> pending, Trace& trace, const GroupIdentity& group,
                                const Operation& operation) {
  return std::make_shared<TracedPending>(
      std::move(pending), trace,
      Trace::Span{.track = Trace::Track::kInFlight,
                  .kind = group.name,
                  .name = operation.to_string(),
                  .details = fmt::format("{} bytes, number {}", operation.bytes(), operation.sequence),
                  .begin_ns = trace.now()});
}

}  // namespace triptych::parallel
