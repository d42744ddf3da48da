#include "report/progress_line.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/text.h"

namespace triptych::report {

namespace {

constexpr double kTerminalSeconds = 0.1;

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// "512", "51.2", "5.12": three digits or more.
std::string three_digits(double value) {
  return fmt::format("{:.{}f}", value, value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2);
}

std::string format_speed(const StepMetrics& metrics) {
  if (!(metrics.tflops > 0)) return "";
  std::string text = metrics.tflops >= 10 ? fmt::format("{} TFLOP/s", three_digits(metrics.tflops))
                                          : fmt::format("{} GFLOP/s", three_digits(metrics.tflops * 1000));
  if (std::isfinite(metrics.peak_share)) text += fmt::format(" ({:.0f} % of peak)", 100 * metrics.peak_share);
  return text;
}

// Of a terminal that this process can open; 0 if it is none or has no size.
int columns_of(int descriptor) {
  winsize size{};
  if (::isatty(descriptor) == 0 || ::ioctl(descriptor, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

}  // namespace

std::string format_duration(double seconds) {
  // The bound keeps the conversion defined; nobody waits for longer.
  const int64_t s = std::llround(std::clamp(seconds, 0.0, 1e12));
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  return fmt::format("{}d{:02}h", s / 86400, s / 3600 % 24);
}

std::string format_progress(const StepMetrics& metrics, int64_t total_steps, double eta_s, int width) {
  struct Part {
    std::string text;
    int priority;  // the least is left out first
  };
  const std::array<Part, 6> parts = {{
      {fmt::format("step {}/{}", metrics.step, total_steps), 5},
      {fmt::format("loss {:.4f}", metrics.loss), 4},
      {std::isfinite(metrics.samples_per_s) ? fmt::format("{} samples/s", three_digits(metrics.samples_per_s)) : "", 2},
      {format_speed(metrics), 1},
      {std::isfinite(metrics.loader_wait_ms) ? fmt::format("loader {:.1f} ms", metrics.loader_wait_ms) : "", 0},
      {eta_s >= 0 ? "eta " + format_duration(eta_s) : "", 3},
  }};
  for (int least = 0; least <= 5; ++least) {
    std::string line;
    for (const Part& part : parts) {
      if (part.priority < least || part.text.empty()) continue;
      line += (line.empty() ? "" : "  ") + part.text;
    }
    if (width == 0 || static_cast<int>(line.size()) <= width) return line;
  }
  return parts[0].text.substr(0, static_cast<std::size_t>(std::max(width, 0)));
}

int terminal_columns(int descriptor) {
  if (::isatty(descriptor) == 0) return 0;
  if (const int columns = columns_of(descriptor); columns > 0) return columns;
  const std::string of_parent = fmt::format("/proc/{}/fd/{}", ::getppid(), descriptor);
  const int opened = ::open(of_parent.c_str(), O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (opened < 0) return 0;
  const int columns = columns_of(opened);
  ::close(opened);
  return columns;
}

ProgressLine::ProgressLine(int64_t total_steps, int descriptor) : total_steps_(total_steps), descriptor_(descriptor) {}

ProgressLine::~ProgressLine() {
  finish();
}

void ProgressLine::update(const StepMetrics& metrics) {
  const Clock::time_point now = Clock::now();
  if (num_updates_++ == 0) {
    first_update_ = now;
    first_step_ = metrics.step;
  }
  latest_ = metrics;
  is_latest_shown_ = false;
  const int columns = terminal_columns(descriptor_);
  const double since_shown = seconds_between(last_shown_, now);
  if (num_updates_ == 1 || metrics.step >= total_steps_ ||
      since_shown >= (columns > 0 ? kTerminalSeconds : kPlainSeconds)) {
    show(columns);
  }
}

void ProgressLine::show(int columns) {
  const Clock::time_point now = Clock::now();
  // The mean since the first update, so that evaluations and checkpoints count and the slow first step does not.
  const int64_t num_done = latest_.step - first_step_;
  const double step_s =
      num_done > 0 ? seconds_between(first_update_, now) / static_cast<double>(num_done) : latest_.step_ms / 1000;
  const double eta_s = step_s * static_cast<double>(std::max<int64_t>(total_steps_ - latest_.step, 0));
  if (columns > 0) {
    // The last column stays free: writing into it makes some terminals go to the next line. Spaces clear what was
    // there.
    const int width = std::max(columns - 1, 1);
    write(fmt::format("\r{:<{}}", format_progress(latest_, total_steps_, eta_s, width), width));
    line_is_open_ = true;
  } else {
    write(format_progress(latest_, total_steps_, eta_s, 0) + "\n");
  }
  last_shown_ = now;
  is_latest_shown_ = true;
}

void ProgressLine::print(std::string_view message) {
  const int columns = terminal_columns(descriptor_);
  if (line_is_open_) write(fmt::format("\r{:<{}}\r", "", std::max(columns - 1, 0)));
  write(printable(message) + "\n");
  if (line_is_open_) {
    line_is_open_ = false;
    if (columns > 0) show(columns);
  }
}

void ProgressLine::finish() {
  if (!is_latest_shown_) show(terminal_columns(descriptor_));
  if (line_is_open_) write("\n");
  line_is_open_ = false;
}

void ProgressLine::write(std::string_view text) {
  // A reader that has gone is no reason to stop a run: what cannot be shown is let go.
  while (!text.empty()) {
    const ssize_t count = ::write(descriptor_, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

}  // namespace triptych::report
