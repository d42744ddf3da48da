#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/ingest_source.h"

namespace triptych::data {

struct WebdatasetInput {
  std::vector<std::filesystem::path> archives;
  /// Extensions of the image; of a sample that has several, the first of these counts. None: there are
  /// captions alone.
  std::vector<std::string> images{"jpg", "jpeg", "png", "webp"};
  /// Extensions that captions are under, "json" being looked into; the first of these that a sample has counts. None:
  /// there are no captions.
  std::vector<std::string> captions{"txt", "caption", "text", "json"};
  /// Of a sample's json: a string, or an array of strings. The first of these that is there counts.
  std::vector<std::string> json_keys{"caption", "captions", "text"};
};

/// Archives of samples as webdataset writes them: 0007.jpg, 0007.txt, 0007.json, 0007.cls one behind the other. `.cls`
/// is an integer, or a class's name. Throws UserError if a file is of another format.
std::unique_ptr<IngestSource> open_webdataset(const WebdatasetInput& input);

/// The captions that a sample's json has under the first of the keys that is there. Throws SampleFault if it has none,
/// or if they are not what they must be.
void read_json_captions(std::string_view json, const std::vector<std::string>& keys, SampleDescription& sample);

}  // namespace triptych::data
