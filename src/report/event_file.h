#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/rooms.h"
#include "report/append_file.h"

namespace triptych::report {

/// CRC-32C (Castagnoli), as TFRecord frames have it before it is masked.
uint32_t crc32c(std::string_view bytes);

/// TensorBoard's file of a run: records of TFRecord's framing, each an `Event` of TensorFlow's event.proto. Each
/// process that trains a run begins a file of its own; TensorBoard reads those of a folder in the order of their names.
class EventFile {
 public:
  /// Begins `folder`/events.out.tfevents.<seconds>.<machine>.<process>, whose name comes behind those that are there.
  /// It tells TensorBoard to forget what earlier files say of `first_step` and later steps: a killed run went on beyond
  /// its last checkpoint.
  ///   time   seconds since 1970
  /// Throws WorldError if it cannot be written; so do the functions below.
  EventFile(const std::filesystem::path& folder, int64_t first_step, double time);

  /// Numbers of a step, by their tags. TensorBoard keeps float32. Those that are not finite are left out.
  void write_scalars(int64_t step, double time, std::span<const std::pair<std::string, double>> scalars);
  /// A text for TensorBoard's page of texts, which reads it as Markdown.
  void write_text(int64_t step, double time, std::string_view tag, std::string_view markdown);
  void sync() { file_.sync(); }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  void write(std::string_view event);

  AppendFile file_;
};

/// Whether an EventFile made this file, whole or cut: by its name and its first record. Throws WorldError if it
/// cannot be read.
bool is_event_file(const std::filesystem::path& path);

}  // namespace triptych::report
