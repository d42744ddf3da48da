#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "training/metrics.h"

namespace triptych {

/// Share of queries whose right answer is among the first k.
struct RecallAtK {
  double at_1 = 0, at_5 = 0, at_10 = 0;
};

/// One row of the table of results: one direction on one set.
struct ReportRow {
  std::string set;        ///< "unseen style"
  std::string direction;  ///< "text to image"
  int64_t num_queries = 0, num_candidates = 0;
  RecallAtK model;
  RecallAtK chance;
  std::optional<RecallAtK> pixels;  ///< nearest neighbour on raw pixels, where it can be asked
};

/// A picture as PNG bytes, and the words for those who do not see it.
struct ReportPicture {
  std::vector<std::byte> png;
  std::string description;
};

struct ReportPictureHit {
  ReportPicture picture;
  double score = 0;
  bool correct = false;
};

/// A caption as the query, and the pictures found, best first.
struct ReportTextQuery {
  std::string set;
  std::string text;
  std::vector<ReportPictureHit> hits;
};

struct ReportCaptionHit {
  std::string text;
  double score = 0;
  bool correct = false;
};

/// A picture as the query, and the captions found, best first.
struct ReportPictureQuery {
  std::string set;
  ReportPicture picture;
  std::string truth;  ///< a right caption
  std::vector<ReportCaptionHit> hits;
};

struct ReportInput {
  std::string title;
  std::string summary;                                     ///< a sentence or two under the title; may be empty
  std::vector<std::pair<std::string, std::string>> facts;  ///< name, value: mesh, model, parameters, time
  std::vector<StepMetrics> metrics;
  std::vector<ReportRow> rows;
  std::vector<ReportTextQuery> text_queries;
  std::vector<ReportPictureQuery> picture_queries;
  std::string config_toml;
};

/// The report as one HTML page that loads nothing: curves of the loss, learning rate, gradient norm and throughput, the
/// table of results, example retrievals, the run's facts and its config. Light or dark as the reader's system is; reads
/// on a phone. All text is escaped, and text that is not UTF-8 is shown with the offending bytes replaced. A part
/// without data is left out. At most `kMaxCurvePoints` points a curve: of more steps, each group's least and largest
/// value.
std::string render_report(const ReportInput& input);
inline constexpr int kMaxCurvePoints = 1200;

/// render_report, written atomically.
void write_report(const std::filesystem::path& path, const ReportInput& input);

}  // namespace triptych
