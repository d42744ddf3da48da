#include <algorithm>
#include <span>

#include <fmt/format.h>

#include "base/error.h"
#include "report/html.h"
#include "report/panel.h"

namespace triptych::report {
namespace {

using Cell = ConfusionPanel::Cell;

// counts[truth * num_classes + predicted]. A cell's colour is its share of the row; the diagonal's colour is the one of
// what is right.
std::string square(const ConfusionPanel& panel) {
  const std::size_t n = panel.class_names.size();
  std::vector<int64_t> counts(n * n, 0), totals(n, 0);
  for (const Cell& cell : panel.cells) {
    const auto row = static_cast<std::size_t>(cell.truth);
    counts[row * n + static_cast<std::size_t>(cell.predicted)] += cell.count;
    totals[row] += cell.count;
  }
  std::string text =
      "<div class=\"scroll\"><table class=\"confusion\">\n<thead><tr><th scope=\"col\">It is / taken for</th>";
  for (const std::string& name : panel.class_names) {
    text += fmt::format("<th scope=\"col\"><bdi>{}</bdi></th>", escape_html(name));
  }
  text += "</tr></thead>\n<tbody>\n";
  for (std::size_t row = 0; row < n; ++row) {
    text += fmt::format("<tr><th scope=\"row\"><bdi>{}</bdi></th>", escape_html(panel.class_names[row]));
    for (std::size_t column = 0; column < n; ++column) {
      const int64_t count = counts[row * n + column];
      if (count == 0) {
        text += "<td></td>";
        continue;
      }
      const double share = static_cast<double>(count) / static_cast<double>(totals[row]);
      text += fmt::format("<td class=\"{}\" style=\"--share:{:.1f}%\">{}</td>", row == column ? "same" : "mixed",
                          100 * share, count);
    }
    text += "</tr>\n";
  }
  return text + "</tbody>\n</table></div>\n";
}

std::string most_confused(const ConfusionPanel& panel) {
  std::vector<Cell> wrong;
  std::vector<int64_t> totals(panel.class_names.size(), 0);
  for (const Cell& cell : panel.cells) {
    totals[static_cast<std::size_t>(cell.truth)] += cell.count;
    if (cell.truth != cell.predicted && cell.count > 0) wrong.push_back(cell);
  }
  std::sort(wrong.begin(), wrong.end(), [](const Cell& a, const Cell& b) {
    return std::tuple(-a.count, a.truth, a.predicted) < std::tuple(-b.count, b.truth, b.predicted);
  });
  wrong.resize(std::min(wrong.size(), kNumConfusedPairs));
  std::string text =
      "<div class=\"scroll\"><table class=\"confused\">\n<thead><tr><th scope=\"col\">It is</th>"
      "<th scope=\"col\">Taken for</th><th scope=\"col\">Times</th></tr></thead>\n<tbody>\n";
  for (const Cell& cell : wrong) {
    text += fmt::format("<tr><td><bdi>{}</bdi></td><td><bdi>{}</bdi></td><td>{} of {}</td></tr>\n",
                        escape_html(panel.class_names[static_cast<std::size_t>(cell.truth)]),
                        escape_html(panel.class_names[static_cast<std::size_t>(cell.predicted)]), cell.count,
                        totals[static_cast<std::size_t>(cell.truth)]);
  }
  return text + "</tbody>\n</table></div>\n";
}

}  // namespace

std::string render_panel(const ConfusionPanel& panel) {
  const auto num_classes = static_cast<int64_t>(panel.class_names.size());
  for (const Cell& cell : panel.cells) {
    TRIPTYCH_CHECK(cell.truth >= 0 && cell.truth < num_classes && cell.predicted >= 0 && cell.predicted < num_classes,
                   "class {} taken for {}, of {} classes", cell.truth, cell.predicted, num_classes);
  }
  if (panel.cells.empty()) return "";
  std::string text = fmt::format("<h2>{}</h2>\n", escape_html(panel.title));
  if (!panel.caption.empty()) text += fmt::format("<p class=\"muted\">{}</p>\n", escape_html(panel.caption));
  return text + (panel.class_names.size() <= kMaxConfusionClasses ? square(panel) : most_confused(panel));
}

}  // namespace triptych::report
