#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "data/ingest_counts.h"
#include "data/ingest_source.h"

namespace triptych::data {

/// In a data set's folder: the samples that an ingest left out, one JSON object a line with "place", "reason",
/// "problem".
inline constexpr std::string_view kSkippedName = "skipped.jsonl";

struct IngestOptions {
  std::filesystem::path out;      ///< the data set's folder: absent, empty, or an ingest's data set, which is replaced
  std::filesystem::path classes;  ///< names of the labels, one a line; empty: the source's own, or none
  uint64_t samples_per_shard = 1024;
  bool decode = false;          ///< decode every image whole, so that one whose pixels are cut or damaged is bad
  int threads = 1;              ///< that read, check and decode images
  double skip_bad_percent = 0;  ///< of the samples, so many may be bad and are left out; 0: none may be
  std::function<void(uint64_t samples, uint64_t left_out)> progress;  ///< called after every sample
  std::function<void(const std::string& text)> tell;                  ///< called with what an older run has left
};

struct IngestSummary {
  uint64_t num_shards = 0;
  uint64_t num_samples = 0;
  uint64_t num_captions = 0;  ///< texts of every role
  uint64_t num_images = 0;
  uint64_t num_boxes = 0;
  std::string data_set_id;
  IngestCounts counts;
  std::vector<std::string> kept;  ///< files of the replaced folder that are in the new one
};

/// Packs the samples of a source into shards with an index. The same input and options give the same bytes, for any
/// number of threads. Images are read, checked and decoded on threads. Memory holds one shard, 1 GiB of images at most,
/// and some images a thread.
///
/// All samples are checked, and images' headers (all of them with `decode`), before anything becomes visible. Without
/// `skip_bad_percent` any bad sample is a UserError that lists the first 20, and `out` stays as it was. With it, bad
/// samples are left out, counted by reason, and listed in skipped.jsonl beside the shards; more than so many are a
/// UserError.
///
/// The data set is made in `out`.partial. If the process is killed or the world fails (WorldError), what is complete of
/// it stays there, and a call with the same input and options goes on from there; one with others clears it away.
///
/// A sample without an id of its own gets its number in its input, from 1, plus 2^40 for each input before. Labels are
/// numbers, or names of classes.
IngestSummary ingest(IngestSource& source, const IngestOptions& options);

}  // namespace triptych::data
