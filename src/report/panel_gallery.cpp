#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "report/html.h"
#include "report/panel.h"
#include "report/panel_parts.h"

namespace triptych::report {
namespace {

std::string picture_hits(const std::vector<GalleryPanel::Hit>& hits) {
  std::string text = "<ol class=\"hits\">\n";
  for (const GalleryPanel::Hit& hit : hits) {
    std::string words = score_html(hit.score, hit.correct);
    if (!hit.text.empty()) words += fmt::format(" <bdi>{}</bdi>", escape_html(hit.text));
    text += fmt::format("<li{}><figure>{}<figcaption>{}</figcaption></figure></li>\n",
                        hit.correct ? " class=\"right\"" : "", hit.picture ? image_html(*hit.picture, "") : "", words);
  }
  return text + "</ol>";
}

std::string text_hits(const std::vector<GalleryPanel::Hit>& hits) {
  std::string text = "<ol class=\"captions\">\n";
  for (const GalleryPanel::Hit& hit : hits) {
    text +=
        fmt::format("<li{}><bdi>{}</bdi><span class=\"score\">{}</span></li>\n", hit.correct ? " class=\"right\"" : "",
                    escape_html(hit.text), score_html(hit.score, hit.correct));
  }
  return text + "</ol>";
}

std::string hits_html(const GalleryPanel::Query& query) {
  const auto has_picture = [](const GalleryPanel::Hit& hit) { return hit.picture.has_value(); };
  const auto is_correct = [](const GalleryPanel::Hit& hit) { return hit.correct; };
  std::string text =
      std::any_of(query.hits.begin(), query.hits.end(), has_picture) ? picture_hits(query.hits) : text_hits(query.hits);
  if (!query.truth.empty() && std::none_of(query.hits.begin(), query.hits.end(), is_correct)) {
    text += fmt::format("<p class=\"truth\">It is: <bdi>{}</bdi></p>", escape_html(query.truth));
  }
  return text;
}

}  // namespace

std::string render_panel(const GalleryPanel& panel) {
  if (panel.queries.empty()) return "";
  std::string text = fmt::format("<h2>{}</h2>\n", escape_html(panel.title));
  ItemGroups groups;
  for (const GalleryPanel::Query& query : panel.queries) {
    text += groups.before(query.group, query.picture ? "pictures" : "texts");
    const std::string asked =
        query.text.empty() ? "" : fmt::format("<p class=\"ask\"><bdi>{}</bdi></p>\n", escape_html(query.text));
    text += "<section class=\"query\">";
    text += query.picture ? fmt::format("<div>{}</div><div>{}{}</div>", image_html(*query.picture, "asked"), asked,
                                        hits_html(query))
                          : asked + hits_html(query);
    text += "</section>\n";
  }
  return text + groups.end();
}

}  // namespace triptych::report
