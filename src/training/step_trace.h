#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/trace.h"
#include "device/backend.h"
#include "parallel/mesh.h"
#include "parallel/world.h"

namespace triptych::training {

/// Which steps of a run are traced.
struct TraceRequest {
  int64_t first = 0;  ///< from 1; 0: none
  int64_t count = 1;
};

/// Sees to it that all ranks trace the same steps, and that a file of them all is written behind the last.
class StepTrace {
 public:
  /// The world and the mesh must outlive this.
  StepTrace(World& world, const Mesh& mesh, const TraceRequest& request)
      : world_(&world), mesh_(&mesh), request_(request), ranges_(profiler_ranges()) {
    trace_.set_listener(ranges_.get());
  }

  Trace& trace() { return trace_; }
  /// Step `step`, counted from 1, is about to begin: from the wait for its batch on.
  void begin(int64_t step) {
    if (step == request_.first) trace_.start();
  }
  /// Whether step `step` is the last of the request.
  bool is_last(int64_t step) const { return trace_.is_on() && step == request_.first + request_.count - 1; }
  /// Ends the trace behind step `step`: writes folder/trace_FIRST.json on the first rank, and tells there through `say`
  /// where it is and where the time went. Collective.
  void write(int64_t step, const std::filesystem::path& folder, const std::function<void(const std::string&)>& say);
  /// Throws UserError unless the first step of the request is one of [first, last], or there is none.
  void require_within(int64_t first, int64_t last) const;

 private:
  World* world_;
  const Mesh* mesh_;
  TraceRequest request_;
  std::unique_ptr<TraceListener> ranges_;
  Trace trace_;
};

}  // namespace triptych::training
