#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/batch.h"
#include "data/dataset.h"
#include "tensor/field.h"

namespace triptych::data {

/// One sample as the loader has read it: what a filler sees.
struct LoadedSample {
  const Dataset& dataset;
  const SampleBuffer& bytes;   ///< the parts that sources read and the row shows; others may be empty
  const SampleRecord& record;  ///< what the index knows of it, such as its label
  uint64_t sample = 0;         ///< its number in the data set
  /// Of the row: training, in the endless stream, which with the seed keys its random numbers; else, among the items of
  /// the evaluation.
  uint64_t position = 0;
  /// Whether the row shows its image: it has one, and modality dropout leaves it.
  bool has_image = false;
  /// Which of its texts the row is about, the same for every field: one of the role that the loader was given. Empty if
  /// the row shows none.
  std::optional<uint32_t> caption;
  uint64_t seed = 0;
  bool training = true;
  /// Whether something is learned of it, or a loss measured: the row then has what it is to be learned from, such as
  /// the answer behind a question.
  bool has_targets = true;

  /// The data set's name for it, for messages.
  std::string name() const { return dataset.sample_name(sample); }
  /// Borrows from `bytes`; UTF-8. Empty if there is none.
  std::string_view caption_text() const { return caption ? bytes.caption(*caption) : std::string_view(); }
  /// The answers of the question that the row is about, the first one first; none if it is about no question, or about
  /// one without answers. Borrow from `bytes`; UTF-8.
  std::vector<std::string_view> answers() const;
};

/// A sample's memory in each of a source's fields, in the order in which the source names them; each holds one row of
/// its field's values.
using FieldRows = std::span<const std::span<std::byte>>;

/// A field's memory of one sample as values. T is the field's type.
template <typename T>
std::span<T> values_of(std::span<std::byte> row) {
  return {reinterpret_cast<T*>(row.data()), row.size() / sizeof(T)};
}

/// Turns samples into rows of some fields that belong together. One a worker, with its buffers; one thread at a time.
class RowFiller {
 public:
  virtual ~RowFiller() = default;

  /// Fills the sample's rows, a function of what it sees alone. It may be called again for the same rows, with another
  /// sample: then the later call counts.
  ///
  /// Throws WorldError if the sample cannot be used, such as an image that is not sound: it is replaced, on all ranks
  /// that read the row. An error of another kind ends the run.
  virtual void fill(const LoadedSample& sample, FieldRows rows) = 0;
  /// Fills rows that have no sample: the padding of an evaluation's last batch, or a sample that cannot be used.
  virtual void clear(FieldRows rows) = 0;
  /// The end of a group of rows, whose memory stays until here: for work that is better done for several together. Not
  /// called after an exception, nor is the filler used any more then.
  virtual void finish() {}
};

/// Where one field comes from, or a few that belong together.
struct FieldSource {
  std::vector<FieldSpec> fields;
  /// The bytes that its filler sees. One that reads the image decodes all of it, in some form: that is how the loader
  /// learns that it is sound.
  SampleParts reads = SampleParts::kNone;
  /// One for each worker; called by several threads. Throws UserError if it lacks what it needs.
  std::function<std::unique_ptr<RowFiller>()> make;
  /// Fills a row with random values, a function of the seed and of the row in the global batch alone: for measuring,
  /// and for comparing a mesh with one rank. Needs no data set.
  std::function<void(uint64_t seed, int64_t global_row, FieldRows rows)> synthesize;
};

/// The fields of all sources, one source after the other.
std::vector<FieldSpec> fields_of(std::span<const FieldSource> sources);

/// Those of `sources` that give a field of `names`: what a rank that reads these fields must load. Throws InternalError
/// if no source gives one of them.
std::vector<FieldSource> sources_of(std::span<const FieldSource> sources, std::span<const std::string> names);

/// Whether a filler of one of them sees images.
bool reads_images(std::span<const FieldSource> sources);

/// `num_rows` rows of random values from row `first_row` of a global batch on; see FieldSource::synthesize.
Batch synthetic_batch(std::span<const FieldSource> sources, uint64_t seed, int64_t first_row, int64_t num_rows);

}  // namespace triptych::data
