#include "data/ingest_item.h"

#include <fmt/format.h>

#include "base/error.h"
#include "data/annotation_rules.h"
#include "data/image_metadata.h"

namespace triptych::data {

void check_image(IngestItem& item, bool decode) {
  IngestRecord& record = item.record;
  const std::string& name = record.sample.image;
  const auto refuse = [&](std::string_view reason, const std::string& problem) {
    item.reason = reason;
    item.problem = problem;
  };
  const std::string called = name.empty() ? "the image" : fmt::format("the image '{}'", name);
  std::string_view reason = kBadHeader;
  try {
    if (record.image.empty() && !name.empty()) record.folder->read(name, record.image);
    if (record.image.empty()) return;
    item.image = probe_image(record.image);
    reason = kBadPixels;
    if (decode) decode_image(record.image);
    item.remarks = image_remarks(record.image);
  } catch (const SampleFault& bad) {
    refuse(bad.reason, rule_of(bad));
  } catch (const WorldError& error) {
    refuse(reason, fmt::format("{}: {}", called, error.what()));
  }
}

void check_boxes(const IngestItem& item) {
  const IngestRecord& record = item.record;
  const uint32_t width = item.image.seen_width(), height = item.image.seen_height();
  if (record.image.empty() || record.sample.boxes.empty()) return;
  if (record.seen_width != 0 && (record.seen_width != width || record.seen_height != height)) {
    throw SampleFault(kBadBoxes,
                      fmt::format("its boxes are for an image of {} x {} pixels, and the file is seen as {} x {}",
                                  record.seen_width, record.seen_height, width, height));
  }
  const std::string fault = fault_of_boxes(record.sample.boxes, width, height, record.sample.roles);
  if (!fault.empty()) throw SampleFault(kBadBoxes, fault);
}

}  // namespace triptych::data
