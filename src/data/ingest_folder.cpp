#include "data/ingest_folder.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/file.h"
#include "base/hash.h"
#include "data/input_files.h"

namespace triptych::data {
namespace {

namespace fs = std::filesystem;

struct Listed {
  std::string name;  // relative to its root
  uint64_t bytes = 0;
};

std::string lower_extension(const fs::path& path) {
  std::string text = path.extension().string();
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

class Folders final : public IngestSource {
 public:
  explicit Folders(const FolderInput& input) : paths_(input.folders) {
    std::set<std::string> classes;
    for (const fs::path& path : paths_) {
      refuse_other_format(path, InputFormat::kImageFolder);
      folders_.emplace_back(path);
      list(path, classes);
    }
    names_.assign(classes.begin(), classes.end());
    if (!names_.empty() && !beside_.empty()) {
      throw UserError(beside_.string(),
                      fmt::format("lies in no class's folder, and other images do ({}). Put each image "
                                  "into one, or none.",
                                  shown_name(names_.front())));
    }
    if (std::ranges::all_of(images_, [](const auto& each) { return each.empty(); })) {
      throw UserError(name(), "holds no image: no file that ends in .jpg, .jpeg, .png or .webp.");
    }
  }

  bool next(IngestRecord& record) override {
    while (number_ == images_[at_].size()) {
      if (at_ + 1 == images_.size()) return false;
      go_to({.input = at_ + 1});
    }
    const Listed& image = images_[at_][number_];
    record.input = at_;
    record.number = ++number_;
    record.after = {.input = at_, .number = number_};
    record.folder = &folders_[at_];
    record.sample.image = image.name;
    if (!names_.empty()) {
      const std::string label = image.name.substr(0, image.name.find('/'));
      record.sample.label = std::ranges::lower_bound(names_, label) - names_.begin();
    }
    return true;
  }

  void go_to(const IngestCursor& cursor) override {
    at_ = cursor.input;
    number_ = cursor.number;
  }

  /// Of the images' names and sizes.
  std::string fingerprint() const override {
    Hasher hasher;
    for (const auto& root : images_) {
      for (const Listed& image : root) {
        const std::string text = fmt::format("{}\n{}\n", image.name, image.bytes);
        hasher.update(std::as_bytes(std::span(text)));
      }
    }
    return fmt::format("imagefolder {} {}", images_.size(), hasher.digest().hex());
  }
  std::string name() const override { return name_of_inputs(paths_); }
  std::string_view unit() const override { return "image"; }
  std::string place(uint64_t input, uint64_t number) const override {
    return (paths_.at(input) / images_.at(input).at(number - 1).name).string();
  }
  std::vector<std::string> class_names() const override { return names_; }
  std::map<std::string, uint64_t> passed_over() const override { return passed_over_; }

 private:
  void list(const fs::path& root, std::set<std::string>& classes) {
    std::vector<Listed>& images = images_.emplace_back();
    std::vector<fs::path> waiting{root};
    while (!waiting.empty()) {
      const fs::path folder = std::move(waiting.back());
      waiting.pop_back();
      for (const fs::path& path : list_folder(folder)) {
        std::error_code error;
        const std::string name = path.lexically_relative(root).string();
        if (path.filename().string().starts_with('.')) {
          ++passed_over_["a hidden file or folder"];
        } else if (fs::is_directory(fs::symlink_status(path, error))) {
          waiting.push_back(path);
        } else if (const std::string end = lower_extension(path);
                   end != ".jpg" && end != ".jpeg" && end != ".png" && end != ".webp") {
          ++passed_over_[fmt::format("a file '{}'", shown_name(end.empty() ? path.filename().string() : end))];
        } else {
          const uintmax_t bytes = fs::file_size(path, error);
          images.push_back({name, error ? 0 : bytes});
          if (folder == root) beside_ = path;
          if (folder != root) classes.insert(name.substr(0, name.find('/')));
        }
      }
    }
    std::ranges::sort(images, {}, &Listed::name);
  }

  std::vector<fs::path> paths_;
  std::deque<ImageFolder> folders_;  // records point to them
  std::vector<std::vector<Listed>> images_;
  std::map<std::string, uint64_t> passed_over_;
  std::vector<std::string> names_;
  fs::path beside_;  // an image that lies in no class's folder
  uint64_t at_ = 0, number_ = 0;
};

}  // namespace

std::unique_ptr<IngestSource> open_image_folder(const FolderInput& input) {
  return std::make_unique<Folders>(input);
}

}  // namespace triptych::data
