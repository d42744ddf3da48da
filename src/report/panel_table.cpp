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
      "<div class=\"scroll\"><table class=\"results\">\n<thead><tr><th scope=\"col\">{}</th><th scope=\"col\"></th>",
      escape_html(panel.subject_head));
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
  std::vector<std::string> sources;
  for (const TablePanel::Subject& subject : panel.subjects) {
    for (const TablePanel::Row& row : subject.rows) {
      if (std::find(sources.begin(), sources.end(), row.source) == sources.end()) sources.push_back(row.source);
    }
  }
  // Two lines of heads: the sources, each over its columns. Then cells[line][column].
  std::vector<std::vector<std::string>> cells(2 + panel.subjects.size());
  const auto put = [&](std::size_t line, std::string text) { cells[line].push_back(std::move(text)); };
  put(0, "");
  put(1, panel.subject_head);
  std::size_t num_notes = 0;
  for (const TablePanel::Subject& subject : panel.subjects) num_notes = std::max(num_notes, subject.notes.size());
  for (std::size_t n = 0; n < 2 * num_notes; ++n) put(n % 2, "");
  for (const std::string& source : sources) {
    for (std::size_t c = 0; c < panel.columns.size(); ++c) {
      put(0, c == 0 ? source : "");
      put(1, panel.columns[c]);
    }
  }
  for (std::size_t s = 0; s < panel.subjects.size(); ++s) {
    const TablePanel::Subject& subject = panel.subjects[s];
    put(2 + s, subject.name);
    for (std::size_t n = 0; n < num_notes; ++n) put(2 + s, n < subject.notes.size() ? subject.notes[n] : "");
    for (const std::string& source : sources) {
      const auto row = std::find_if(subject.rows.begin(), subject.rows.end(),
                                    [&](const TablePanel::Row& each) { return each.source == source; });
      for (std::size_t c = 0; c < panel.columns.size(); ++c) {
        put(2 + s, row == subject.rows.end() ? "-" : cell_text(value_at(*row, c)));
      }
    }
  }
  std::vector<std::size_t> widths(cells[1].size(), 0);
  for (std::size_t line = 0; line < cells.size(); ++line) {
    for (std::size_t c = 0; c < widths.size(); ++c) widths[c] = std::max(widths[c], width_of(cells[line][c]));
  }
  std::string text;
  for (const std::vector<std::string>& line : cells) {
    std::string row;
    for (std::size_t c = 0; c < widths.size(); ++c) row += padded(line[c], widths[c], c > num_notes) + "  ";
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + '\n';
  }
  return text;
}

}  // namespace triptych::report
