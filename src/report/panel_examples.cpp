#include <fmt/format.h>

#include "report/html.h"
#include "report/panel.h"
#include "report/panel_parts.h"

namespace triptych::report {

std::string render_panel(const ExamplesPanel& panel) {
  if (panel.examples.empty()) return "";
  std::string text = fmt::format("<h2>{}</h2>\n", escape_html(panel.title));
  ItemGroups groups;
  for (const ExamplesPanel::Example& example : panel.examples) {
    text += groups.before(example.group, example.picture ? "pictures" : "texts");
    text += "<section class=\"query\">";
    if (example.picture) text += fmt::format("<div>{}</div><div>", image_html(*example.picture, "asked"));
    if (!example.asked.empty()) text += fmt::format("<p class=\"ask\"><bdi>{}</bdi></p>\n", escape_html(example.asked));
    text += fmt::format(
        "<ol class=\"captions\">\n<li{}><bdi>{}</bdi><span class=\"score\">{}</span></li>\n</ol>"
        "<p class=\"truth\">It is: <bdi>{}</bdi></p>",
        example.correct ? " class=\"right\"" : "", escape_html(example.produced),
        score_html(example.score, example.correct), escape_html(example.truth));
    text += example.picture ? "</div></section>\n" : "</section>\n";
  }
  return text + groups.end();
}

}  // namespace triptych::report
