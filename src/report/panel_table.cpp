#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "report/html.h"
#include "report/panel.h"
#include "report/svg_curve.h"

namespace triptych::report {
namespace {

// Of a share in points of percent.
std::string change_html(const TableValue& value) {
  if (!std::isfinite(value.change)) return "";
  const char* const sign = value.change < 0 ? "−" : "+";
  const double size = std::abs(value.change);
  return fmt::format(" <span class=\"change\">{}{}</span>", sign,
                     value.is_share ? fmt::format("{:.1f}", 100 * size) : short_number(size));
}

std::string cell_html(const TableValue& value) {
  if (!value.text.empty()) return fmt::format("<td><bdi>{}</bdi></td>", escape_html(value.text));
  if (!std::isfinite(value.number)) return "<td>–</td>";
  const std::string change = change_html(value);
  if (!value.is_share) return fmt::format("<td>{}{}</td>", short_number(value.number), change);
  const double percent = 100 * std::clamp(value.number, 0.0, 1.0);
  return fmt::format("<td><span class=\"value\" style=\"background-size:{:.1f}% 4px\">{:.{}f} %{}</span></td>", percent,
                     100 * value.number, percent < 9.995 ? 2 : 1, change);
}

std::string cell_text(const TableValue& value) {
  if (!value.text.empty()) return value.text;
  if (!std::isfinite(value.number)) return "-";
  const auto words = [&](double number) {
    return value.is_share ? fmt::format("{:.4f}", number) : short_number(number);
  };
  if (!std::isfinite(value.change)) return words(value.number);
  return fmt::format("{} ({}{})", words(value.number), value.change < 0 ? "-" : "+", words(std::abs(value.change)));
}

TableValue value_at(const TablePanel::Row& row, std::size_t column) {
  return column < row.values.size() ? row.values[column] : TableValue{};
}

void check(const TablePanel& panel) {
  for (const TablePanel::Subject& subject : panel.subjects) {
    for (const TablePanel::Row& row : subject.rows) {
      TRIPTYCH_CHECK(row.values.size() <= panel.columns.size(), "{} values of '{}' for {} columns", row.values.size(),
                     row.source, panel.columns.size());
    }
  }
}

// Columns that a terminal gives to UTF-8 text of narrow characters.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string padded(std::string_view text, std::size_t width, bool right) {
  const std::string spaces(width - std::min(width, width_of(text)), ' ');
  return right ? spaces + std::string(text) : std::string(text) + spaces;
}

}  // namespace

std::string render_panel(const TablePanel& panel) {
  check(panel);
  if (panel.subjects.empty()) return "";
  std::string text = fmt::format("<h2>{}</h2>\n", escape_html(panel.title));
  if (!panel.caption.empty()) text += fmt::format("<p class=\"muted\">{}</p>\n", escape_html(panel.caption));
  text += fmt::format(
      "<div class=\"scroll\"><table class=\"results\" style=\"--columns:{}\">\n<thead><tr><th scope=\"col\">{}</th><th "
      "scope=\"col\"></th>",
      panel.columns.size(), escape_html(panel.subject_head));
  for (const std::string& column : panel.columns) text += fmt::format("<th scope=\"col\">{}</th>", escape_html(column));
  text += "</tr></thead>\n";
  for (const TablePanel::Subject& subject : panel.subjects) {
    text += "<tbody>\n";
    for (std::size_t r = 0; r < subject.rows.size(); ++r) {
      text += r == 0 ? "<tr class=\"model\">" : "<tr class=\"other\">";
      if (r == 0) {
        text += fmt::format("<th scope=\"rowgroup\" class=\"what\" rowspan=\"{}\"><b><bdi>{}</bdi></b>",
                            subject.rows.size(), escape_html(subject.name));
        for (const std::string& note : subject.notes) text += fmt::format("<span>{}</span>", escape_html(note));
        text += "</th>";
      }
      text += fmt::format("<th scope=\"row\">{}</th>", escape_html(subject.rows[r].source));
      for (std::size_t c = 0; c < panel.columns.size(); ++c) text += cell_html(value_at(subject.rows[r], c));
      text += "</tr>\n";
    }
    text += "</tbody>\n";
  }
  return text + "</table></div>\n";
}

std::string format_table(const TablePanel& panel) {
  check(panel);
  if (panel.subjects.empty()) return "";
  // cells[line][column]: a line of a subject, then one of each of its rows; of a subject with the model's alone, one.
  std::vector<std::vector<std::string>> cells{{panel.subject_head}};
  cells[0].insert(cells[0].end(), panel.columns.begin(), panel.columns.end());
  const auto put = [&](const std::string& label, const TablePanel::Row* row) {
    std::vector<std::string>& line = cells.emplace_back(1, label);
    for (std::size_t c = 0; row != nullptr && c < panel.columns.size(); ++c) {
      line.push_back(cell_text(value_at(*row, c)));
    }
  };
  const std::vector<TablePanel::Row>& first = panel.subjects.front().rows;
  for (const TablePanel::Subject& subject : panel.subjects) {
    std::string label = subject.name;
    for (const std::string& note : subject.notes) label += "  " + note;
    const bool is_alone = subject.rows.size() == 1 && !first.empty() && subject.rows[0].source == first[0].source;
    put(label, is_alone ? &subject.rows[0] : nullptr);
    for (std::size_t r = 0; !is_alone && r < subject.rows.size(); ++r) {
      put("  " + subject.rows[r].source, &subject.rows[r]);
    }
  }
  std::vector<std::size_t> widths(cells[0].size(), 0);
  for (const std::vector<std::string>& line : cells) {
    for (std::size_t c = 0; c < line.size(); ++c) widths[c] = std::max(widths[c], width_of(line[c]));
  }
  std::string text;
  for (const std::vector<std::string>& line : cells) {
    std::string row;
    for (std::size_t c = 0; c < line.size(); ++c) row += padded(line[c], widths[c], c > 0) + "  ";
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + '\n';
  }
  return text;
}

}  // namespace triptych::report
