#pragma once

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "base/philox.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/checkpoint_writer.h"
#include "parallel/in_process_group.h"

namespace triptych::test {

namespace fs = std::filesystem;

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// What `work` throws, as text with its kind ("user: [...] ..."); "" if it throws nothing.
inline std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& e) {
    const std::string kind = e.exit_code() == 2 ? "user" : e.exit_code() == 1 ? "world" : "internal";
    return kind + ": " + e.what();
  }
  return "";
}

class CheckpointTest : public ::testing::Test {
 protected:
  /// In memory, where fsync costs nothing, unless the test is about the disk.
  explicit CheckpointTest(bool on_disk = false) {
    std::string pattern = on_disk || !fs::is_directory("/dev/shm") ? "/tmp" : "/dev/shm";
    pattern += "/triptych_checkpoint_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~CheckpointTest() override { fs::remove_all(folder_); }

  std::vector<std::string> entries() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  static std::string slurp(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  static void spit(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

  fs::path folder_;
};

/// A group with a hook before each of its all-gathers of strings, which is all that checkpoints ask of it.
class WatchedGroup : public Group {
 public:
  WatchedGroup(Group& group, std::function<void(int count)> before_gather)
      : Group(identity_of(group)), group_(group), before_gather_(std::move(before_gather)) {}

  std::vector<std::string> all_gather_string(const std::string& text) override {
    before_gather_(count_++);
    return group_.all_gather_string(text);
  }
  std::string_view transport() const override { return group_.transport(); }
  std::chrono::milliseconds timeout() const override { return group_.timeout(); }
  std::unique_ptr<Group> split(int color, int key, std::string name) override { return group_.split(color, key, name); }
  void progress() override { group_.progress(); }
  [[noreturn]] void abort(int) override { throw InternalError("WatchedGroup", "nothing here aborts"); }

 protected:
  std::shared_ptr<Pending> start(const Operation& operation) override {
    throw InternalError("WatchedGroup", "only strings are gathered, found " + operation.to_string());
  }

 private:
  static GroupIdentity identity_of(const Group& group) {
    GroupIdentity identity{.name = group.name(), .rank = group.rank(), .world_ranks = {}};
    for (int rank = 0; rank < group.size(); ++rank) identity.world_ranks.push_back(group.world_rank(rank));
    return identity;
  }

  Group& group_;
  std::function<void(int)> before_gather_;
  int count_ = 0;
};

/// Ranks as threads. What `work` throws on each, by rank. `before_gather` is called by every rank before each
/// all-gather with (rank, how many it has done).
inline std::vector<std::string> errors_of_ranks(
    int size, const std::function<void(Group& group)>& work,
    const std::function<void(int, int)>& before_gather = [](int, int) {}) {
  std::vector<std::string> errors(static_cast<std::size_t>(size));
  run_ranks(size, [&](Group& world) {
    WatchedGroup group(world, [&](int count) { before_gather(world.rank(), count); });
    errors[static_cast<std::size_t>(world.rank())] = error_of([&] { work(group); });
  });
  return errors;
}

/// A rank on its own.
inline std::unique_ptr<Group> alone() {
  return make_self_group("alone");
}

/// Bytes of an element that are a function of the tensor and the element's global index alone.
inline void fill_element(const TensorBox& tensor, uint64_t global_index, std::byte* out) {
  const uint64_t word = philox_word(random_key(1, tensor.name, 0), 2 * global_index) |
                        uint64_t{philox_word(random_key(1, tensor.name, 0), 2 * global_index + 1)} << 32;
  std::memcpy(out, &word, dtype_bytes(tensor.dtype));
}

/// The contents that a box must have, element by element: the slow and plain oracle.
inline std::vector<std::byte> expected_contents(const TensorBox& box) {
  const std::size_t element = dtype_bytes(box.dtype), num_dims = box.shape.size();
  std::vector<std::byte> contents(static_cast<std::size_t>(volume(box.shape)) * element);
  std::vector<int64_t> index(num_dims, 0);
  for (int64_t i = 0; i < volume(box.shape); ++i) {
    int64_t rest = i, global = 0;
    for (std::size_t d = num_dims; d-- > 0;) {
      index[d] = rest % box.shape[d];
      rest /= box.shape[d];
    }
    for (std::size_t d = 0; d < num_dims; ++d) global = global * box.global_shape[d] + box.begin[d] + index[d];
    fill_element(box, static_cast<uint64_t>(global), contents.data() + static_cast<std::size_t>(i) * element);
  }
  return contents;
}

/// Bytes that a box takes in memory.
inline std::size_t bytes_of(const TensorBox& box) {
  return static_cast<std::size_t>(volume(box.shape)) * dtype_bytes(box.dtype);
}

/// Pieces with their storage.
struct OwnedPieces {
  std::vector<std::vector<std::byte>> storage;
  std::vector<TensorPiece> pieces;

  void add(const TensorBox& box) {
    storage.push_back(expected_contents(box));
    pieces.push_back({box, storage.back().data()});
  }
};

/// Rank `rank` of `size`'s slice of `dim`, as even as can be: the first ranks have one more.
inline TensorBox slice_of(const TensorBox& whole, std::size_t dim, int rank, int size) {
  TensorBox box = whole;
  const int64_t n = whole.global_shape[dim];
  box.begin[dim] = n * rank / size;
  box.shape[dim] = n * (rank + 1) / size - box.begin[dim];
  return box;
}

}  // namespace triptych::test
