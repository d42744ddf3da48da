#include <fmt/format.h>

#include "report/html.h"
#include "report/panel.h"
#include "report/panel_parts.h"

namespace triptych::report {
namespace {

std::string maps_html(const std::vector<ReportPicture>& maps) {
  if (maps.empty()) return "";
  std::string text = "<ul class=\"maps\">\n";
  for (const ReportPicture& map : maps) {
    text += fmt::format("<li><figure>{}<figcaption><bdi>{}</bdi></figcaption></figure></li>\n", image_html(map, ""),
                        escape_html(map.description));
  }
  return text + "</ul>";
}

}  // namespace

std::string render_panel(const ExamplesPanel& panel) {
  if (panel.examples.empty()) return "";
  std::string text = fmt::format("<h2>{}</h2>\n", escape_html(panel.title));
  if (!panel.caption.empty()) text += fmt::format("<p class=\"note\">{}</p>\n", escape_html(panel.caption));
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
    text += maps_html(example.maps);
    text += example.picture ? "</div></section>\n" : "</section>\n";
  }
  return text + groups.end();
}

}  // namespace triptych::report
