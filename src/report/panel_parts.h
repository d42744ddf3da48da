#pragma once

#include <string>
#include <string_view>

#include "report/panel.h"

namespace triptych::report {

/// An `<img>` that holds its picture itself.
std::string image_html(const ReportPicture& picture, std::string_view css_class);

/// "0.750 ✓": the mark says in words too what the colour says. A score that is not finite is left out.
std::string score_html(double score, bool correct);

/// Opens and closes the groups of a panel's items: a heading where the group's name or the layout changes, then a
/// `<div>` of that class around the items.
class ItemGroups {
 public:
  /// The HTML that goes before an item of `group`.
  std::string before(std::string_view group, std::string_view css_class);
  /// The HTML after the last item.
  std::string end() const { return is_open_ ? "</div>\n" : ""; }

 private:
  std::string group_, css_class_;
  bool is_open_ = false;
};

}  // namespace triptych::report
