#include "report/progress_line.h"

#include <algorithm>
#include <cmath>
#include <string>

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace triptych::test {
namespace {

StepMetrics example(int64_t step) {
  StepMetrics metrics;
  metrics.step = step;
  metrics.loss = 2.13449;
  metrics.samples_per_s = 512.3;
  metrics.step_ms = 125;
  metrics.loader_wait_ms = 0.31;
  metrics.tflops = 0.0931;
  metrics.peak_share = 0.814;
  return metrics;
}

TEST(FormatProgress, SaysEverything) {
  EXPECT_EQ(format_progress(example(120), 2000, 192, 0),
            "step 120/2000  loss 2.1345  512 samples/s  93.1 GFLOP/s (81 % of peak)  loader 0.3 ms  eta 3m12s");
}

TEST(FormatProgress, LeavesOutTheLeastNeededFirst) {
  const auto at = [](int width) { return format_progress(example(120), 2000, 192, width); };
  EXPECT_EQ(at(96), "step 120/2000  loss 2.1345  512 samples/s  93.1 GFLOP/s (81 % of peak)  loader 0.3 ms  eta 3m12s");
  EXPECT_EQ(at(95), "step 120/2000  loss 2.1345  512 samples/s  93.1 GFLOP/s (81 % of peak)  eta 3m12s");
  EXPECT_EQ(at(79), "step 120/2000  loss 2.1345  512 samples/s  eta 3m12s");
  EXPECT_EQ(at(45), "step 120/2000  loss 2.1345  eta 3m12s");
  EXPECT_EQ(at(30), "step 120/2000  loss 2.1345");
  EXPECT_EQ(at(20), "step 120/2000");
  EXPECT_EQ(at(5), "step ");
  for (int width = 1; width < 120; ++width) EXPECT_LE(at(width).size(), static_cast<std::size_t>(width));
}

TEST(FormatProgress, LeavesOutWhatIsNotKnown) {
  StepMetrics metrics = example(1);
  metrics.tflops = 12.34;
  metrics.peak_share = std::nan("");
  metrics.samples_per_s = 7.123;
  metrics.loss = std::nan("");
  EXPECT_EQ(format_progress(metrics, 9, -1, 0), "step 1/9  loss nan  7.12 samples/s  12.3 TFLOP/s  loader 0.3 ms");
  metrics.tflops = 0;
  EXPECT_EQ(format_progress(metrics, 9, -1, 0), "step 1/9  loss nan  7.12 samples/s  loader 0.3 ms");
}

TEST(FormatDuration, TakesTheUnitThatFits) {
  EXPECT_EQ(format_duration(0), "0s");
  EXPECT_EQ(format_duration(59.4), "59s");
  EXPECT_EQ(format_duration(59.6), "1m00s");
  EXPECT_EQ(format_duration(3599), "59m59s");
  EXPECT_EQ(format_duration(7500), "2h05m");
  EXPECT_EQ(format_duration(4 * 86400 + 3 * 3600), "4d03h");
  EXPECT_EQ(format_duration(-5), "0s");
}

// All that was written into `writing`, read from the other end; closes both. A terminal passes on what it was given
// only a while later, so this reads until there is no writer left.
std::string drain(int reading, int writing) {
  ::close(writing);
  std::string text;
  char piece[4096];
  for (ssize_t count; (count = ::read(reading, piece, sizeof piece)) > 0;) {
    text.append(piece, static_cast<std::size_t>(count));
  }
  ::close(reading);
  return text;
}

TEST(ProgressLine, WritesPlainLinesIntoAPipe) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  {
    ProgressLine progress(1000, ends[1]);
    for (int step = 1; step <= 500; ++step) progress.update(example(step));  // far less than kPlainSeconds
    progress.print("saved");
  }
  const std::string text = drain(ends[0], ends[1]);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find("step 1/1000  loss 2.1345"), 0u) << text;
  EXPECT_NE(text.find("\nsaved\nstep 500/1000  "), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3) << text;
}

TEST(ProgressLine, ShowsTheLastStepOnce) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  {
    ProgressLine progress(2, ends[1]);
    progress.update(example(1));
    progress.update(example(2));
    progress.finish();
  }
  const std::string text = drain(ends[0], ends[1]);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
  EXPECT_NE(text.find("\nstep 2/2  "), std::string::npos);
  EXPECT_NE(text.find("eta 0s\n"), std::string::npos);
}

TEST(ProgressLine, RewritesOneLineOnATerminal) {
  int controller = -1, terminal = -1;
  const winsize size{24, 40, 0, 0};
  ASSERT_EQ(::openpty(&controller, &terminal, nullptr, nullptr, &size), 0);
  EXPECT_EQ(terminal_columns(terminal), 40);
  {
    ProgressLine progress(1000, terminal);
    progress.update(example(1));
    progress.print("saved");
    progress.update(example(2));  // too soon to be shown before the end
  }
  const std::string text = drain(controller, terminal);
  // The whole width but one column, then blanked for the message, then drawn again.
  const std::string line = "step 1/1000  loss 2.1345  eta 2m05s";
  const std::string expected = fmt::format("\r{:<39}\r{:<39}\rsaved\r\n\r{}", line, "", "step 1/1000  loss 2.1345");
  EXPECT_EQ(text.find(expected), 0u) << text;
  EXPECT_NE(text.find("\rstep 2/1000  loss 2.1345"), std::string::npos) << text;
  EXPECT_EQ(text.substr(text.size() - 2), "\r\n");  // the terminal's own carriage return before the newline
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
}

TEST(ProgressLine, APipeIsNoTerminal) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  EXPECT_EQ(terminal_columns(ends[1]), 0);
  EXPECT_EQ(terminal_columns(-1), 0);
}

}  // namespace
}  // namespace triptych::test
