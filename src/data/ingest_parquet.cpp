#include "data/ingest_parquet.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/input_files.h"
#include "data/parquet_rows.h"
#include "data/row_frame.h"

extern char** environ;

namespace triptych::data {
namespace {

/// A Python process that reads one file, and the pipe that its rows come through. Ended with this object.
class RowsProcess {
 public:
  RowsProcess(const std::string& python, const std::vector<std::string>& words) {
    std::array<int, 2> pipe;
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
      throw WorldError("parquet", fmt::format("cannot make a pipe ({}).", describe_errno(errno)));
    }
    std::vector<std::string> all{python, "-c", std::string(kParquetRowsScript)};
    all.insert(all.end(), words.begin(), words.end());
    std::vector<char*> pointers;
    for (std::string& word : all) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    const int error = ::posix_spawnp(&child_, python.c_str(), &actions, nullptr, pointers.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(pipe[1]);
    out_ = pipe[0];
    if (error == 0) return;
    ::close(out_);
    throw UserError("parquet",
                    fmt::format("'{}', which reads Parquet files, cannot be started ({}). Install python3 and "
                                "pyarrow, or name an interpreter that has it with --python.",
                                python, describe_errno(error)));
  }
  RowsProcess(const RowsProcess&) = delete;
  RowsProcess& operator=(const RowsProcess&) = delete;
  ~RowsProcess() {
    ::close(out_);
    ::kill(child_, SIGKILL);
    while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  bool read(std::span<char> out) const {
    while (!out.empty()) {
      const ssize_t got = ::read(out_, out.data(), out.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      out = out.subspan(static_cast<std::size_t>(got));
    }
    return true;
  }

 private:
  pid_t child_ = -1;
  int out_ = -1;
};

class Parquet final : public IngestSource {
 public:
  explicit Parquet(const ParquetInput& input) : input_(input), images_(input.images) {
    for (const auto& path : input_.tables) refuse_other_format(path, InputFormat::kParquet);
    go_to({});
  }

  bool next(IngestRecord& record) override {
    Frame frame;
    receive(frame);
    while (frame.kind == FrameKind::kEnd) {
      if (at_ + 1 == input_.tables.size()) {
        is_done_ = true;
        return false;
      }
      go_to({.input = at_ + 1});
      receive(frame);
    }
    record.input = at_;
    record.number = ++number_;
    record.after = {.input = at_, .number = number_};
    record.folder = &images_;
    std::optional<SampleFault> fault;
    for (; frame.kind != FrameKind::kRow; receive(frame)) {
      try {
        take(frame, record);
      } catch (const SampleFault& bad) {
        if (!fault) fault = bad;
      }
    }
    if (fault) throw SampleFault(*fault);
    return true;
  }

  void go_to(const IngestCursor& cursor) override {
    at_ = cursor.input;
    number_ = cursor.number;
    is_done_ = false;
    process_.reset();
    process_.emplace(input_.python,
                     std::vector<std::string>{input_.tables.at(at_).string(), std::to_string(number_),
                                              input_.image_column, input_.caption_column, input_.label_column});
  }

  std::string fingerprint() const override {
    std::string text = fmt::format("parquet {} {} {}", input_.image_column, input_.caption_column, input_.label_column);
    for (const auto& path : input_.tables) text += " " + sampled_hash(path);
    return text;
  }
  std::string name() const override { return name_of_inputs(input_.tables); }
  std::string_view unit() const override { return "row"; }
  std::string place(uint64_t input, uint64_t number) const override {
    return input_.tables.size() == 1 ? fmt::format("row {}", number)
                                     : fmt::format("{} row {}", input_.tables.at(input).string(), number);
  }

 private:
  std::string where() const { return input_.tables[at_].string(); }

  void receive(Frame& frame) {
    if (is_done_) {
      frame.kind = FrameKind::kEnd;
      return;
    }
    if (!read_frame([&](std::span<char> out) { return process_->read(out); }, frame)) {
      throw WorldError(where(),
                       fmt::format("the {} process that reads it ended, or sent what is no row, behind {} rows. "
                                   "What it printed stands above.",
                                   input_.python, number_));
    }
    if (frame.kind == FrameKind::kNoLibrary) {
      throw UserError("parquet",
                      fmt::format("Parquet files are read by Python's pyarrow, which '{}' cannot import ({}). "
                                  "Install it (python3 -m venv VENV; VENV/bin/pip install pyarrow) and give "
                                  "--python VENV/bin/python3.",
                                  input_.python, frame.bytes));
    }
    if (frame.kind == FrameKind::kFailed) throw UserError(where(), frame.bytes);
  }

  static void take(Frame& frame, IngestRecord& record) {
    switch (frame.kind) {
      case FrameKind::kImage: {
        const auto bytes = std::as_bytes(std::span(frame.bytes));
        record.image.assign(bytes.begin(), bytes.end());
        if (bytes.empty()) throw SampleFault(kNoImage, "has an image of no bytes");
        break;
      }
      case FrameKind::kName:
        record.sample.image = frame.bytes;
        break;
      case FrameKind::kCaption:
        add_stripped_caption(frame.bytes, record.sample);
        break;
      case FrameKind::kLabel:
        record.label_name = frame.bytes;
        break;
      case FrameKind::kBadImage:
        throw SampleFault(kNoImage, frame.bytes);
      case FrameKind::kBadCaption:
        throw SampleFault(kBadText, frame.bytes);
      default:
        throw SampleFault(kMalformed, "came without its end");
    }
  }

  ParquetInput input_;
  ImageFolder images_;
  uint64_t at_ = 0, number_ = 0;
  bool is_done_ = false;
  std::optional<RowsProcess> process_;
};

}  // namespace

std::unique_ptr<IngestSource> open_parquet(const ParquetInput& input) {
  return std::make_unique<Parquet>(input);
}

}  // namespace triptych::data
