#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "data/field_sources.h"
#include "data/loader.h"
#include "small_data_set.h"
#include "text/own_model.h"
#include "text/tokenizer.h"
#include "text/training.h"

namespace triptych::test {

inline constexpr uint64_t kSize = 47;
inline const std::set<uint64_t> kBroken{3, 20, 41};

/// Some lack the image, some the captions; others have three.
inline SmallSample mixed_sample(uint64_t i) {
  SmallSample s;
  if (i % 9 != 4) s.image = sound_image(i);
  if (i % 9 != 5) s.captions = {"a picture of number " + std::to_string(i), "图片 " + std::to_string(i), "another one"};
  return s;
}

/// One data set whose samples are all sound (some lack an image or captions), and one with broken images.
struct Folders {
  ScratchFolder folder;
  std::shared_ptr<const Dataset> sound = make_data_set(folder / "sound", kSize, mixed_sample);
  std::shared_ptr<const Dataset> damaged = make_data_set(folder / "damaged", kSize, [](uint64_t i) {
    SmallSample s = mixed_sample(i);
    if (kBroken.contains(i)) s.image = broken_image();
    return s;
  });
  std::shared_ptr<const Tokenizer> tokenizer = [] {
    uint64_t i = 0;
    const CaptionSource source = [&](std::string& caption) {
      caption = "a picture of number " + std::to_string(i) + " 图片 another one";
      return i++ < 100;
    };
    TokenizerTraining options;
    options.vocabulary = 100;
    return Tokenizer::from_bytes(train_tokenizer(source, 100, options), "test");
  }();
};

inline const Folders& folders() {
  static const Folders all;
  return all;
}

inline FieldSource pixels_of_folders() {
  return pixels_field(24, {.flip_probability = 0.5, .color = 0.3});
}

inline FieldSource text_of_folders(const TextOptions& options = {}) {
  return text_fields(folders().tokenizer, 16, 100, options);
}

/// All fields of the folders' samples, 12 rows, two threads.
inline LoaderOptions training_options() {
  LoaderOptions options;
  options.fields = {pixels_of_folders(), text_of_folders(), presence_fields()};
  options.global_batch = 12;
  options.seed = 5;
  options.threads = 2;
  options.max_bad_fraction = 0.3;
  return options;
}

inline std::vector<Batch> take(const std::shared_ptr<const Dataset>& data, const LoaderOptions& options,
                               int num_steps) {
  Loader loader(data, options);
  std::vector<Batch> batches;
  for (int i = 0; i < num_steps; ++i) batches.push_back(loader.next());
  return batches;
}

}  // namespace triptych::test
