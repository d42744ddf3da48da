#include "report/panel_parts.h"

#include <cmath>

#include <fmt/format.h>

#include "report/html.h"

namespace triptych::report {

std::string image_html(const ReportPicture& picture, std::string_view css_class) {
  return fmt::format("<img{} src=\"data:image/png;base64,{}\" alt=\"{}\">",
                     css_class.empty() ? "" : fmt::format(" class=\"{}\"", css_class), base64(picture.png),
                     escape_html(picture.description));
}

std::string score_html(double score, bool correct) {
  const std::string number = std::isfinite(score) ? fmt::format("{:.3f}", score) : "";
  return number + (correct ? number.empty() ? "✓" : " ✓" : "");
}

std::string ItemGroups::before(std::string_view group, std::string_view css_class) {
  if (is_open_ && group == group_ && css_class == css_class_) return "";
  std::string text = end();
  if (!group.empty() && (!is_open_ || group != group_))
    text += fmt::format("<h3><bdi>{}</bdi></h3>\n", escape_html(group));
  text += fmt::format("<div class=\"{}\">\n", css_class);
  group_ = group;
  css_class_ = css_class;
  is_open_ = true;
  return text;
}

}  // namespace triptych::report
