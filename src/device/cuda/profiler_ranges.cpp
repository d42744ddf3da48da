#include <nvtx3/nvToolsExt.h>

#include "device/backend.h"

namespace triptych::device {
namespace {

// Ranges of the thread that begins and ends them, in a domain of our own. Without a profiler a call finds that there is
// none and returns.
class NvtxRanges : public TraceListener {
 public:
  NvtxRanges() : domain_(nvtxDomainCreateA("triptych")) {}
  ~NvtxRanges() override { nvtxDomainDestroy(domain_); }
  NvtxRanges(const NvtxRanges&) = delete;
  NvtxRanges& operator=(const NvtxRanges&) = delete;

  void begin(const std::string& name) override {
    nvtxEventAttributes_t range{};
    range.version = NVTX_VERSION;
    range.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    range.messageType = NVTX_MESSAGE_TYPE_ASCII;
    range.message.ascii = name.c_str();
    nvtxDomainRangePushEx(domain_, &range);
  }
  void end() override { nvtxDomainRangePop(domain_); }

 private:
  nvtxDomainHandle_t domain_;
};

}  // namespace

std::unique_ptr<TraceListener> profiler_ranges() {
  return std::make_unique<NvtxRanges>();
}

}  // namespace triptych::device
