#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

struct IngestOptions {
  std::filesystem::path images;    ///< folder that the image names are relative to; may be empty if no line names one
  std::filesystem::path captions;  ///< JSON lines
  std::filesystem::path classes;   ///< names of the labels, one a line; empty: there are none
  std::filesystem::path out;       ///< the data set's folder: absent, empty, or an ingest's data set, which is replaced
  uint64_t samples_per_shard = 1024;
  bool decode = false;  ///< decode every image whole, so that one whose pixels are cut or damaged is refused
  int threads = 1;      ///< that decode
  std::function<void(uint64_t samples)> progress;  ///< called after every sample
};

/// Lines whose image says something that is not applied.
struct IngestRemark {
  uint64_t count = 0, first_line = 0;
};

struct IngestSummary {
  uint64_t num_shards = 0;
  uint64_t num_samples = 0;
  uint64_t num_captions = 0;  ///< texts of every role
  uint64_t num_images = 0;
  uint64_t num_boxes = 0;
  std::string data_set_id;
  std::map<std::string, uint64_t> ignored_keys;  ///< keys of the lines that mean nothing here, with their counts
  std::map<std::string, IngestRemark> remarks;   ///< what image_remarks() says; 100 different ones at most
  std::vector<std::string> kept;                 ///< files of the replaced folder that are in the new one
};

/// Packs image-text pairs into shards with an index. A line of the captions file is an object with
///   "image"               file name relative to `images`, or null or absent
///   "captions"/"caption"  array of strings / one string; may be absent if there is an image
///   "id"                  integer 0 .. 2^64-1; if absent, the line's number, counted from 1
///   "question"            string; optional
///   "answers"/"answer"    of the question: array of strings, the first one first / one string; optional
///   "boxes"               array of [left, top, right, bottom] in pixels of the image as it is seen; optional
///   "classes"             of the boxes: array of integers, not negative, or null
///   "phrases"             that name the boxes: array of strings or null; a box has a class or a phrase
///   "label"               integer, not negative, below the number of `classes` if these are given; optional
///
/// `classes` becomes classes.txt beside the shards, read again by read_class_names.
///
/// Keys of other tools in the place of these are refused, and so are a key given twice and a caption without text. All
/// lines are checked, and images' headers (all of them with `decode`), before anything becomes visible: on any fault
/// UserError lists the first 20 with their line numbers, and `out` stays as it was. The same input gives the same
/// bytes.
IngestSummary ingest_pairs(const IngestOptions& options);

}  // namespace triptych::data
