#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rooms.h"

namespace triptych::base {

/// Who is told where a rank's work begins and ends, as it does: a profiler that shows it beside what it sees itself.
class TraceListener {
 public:
  virtual ~TraceListener() = default;
  /// Work begins, within what has begun and not ended before.
  virtual void begin(const std::string& name) = 0;
  /// What began last ends.
  virtual void end() = 0;
};

/// What a rank does, and when, while it is on: spans of its clock, in the order in which they ended. One thread at a
/// time uses it. Off, or not there (a null pointer to it), it costs a comparison.
class Trace {
 public:
  enum class Track : uint8_t {
    kWork,      ///< what the rank's thread does: one thing at a time, a span may lie in another
    kInFlight,  ///< what goes on beside it: operations of groups, from their start until they are known to be done
  };
  struct Span {
    Track track = Track::kWork;
    /// "step", "schedule", "block", "forward", "backward", "poll", "start", "wait", "loader", "optimizer", "save", a
    /// group's name
    std::string kind;
    std::string name;     ///< "F2@1", "image.blocks.3", "all_reduce(sum, float32 x 12)"
    std::string details;  ///< more of it, for who looks at the span alone
    int64_t begin_ns = 0, end_ns = 0;
  };

  bool is_on() const { return is_on_; }
  /// Begins anew: what was seen before is forgotten.
  void start() {
    spans_.clear();
    is_on_ = true;
    last_ns_ = now();
  }
  void stop() { is_on_ = false; }
  /// A span that has ended; forgotten if the trace is off by now.
  void add(Span span) {
    if (is_on_) spans_.push_back(std::move(span));
  }
  /// A span of work from the last moment at which other work began or ended until now: of work that tells when it has
  /// ended, and has none within that lasts until then.
  void add_since_last(std::string_view kind, std::string_view name) {
    if (!is_on_) return;
    const int64_t begin = std::exchange(last_ns_, now());
    spans_.push_back({.kind = std::string(kind), .name = std::string(name), .begin_ns = begin, .end_ns = last_ns_});
  }
  std::span<const Span> spans() const { return spans_; }

  /// Of the clock that spans are on, unless another is set: steady, the same for all processes of a machine.
  static int64_t now_ns();
  /// Where spans begin and end: now, or what `clock` says, such as how much work has been asked for.
  int64_t now() const { return clock_ ? clock_() : now_ns(); }
  void set_clock(std::function<int64_t()> clock) { clock_ = std::move(clock); }
  /// Who is told of the scopes that begin from now on, until they have ended; null: nobody.
  void set_listener(TraceListener* listener) { listener_ = listener; }

 private:
  bool is_on_ = false;
  std::vector<Span> spans_;
  std::function<int64_t()> clock_;
  TraceListener* listener_ = nullptr;
  int64_t last_ns_ = 0;

  friend class TraceScope;
};

/// A span of a rank's work from here to the end of its scope, where `trace` is there and on.
class TraceScope {
 public:
  /// `make_name` is called only if it is: a name may be long to make.
  template <typename MakeName>
  TraceScope(Trace* trace, std::string_view kind, MakeName&& make_name) : trace_(trace) {
    if (trace_ == nullptr || !trace_->is_on()) {
      trace_ = nullptr;
      return;
    }
    span_ = {.kind = std::string(kind), .name = make_name(), .begin_ns = trace_->now()};
    trace_->last_ns_ = span_.begin_ns;
    listener_ = trace_->listener_;
    if (listener_ != nullptr) listener_->begin(span_.name);
  }
  ~TraceScope() {
    if (trace_ == nullptr) return;
    span_.end_ns = trace_->now();
    trace_->last_ns_ = span_.end_ns;
    if (listener_ != nullptr) listener_->end();
    trace_->add(std::move(span_));
  }
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  Trace* trace_;
  TraceListener* listener_ = nullptr;
  Trace::Span span_;
};

}  // namespace triptych::base
