// The ranges that a profiler under CUDA is shown, seen by one that is linked in: NVTX's own way for such.

#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nvtx3/nvToolsExt.h>

#include "device/backend.h"

namespace triptych::test {
namespace {

struct Seen {
  std::string domain;
  std::vector<std::string> open;
  std::string order;  // "(a(b))"
  bool is_balanced = true;
};
Seen* seen = nullptr;  // NVTX's functions take no context

nvtxDomainHandle_t create_domain(const char* name) {
  static int domain = 0;
  if (seen != nullptr) seen->domain = name;
  return reinterpret_cast<nvtxDomainHandle_t>(&domain);
}

void destroy_domain(nvtxDomainHandle_t) {
  if (seen != nullptr) seen->domain += ", gone";
}

int push(nvtxDomainHandle_t, const nvtxEventAttributes_t* range) {
  seen->order += std::string("(") + range->message.ascii;
  seen->open.emplace_back(range->message.ascii);
  return static_cast<int>(seen->open.size()) - 1;
}

int pop(nvtxDomainHandle_t) {
  seen->order += ")";
  if (seen->open.empty()) {
    seen->is_balanced = false;
    return -1;
  }
  seen->open.pop_back();
  return static_cast<int>(seen->open.size());
}

int attach(NvtxGetExportTableFunc_t get_table) {
  const auto* const callbacks = static_cast<const NvtxExportTableCallbacks*>(get_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (callbacks == nullptr || callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) == 0) return 0;
  const auto set = [&](int which, auto* function) { *table[which] = reinterpret_cast<NvtxFunctionPointer>(function); };
  set(NVTX_CBID_CORE2_DomainCreateA, create_domain);
  set(NVTX_CBID_CORE2_DomainDestroy, destroy_domain);
  set(NVTX_CBID_CORE2_DomainRangePushEx, push);
  set(NVTX_CBID_CORE2_DomainRangePop, pop);
  return 1;
}

TEST(ProfilerRanges, BeginAndEndAsScopesDoInADomainOfTheirOwn) {
  Seen here;
  seen = &here;
  InitializeInjectionNvtx2_fnptr = attach;  // where NVTX's first call looks for a profiler
  {
    const std::unique_ptr<TraceListener> ranges = profiler_ranges();
    ASSERT_NE(ranges, nullptr);
    EXPECT_EQ(here.domain, "triptych");
    Trace trace;
    trace.set_listener(ranges.get());
    const auto named = [](const char* name) { return [name] { return std::string(name); }; };
    { const TraceScope off(&trace, "step", named("off")); }
    trace.start();
    {
      const TraceScope step(&trace, "step", named("step 3"));
      { const TraceScope block(&trace, "block", named("image.blocks.0")); }
      const TraceScope backward(&trace, "backward", named("linear"));
      trace.stop();  // what has begun still ends
    }
    { const TraceScope off(&trace, "step", named("off")); }
    EXPECT_EQ(here.order, "(step 3(image.blocks.0)(linear))");
    EXPECT_TRUE(here.is_balanced);
    EXPECT_TRUE(here.open.empty());
  }
  EXPECT_EQ(here.domain, "triptych, gone");
  seen = nullptr;
}

}  // namespace
}  // namespace triptych::test
