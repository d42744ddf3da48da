#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "report/html.h"
#include "report/panel.h"
#include "report/panel_parts.h"

namespace triptych::report {
namespace {

constexpr double kSide = 1000;  // of the drawing, whatever the picture's sides

// Nothing for a box that has numbers which are none.
std::string rectangle(const BoxesPanel::Box& box) {
  if (!std::isfinite(box.left + box.top + box.right + box.bottom)) return "";
  const auto inside = [](double share) { return kSide * std::clamp(share, 0.0, 1.0); };
  const double left = inside(box.left), top = inside(box.top);
  return fmt::format("<rect{} x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"><title>{}</title></rect>\n",
                     box.is_truth  ? " class=\"true\""
                     : box.correct ? " class=\"right\""
                                   : "",
                     left, top, std::max(0.0, inside(box.right) - left), std::max(0.0, inside(box.bottom) - top),
                     escape_html(box.text));
}

// Over the picture: what is there first, what a model says on it.
std::string drawing(const BoxesPanel::Example& example) {
  std::string text = fmt::format(
      "<figure class=\"drawn\">{}<svg viewBox=\"0 0 {:.0f} {:.0f}\" preserveAspectRatio=\"none\" "
      "aria-hidden=\"true\">\n",
      image_html(*example.picture, ""), kSide, kSide);
  for (const bool truth : {true, false}) {
    for (const BoxesPanel::Box& box : example.boxes) {
      if (box.is_truth == truth) text += rectangle(box);
    }
  }
  return text + "</svg></figure>\n";
}

// The same in words.
std::string lists(const BoxesPanel::Example& example) {
  std::string found, truths;
  for (const BoxesPanel::Box& box : example.boxes) {
    if (box.is_truth) {
      if (!box.text.empty()) truths += (truths.empty() ? "" : ", ") + escape_html(box.text);
      continue;
    }
    found +=
        fmt::format("<li{}><bdi>{}</bdi><span class=\"score\">{}</span></li>\n", box.correct ? " class=\"right\"" : "",
                    escape_html(box.text), score_html(box.score, box.correct));
  }
  std::string text = found.empty() ? "" : "<ol class=\"captions\">\n" + found + "</ol>";
  if (!truths.empty()) text += fmt::format("<p class=\"truth\">It is: <bdi>{}</bdi></p>", truths);
  return text;
}

}  // namespace

std::string render_panel(const BoxesPanel& panel) {
  std::string text;
  ItemGroups groups;
  for (const BoxesPanel::Example& example : panel.examples) {
    if (!example.picture) continue;
    if (text.empty()) {
      text = fmt::format("<h2>{}</h2>\n", escape_html(panel.title));
      if (!panel.caption.empty()) text += fmt::format("<p class=\"note\">{}</p>\n", escape_html(panel.caption));
    }
    text += groups.before(example.group, "scenes") + "<section class=\"query\">";
    if (!example.asked.empty()) text += fmt::format("<p class=\"ask\"><bdi>{}</bdi></p>\n", escape_html(example.asked));
    text += drawing(example) + lists(example) + "</section>\n";
  }
  return text + groups.end();
}

}  // namespace triptych::report
