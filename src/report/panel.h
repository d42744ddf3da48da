#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/rooms.h"

namespace triptych::report {

// What a report can show besides curves. Panels are plain data: they name no model and no loss, and all their text is
// escaped where they are rendered. A panel without data is left out of the page.

/// A picture as PNG bytes, and the words for those who do not see it.
struct ReportPicture {
  std::vector<std::byte> png;
  std::string description;
};

/// A number of a table, or words where `text` is not empty.
struct TableValue {
  double number = std::numeric_limits<double>::quiet_NaN();  ///< not finite: there is none
  bool is_share = false;                                     ///< 0 to 1: shown in percent, with a bar
  std::string text;
  /// What it has more than the number that its row is to be compared with, printed beside it; not finite: none.
  double change = std::numeric_limits<double>::quiet_NaN();
};

/// Results of several sources side by side: for each subject (a data set, say) a row for each source (the model,
/// chance, a baseline), with the same columns.
struct TablePanel {
  struct Row {
    std::string source;              ///< "model", "chance"
    std::vector<TableValue> values;  ///< by column; missing ones at the end are empty
  };
  struct Subject {
    std::string name;                ///< "unseen style"
    std::vector<std::string> notes;  ///< below the name: "text to image", "153 queries"
    std::vector<Row> rows;           ///< the first one is the one that matters, the others are to compare with
  };
  std::string title;                 ///< "Results"
  std::string caption;               ///< what the numbers mean, in a sentence; may be empty
  std::string subject_head;          ///< "Set and direction"
  std::vector<std::string> columns;  ///< "Recall@1", "Recall@5"
  std::vector<Subject> subjects;
};

/// Queries with what was found for each, best first. Queries and hits may be pictures, text or both.
struct GalleryPanel {
  struct Hit {
    std::optional<ReportPicture> picture;
    std::string text;
    double score = std::numeric_limits<double>::quiet_NaN();
    bool correct = false;
  };
  struct Query {
    std::string group;  ///< queries of one group, such as a data set, stand under its name
    std::optional<ReportPicture> picture;
    std::string text;
    std::string truth;  ///< a right answer, said where no hit is correct; may be empty
    std::vector<Hit> hits;
  };
  std::string title;
  std::vector<Query> queries;
};

/// How often samples of one class were taken for another. Up to `kMaxConfusionClasses` classes a square, a row a true
/// class; of more the pairs that are confused most often.
struct ConfusionPanel {
  struct Cell {
    int64_t truth = 0, predicted = 0;  ///< from 0, below the number of classes
    int64_t count = 0;
  };
  std::string title;
  std::string caption;
  std::vector<std::string> class_names;
  std::vector<Cell> cells;  ///< those that are not zero, at most one a pair
};
inline constexpr std::size_t kMaxConfusionClasses = 40;
inline constexpr std::size_t kNumConfusedPairs = 20;

/// What a model made of some samples, beside what is right: captions, classes, answers; and where it looked for that.
struct ExamplesPanel {
  struct Example {
    std::string group;
    std::optional<ReportPicture> picture;
    std::string asked;  ///< a question; may be empty
    std::string truth;
    std::string produced;
    double score = std::numeric_limits<double>::quiet_NaN();
    bool correct = false;
    std::vector<ReportPicture> maps = {};  ///< of the picture, each with its description below
  };
  std::string title;
  std::string caption = {};  ///< what the maps mean, in a sentence; may be empty
  std::vector<Example> examples;
};

/// Boxes on pictures: where something is, and where a model says that it is. Examples without a picture are left out.
struct BoxesPanel {
  struct Box {
    double left = 0, top = 0, right = 0, bottom = 0;  ///< shares of the picture's sides
    std::string text;                                 ///< what is in it
    bool is_truth = false;                            ///< drawn behind the others
    bool correct = false;                             ///< of what a model says
    double score = std::numeric_limits<double>::quiet_NaN();
  };
  struct Example {
    std::string group;
    std::optional<ReportPicture> picture;
    std::string asked;  ///< a phrase; may be empty
    std::vector<Box> boxes;
  };
  std::string title;
  std::string caption;  ///< what the lines mean, in a sentence; may be empty
  std::vector<Example> examples;
};

using Panel = std::variant<TablePanel, GalleryPanel, ConfusionPanel, ExamplesPanel, BoxesPanel>;

/// A panel as HTML with its heading; "" if it has nothing to show. Throws InternalError if a cell names no class or a
/// row has more values than the table has columns.
std::string render_panel(const TablePanel& panel);
std::string render_panel(const GalleryPanel& panel);
std::string render_panel(const ConfusionPanel& panel);
std::string render_panel(const ExamplesPanel& panel);
std::string render_panel(const BoxesPanel& panel);

/// A table as plain text for a terminal: a line of each subject, and below it one of each of its sources; of a subject
/// that has the first source alone, one line in all. "" if it has nothing to show.
std::string format_table(const TablePanel& panel);

}  // namespace triptych::report
