#include "checkpoint/checkpoint_writer.h"

#include <exception>
#include <map>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/strict_json.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/coverage.h"
#include "checkpoint/owned_folder.h"
#include "checkpoint/safetensors.h"
#include "parallel/agreement.h"

namespace triptych::checkpoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kMaxReportDepth = 8;

std::string rank_file_name(int rank) {
  return fmt::format("rank_{:05}.safetensors", rank);
}

/// The name of a piece in its file: the tensor's, with the place where a rank owns several pieces of one tensor.
std::vector<std::string> piece_keys(std::span<const TensorPiece> pieces) {
  std::map<std::string_view, int> count;
  for (const TensorPiece& piece : pieces) ++count[piece.name];
  std::vector<std::string> keys;
  for (const TensorPiece& piece : pieces) {
    std::string key = piece.name;
    if (count[piece.name] > 1) {
      for (std::size_t d = 0; d < piece.begin.size(); ++d)
        key += fmt::format("{}{}", d == 0 ? "@" : ",", piece.begin[d]);
    }
    keys.push_back(std::move(key));
  }
  return keys;
}

/// Writes this rank's file. Returns its report: {"bytes", "xxh3_128", "pieces": [...]}.
std::string write_rank_file(const fs::path& temporary, int rank, const RunState& state,
                            std::span<const TensorPiece> pieces) {
  if (!fs::is_directory(temporary)) {
    throw WorldError(temporary.string(),
                     "the folder that rank 0 made must be seen by every rank, found nothing. Put run.dir on storage "
                     "that all nodes share.");
  }
  const std::vector<std::string> keys = piece_keys(pieces);
  std::vector<SafetensorsInput> inputs;
  std::map<std::string, std::string> metadata{
      {"format", "triptych-checkpoint"}, {"step", fmt::format("{}", state.step)}, {"rank", fmt::format("{}", rank)}};
  json report = {{"pieces", json::array()}};
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const TensorPiece& piece = pieces[i];
    TRIPTYCH_CHECK(is_inside(piece), "piece {} at {} of `{}` {}", format_shape(piece.shape), format_shape(piece.begin),
                   piece.name, format_shape(piece.global_shape));
    inputs.push_back({keys[i], piece.dtype, piece.shape, piece.data});
    const json place = {{"name", piece.name}, {"global_shape", piece.global_shape}, {"begin", piece.begin}};
    metadata["tensor:" + keys[i]] = place.dump();
    report["pieces"].push_back({{"name", piece.name},
                                {"dtype", safetensors_dtype_name(piece.dtype)},
                                {"global_shape", piece.global_shape},
                                {"key", keys[i]},
                                {"begin", piece.begin},
                                {"shape", piece.shape}});
  }
  const WrittenFile written = write_safetensors(temporary / rank_file_name(rank), inputs, metadata);
  report["bytes"] = written.bytes;
  report["xxh3_128"] = written.hash.hex();
  return report.dump();
}

Manifest make_manifest(const RunState& state, std::span<const std::string> reports) {
  Manifest manifest;
  manifest.run = state;
  manifest.world_size = static_cast<int64_t>(reports.size());
  for (std::size_t rank = 0; rank < reports.size(); ++rank) {
    const json report = parse_strict_json(reports[rank], kMaxReportDepth, fmt::format("report of rank {}", rank));
    manifest.files.push_back({rank_file_name(static_cast<int>(rank)), report.at("bytes").get<uint64_t>(),
                              report.at("xxh3_128").get<std::string>()});
    for (const json& piece : report.at("pieces")) {
      const auto name = piece.at("name").get<std::string>();
      DType dtype{};
      TRIPTYCH_CHECK(parse_safetensors_dtype(piece.at("dtype").get<std::string>(), dtype), "dtype of `{}`", name);
      const auto shape = piece.at("global_shape").get<std::vector<int64_t>>();
      ManifestTensor& tensor = manifest.tensors.try_emplace(name, ManifestTensor{dtype, shape, {}}).first->second;
      TRIPTYCH_CHECK(tensor.dtype == dtype && tensor.shape == shape,
                     "rank {} saves `{}` as {} {}, another rank as {} {}", rank, name, dtype_name(dtype),
                     format_shape(shape), dtype_name(tensor.dtype), format_shape(tensor.shape));
      tensor.pieces.push_back({rank, piece.at("key").get<std::string>(), piece.at("begin").get<std::vector<int64_t>>(),
                               piece.at("shape").get<std::vector<int64_t>>()});
    }
  }
  for (const auto& [name, tensor] : manifest.tensors) {
    const std::string broken = check_exact_cover(tensor);
    TRIPTYCH_CHECK(broken.empty(), "the ranks' pieces of `{}`: {}", name, broken);
  }
  return manifest;
}

/// Reads the committed manifest back and compares it and the sizes of the files with what was written.
void verify_committed(const fs::path& folder, const std::string& manifest_text, const Manifest& manifest) {
  if (read_text_file(folder / kManifestName, manifest_text.size()) != manifest_text) {
    throw WorldError((folder / kManifestName).string(), "must read back as it was written, found other contents");
  }
  for (const ManifestFile& file : manifest.files) {
    const uint64_t bytes = File::open_read(folder / file.name).size();
    if (bytes != file.bytes) {
      throw WorldError((folder / file.name).string(),
                       fmt::format("must have the {} bytes that were written, found {}", file.bytes, bytes));
    }
  }
}

void write_new_file(const fs::path& path, std::string_view contents) {
  File file = File::create(path);
  file.write(contents);
  file.sync_and_close();
}

}  // namespace

CheckpointWriter::CheckpointWriter(std::filesystem::path folder, int64_t keep, Group& group)
    : folder_(std::move(folder)), keep_(keep), group_(group) {
  TRIPTYCH_CHECK(keep_ >= 0, "keep is {}", keep_);
}

SaveResult CheckpointWriter::save(const RunState& state, std::span<const TensorPiece> pieces,
                                  std::span<const ExtraFile> extra_files) {
  const std::string name = step_folder_name(state.step);
  const fs::path temporary = folder_ / (name + ".tmp"), final_folder = folder_ / name;
  const bool is_first = group_.rank() == 0;
  bool is_made = false;  // the temporary folder, and not committed yet
  std::vector<std::string> extra_names, warnings;
  for (const ExtraFile& extra : extra_files) extra_names.push_back(extra.name);
  const auto on_all_ranks = [&](std::string_view doing, const std::function<std::string()>& work) {
    try {
      return together(
          group_,
          {.where = "checkpoint",
           .doing = fmt::format("{} checkpoint {}", doing, final_folder.string()),
           .remedy = "Earlier checkpoints are untouched. Free space or correct what stopped it, then resume."},
          work);
    } catch (...) {
      // All ranks have finished their work here, so nobody writes into it any more. What resists, the next save
      // removes.
      try {
        if (is_made) remove_owned(temporary, extra_names);
      } catch (const std::exception&) {
      }
      throw;
    }
  };

  on_all_ranks("begin", [&]() -> std::string {
    if (!is_first) return "";
    fs::create_directories(folder_);
    name_killed_save(folder_, warnings);
    remove_leftovers(folder_, extra_names);
    if (fs::exists(fs::symlink_status(temporary))) warnings.push_back(set_aside(temporary));
    is_made = fs::create_directory(temporary);
    return "";
  });
  const std::vector<std::string> reports =
      on_all_ranks("write its part of", [&] { return write_rank_file(temporary, group_.rank(), state, pieces); });

  SaveResult result{final_folder, 0, {}, {}};
  const std::vector<std::string> outcome = on_all_ranks("commit", [&]() -> std::string {
    if (!is_first) return "";
    Manifest manifest = make_manifest(state, reports);
    const std::vector<SavedStep> saves = list_saves(folder_);
    manifest.save_number = saves.empty() ? 1 : saves.back().save_number + 1;
    for (const ExtraFile& extra : extra_files) {
      TRIPTYCH_CHECK(!extra.name.empty() && extra.name[0] != '.' && extra.name.find('/') == std::string::npos,
                     "extra file `{}`", extra.name);
      write_new_file(temporary / extra.name, extra.contents);
      manifest.files.push_back(
          {extra.name, extra.contents.size(), hash128(std::as_bytes(std::span(extra.contents))).hex()});
    }
    const std::string text = manifest.to_json();
    Manifest::from_json(text, "manifest");  // what is not readable must not be committed
    write_new_file(temporary / kManifestName, text);
    sync_folder(temporary);
    move_into_place(temporary, final_folder, extra_names, warnings);
    is_made = false;
    sync_folder(folder_);
    write_latest(folder_, state.step, warnings);
    verify_committed(final_folder, text, manifest);
    uint64_t bytes = text.size();
    for (const ManifestFile& file : manifest.files) bytes += file.bytes;
    const std::vector<std::string> removed = remove_old(folder_, state.step, keep_, extra_names, warnings);
    return json({{"bytes", bytes}, {"removed", removed}, {"warnings", warnings}}).dump();
  });
  const json first = parse_strict_json(outcome[0], kMaxReportDepth, "report of rank 0");
  result.bytes = first.at("bytes").get<uint64_t>();
  result.removed = first.at("removed").get<std::vector<std::string>>();
  result.warnings = first.at("warnings").get<std::vector<std::string>>();
  return result;
}

}  // namespace triptych::checkpoint
