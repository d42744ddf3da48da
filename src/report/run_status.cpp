#include "report/run_status.h"

#include <array>
#include <stdexcept>
#include <system_error>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "report/json_number.h"

namespace triptych::report {
namespace {

using Json = nlohmann::ordered_json;
using internal::count_in;
using internal::number_in;

constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
constexpr std::array<std::string_view, 4> kPhases{"running", "finished", "stopped", "failed"};

Json to(const RankTime& time) {
  return {{"rank", time.rank},
          {"host", time.host},
          {"place", time.place},
          {"steps", time.steps},
          {"steps_s", time.steps_s},
          {"loader_wait_s", time.loader_wait_s},
          {"cpu_s", time.cpu_s},
          {"rss_mb", time.rss_mb},
          {"peer_wait_s", time.peer_wait_s},
          {"pool_peak_mb", time.pool_peak_mb}};
}

RankTime to_rank_time(const Json& json) {
  return {.rank = count_in(json.at("rank")),
          .host = json.at("host").get<std::string>(),
          .place = json.at("place").get<std::string>(),
          .steps = count_in(json.at("steps")),
          .steps_s = number_in(json.at("steps_s")),
          .loader_wait_s = number_in(json.at("loader_wait_s")),
          .peer_wait_s = number_in(json.at("peer_wait_s")),
          .cpu_s = number_in(json.at("cpu_s")),
          .rss_mb = number_in(json.at("rss_mb")),
          // Runs of before there was one have none.
          .pool_peak_mb = number_in(json.value("pool_peak_mb", Json()))};
}

Json to(const PlannedStep& planned) {
  return {{"cluster", planned.cluster},
          {"step_ms", planned.step_ms},
          {"wait_ms", planned.wait_ms},
          {"peak_mb", planned.peak_mb}};
}

PlannedStep to_planned(const Json& json) {
  return {.cluster = json.at("cluster").get<std::string>(),
          .step_ms = number_in(json.at("step_ms")),
          .wait_ms = number_in(json.at("wait_ms")),
          .peak_mb = number_in(json.at("peak_mb"))};
}

}  // namespace

std::string_view phase_name(RunPhase phase) {
  return kPhases.at(static_cast<std::size_t>(phase));
}

std::string status_to_json(const RunStatus& status) {
  Json facts = Json::object(), ranks = Json::array();
  for (const auto& [name, value] : status.facts) facts[name] = value;
  for (const RankTime& rank : status.ranks) ranks.push_back(to(rank));
  Json json{{"format", kStatusFormat},
            {"version", 1},
            {"state", phase_name(status.phase)},
            {"step", status.step},
            {"last_step", status.last_step},
            {"message", status.message},
            {"started", status.started},
            {"updated", status.updated},
            {"program", status.program},
            {"facts", facts},
            {"ranks", ranks}};
  if (status.planned) json["planned"] = to(*status.planned);
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

RunStatus status_from_json(std::string_view text, std::string_view where) {
  const auto refuse = [&](std::string_view found) {
    throw UserError(where, fmt::format("must be what a run of this version writes, found {}. Move the file away: the "
                                       "report then says less of how the run went",
                                       found));
  };
  RunStatus status;
  try {
    const Json json = Json::parse(text);
    if (json.at("format") != kStatusFormat) refuse("another format");
    if (json.at("version") != 1) refuse("another version");
    const auto state = json.at("state").get<std::string>();
    std::size_t place = 0;
    while (place < kPhases.size() && kPhases[place] != state) ++place;
    if (place == kPhases.size()) refuse(fmt::format("the state '{}'", state));
    status.phase = static_cast<RunPhase>(place);
    status.step = count_in(json.at("step"));
    status.last_step = count_in(json.at("last_step"));
    status.message = json.at("message").get<std::string>();
    status.started = json.at("started").get<std::string>();
    status.updated = json.at("updated").get<std::string>();
    status.program = json.at("program").get<std::string>();
    for (const auto& [name, value] : json.at("facts").items()) status.facts.emplace_back(name, value);
    for (const Json& rank : json.at("ranks")) status.ranks.push_back(to_rank_time(rank));
    if (json.contains("planned")) status.planned = to_planned(json.at("planned"));
  } catch (const nlohmann::json::exception& error) {
    refuse(error.what());
  } catch (const std::invalid_argument& error) {
    refuse(error.what());
  }
  return status;
}

std::optional<RunStatus> read_status(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kStatusName;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  if (File::open_read(path).size() > kMaxBytes) {
    throw UserError(path.string(), fmt::format("must not have more than {} bytes. Move the file away", kMaxBytes));
  }
  return status_from_json(read_text_file(path, kMaxBytes), path.string());
}

std::string to_text(const RankTime& time) {
  return to(time).dump(-1, ' ', false, Json::error_handler_t::replace);
}

RankTime rank_time_from_text(std::string_view text) {
  return to_rank_time(Json::parse(text));
}

}  // namespace triptych::report
