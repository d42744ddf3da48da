#pragma once

namespace triptych {

/// Where kernels run, in order. On the CPU a kernel runs to its end before the call returns, on `num_threads` threads of
/// the rank's pool. A stream is owned by its Device and passed by reference; it is used by one thread at a time.
class Stream {
 public:
  explicit Stream(int num_threads) : num_threads_(num_threads) {}
  int num_threads() const { return num_threads_; }

 private:
  int num_threads_;
};

}  // namespace triptych
