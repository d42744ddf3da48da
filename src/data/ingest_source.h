#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "data/image_folder.h"
#include "data/sample_description.h"
#include "data/sample_fault.h"

namespace triptych::data {

/// Where a source stands: what an interrupted ingest goes on from.
struct IngestCursor {
  uint64_t input = 0;   ///< which of the inputs, from 0
  uint64_t number = 0;  ///< the samples of that input that have been read
  uint64_t offset = 0;  ///< a place in it, in the source's own units
};

/// One sample on its way into a shard.
struct IngestRecord {
  uint64_t input = 0;   ///< which of the inputs it is from
  uint64_t number = 0;  ///< its number there, from 1
  IngestCursor after;   ///< where the next one begins
  SampleDescription sample;
  std::string label_name;                    ///< of its class, where the source has names and no numbers
  std::vector<std::byte> image;              ///< its bytes, where the source holds them
  const ImageFolder* folder = nullptr;       ///< where the file sample.image lies, where it does not
  uint32_t seen_width = 0, seen_height = 0;  ///< of its image, as the source says; 0: it does not
};

/// A stream of samples in some format: the one thing that a format has to bring. What is done with the samples is
/// the same for all (data/ingest.h). One thread at a time.
///
/// The same input gives the same samples in the same order. Memory is bounded by one sample, except where a class
/// says otherwise. All bytes are hostile.
class IngestSource {
 public:
  IngestSource() = default;
  IngestSource(const IngestSource&) = delete;
  IngestSource& operator=(const IngestSource&) = delete;
  virtual ~IngestSource() = default;

  /// Reads the next sample into a fresh record; false at the end. Sets input, number and after first. Throws
  /// SampleFault if the sample breaks a rule: then the next call reads the one behind it. Other errors end the ingest.
  virtual bool next(IngestRecord& record) = 0;
  /// Goes to where a record of this same input said that the next one begins.
  virtual void go_to(const IngestCursor& cursor) = 0;

  /// What the samples are, beside the options, in letters: a data set's id is made of it. Two inputs that differ have
  /// different ones, as far as the class looks at them.
  virtual std::string fingerprint() const = 0;
  /// The inputs as errors name them.
  virtual std::string name() const = 0;
  /// "line", "row", "sample", "image": what one record comes from.
  virtual std::string_view unit() const = 0;
  /// Where a record comes from: "line 7", "b.tar sample 3".
  virtual std::string place(uint64_t input, uint64_t number) const = 0;
  /// The names of the labels 0, 1, ..., if the source has them.
  virtual std::vector<std::string> class_names() const { return {}; }
  /// What lies among the inputs and is part of no sample, with its count: "a file '.gif'".
  virtual std::map<std::string, uint64_t> passed_over() const { return {}; }
};

}  // namespace triptych::data
