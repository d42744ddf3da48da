#include "report/page_parts.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "report/html.h"
#include "report/report_style.h"

namespace triptych::report::internal {
namespace {

constexpr std::size_t kMaxRanksShown = 32;
constexpr const char *kStep = "Step", *kPeers = "Other ranks", *kLoader = "Loader", *kCores = "Cores busy",
                     *kMemory = "Memory";

// The mean over the steps, in ms.
double ms_a_step(double seconds, const RankTime& rank) {
  return rank.steps > 0 ? seconds / static_cast<double>(rank.steps) * 1e3 : std::nan("");
}

// A narrow screen shows the label, where it has no room for columns.
std::string cell(std::string_view label, double value, std::string_view unit = "") {
  return fmt::format("<td data-label=\"{}\">{}{}</td>", label, std::isfinite(value) ? short_number(value) : "–",
                     std::isfinite(value) ? unit : "");
}

// What a rank's time went into, as one bar: work, waiting for other ranks, waiting for the loader.
std::string time_bar(const RankTime& rank) {
  if (!(rank.steps_s > 0)) return "<td class=\"bar-cell\">–</td>";
  const auto share = [&](double seconds) {
    return std::isfinite(seconds) ? std::clamp(seconds / rank.steps_s, 0.0, 1.0) * 100 : 0.0;
  };
  const double loader = share(rank.loader_wait_s), peers = std::min(share(rank.peer_wait_s), 100 - loader);
  const double work = 100 - loader - peers;
  return fmt::format(
      "<td class=\"bar-cell\"><span class=\"bar\" role=\"img\" aria-label=\"{:.0f} % work, {:.0f} % waiting for ranks, "
      "{:.0f} "
      "% waiting for the loader\"><i class=\"work\" style=\"width:{:.1f}%\"></i><i class=\"peers\" "
      "style=\"width:{:.1f}%\"></i><i class=\"loader\" style=\"width:{:.1f}%\"></i></span></td>",
      work, peers, loader, work, peers, loader);
}

}  // namespace

std::string page_begin(std::string_view title, std::string_view lead) {
  const std::string escaped = escape_html(title);
  return fmt::format(
      "{}<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<header>\n<h1>{}</h1>\n{}</header>\n<main>\n",
      kReportBegin, escaped, kReportStyle, escaped, lead);
}

std::string page_end() {
  return "</main>\n</body>\n</html>\n";
}

std::string heading_of(std::string_view key) {
  std::string heading(key);
  std::replace(heading.begin(), heading.end(), '_', ' ');
  if (const std::size_t dot = heading.find('.'); dot != std::string::npos) heading.replace(dot, 1, ": ");
  if (!heading.empty() && heading[0] >= 'a' && heading[0] <= 'z')
    heading[0] = static_cast<char>(heading[0] - 'a' + 'A');
  return heading;
}

std::string time_words(std::string_view time) {
  if (time.size() != 20 || time[10] != 'T' || time[19] != 'Z') return std::string(time);
  return fmt::format("{} {} UTC", time.substr(0, 10), time.substr(11, 5));
}

std::string rank_times(const std::vector<RankTime>& all) {
  if (all.empty()) return "";
  std::vector<RankTime> ranks = all;
  std::string note;
  if (ranks.size() > kMaxRanksShown) {
    // Those whom the others wait for.
    std::stable_sort(ranks.begin(), ranks.end(),
                     [](const RankTime& a, const RankTime& b) { return a.peer_wait_s < b.peer_wait_s; });
    ranks.resize(kMaxRanksShown);
    note = fmt::format(" Of {} ranks, the {} that wait least for others: the others wait for them.", all.size(),
                       kMaxRanksShown);
  }
  std::string text = fmt::format(
      "<h2>Time by rank</h2>\n<p class=\"muted\">Means over {} of the last part of the run: <span "
      "class=\"key\"><i "
      "class=\"work\"></i>work,</span> <span class=\"key\"><i class=\"peers\"></i>waiting for other ranks,</span> "
      "<span "
      "class=\"key\"><i class=\"loader\"></i>waiting for the loader.</span>{}</p>\n<div class=\"scroll\"><table "
      "class=\"ranks\">\n<thead><tr>",
      all.front().steps == 1 ? "one step" : fmt::format("{} steps", all.front().steps), note);
  for (const char* head : {"Rank", "Place", "Host", "Share of the time", kStep, kPeers, kLoader, kCores, kMemory}) {
    text += fmt::format("<th scope=\"col\">{}</th>", head);
  }
  text += "</tr></thead>\n<tbody>\n";
  for (const RankTime& rank : ranks) {
    text += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td><td><bdi>{}</bdi></td>{}", rank.rank,
                        escape_html(rank.place), escape_html(rank.host), time_bar(rank));
    text += cell(kStep, ms_a_step(rank.steps_s, rank), " ms") + cell(kPeers, ms_a_step(rank.peer_wait_s, rank), " ms") +
            cell(kLoader, ms_a_step(rank.loader_wait_s, rank), " ms") +
            cell(kCores, rank.steps_s > 0 ? rank.cpu_s / rank.steps_s : std::nan("")) +
            cell(kMemory, rank.rss_mb, " MB") + "</tr>\n";
  }
  return text + "</tbody>\n</table></div>\n";
}

std::string planned_beside_measured(const RunStatus& status) {
  if (!status.planned || status.ranks.empty() || status.ranks.front().steps == 0) return "";
  const PlannedStep& planned = *status.planned;
  double step = 0, wait = 0, peak = 0;
  for (const RankTime& rank : status.ranks) {
    const double share = 1e3 / static_cast<double>(status.ranks.size()) / static_cast<double>(rank.steps);
    step += share * (rank.steps_s - rank.loader_wait_s);
    wait += share * rank.peer_wait_s;
    if (rank.pool_peak_mb > peak) peak = rank.pool_peak_mb;
  }
  const auto number = [](double value) { return TableValue{.number = value}; };
  return render_panel(TablePanel{
      .title = "Planned and measured",
      .caption = fmt::format("What a step was expected to take on {}, and what it took: the mean of ranks and steps of "
                             "the last part of the run, without the loader. Memory is of the rank whose device's pool "
                             "held most, evaluations included.",
                             planned.cluster),
      .subject_head = "A step",
      .columns = {"ms", "of them waiting for ranks", "memory, MiB"},
      .subjects = {{"",
                    {},
                    {{"measured", {number(step), number(wait), number(peak > 0 ? peak : std::nan(""))}},
                     {"planned", {number(planned.step_ms), number(planned.wait_ms), number(planned.peak_mb)}}}}}});
}

std::string facts_table(std::string_view heading, const std::vector<std::pair<std::string, std::string>>& facts) {
  if (facts.empty()) return "";
  std::string text = fmt::format("<h2>{}</h2>\n<table class=\"facts\">\n", heading);
  for (const auto& [name, value] : facts) {
    text += fmt::format("<tr><th scope=\"row\">{}</th><td><bdi>{}</bdi></td></tr>\n", escape_html(name),
                        escape_html(value));
  }
  return text + "</table>\n";
}

std::string meanings_list(const std::vector<std::pair<std::string, std::string>>& meanings) {
  if (meanings.empty()) return "";
  std::string text = "<dl class=\"meanings\">\n";
  for (const auto& [name, meaning] : meanings) {
    text += fmt::format("<div><dt><bdi>{}</bdi></dt><dd><bdi>{}</bdi></dd></div>\n", escape_html(name),
                        escape_html(meaning));
  }
  return text + "</dl>\n";
}

}  // namespace triptych::report::internal
