// Boxes of rows against the rows' own pixels: what is red there is what the box says.
#include <algorithm>
#include <array>
#include <cmath>

#include <gtest/gtest.h>

#include "base/philox.h"
#include "data/png_writer.h"
#include "loader_support.h"
#include "shard_support.h"

namespace triptych::test {
namespace {

constexpr int64_t kSide = 64;
constexpr uint64_t kCount = 40;
constexpr int64_t kMaxBoxes = 3;

uint32_t draw(uint64_t i, uint64_t word, uint32_t below) {
  return philox_word(random_key(11, "test/boxes", i), word) % below;
}

/// Of sample i: the sides of its image as it is seen, and where it is red.
struct Drawn {
  uint32_t width, height;
  BoxRecord box;
};
Drawn drawn(uint64_t i) {
  Drawn d{90 + draw(i, 0, 70), 90 + draw(i, 1, 70), {}};
  d.box.left = static_cast<int32_t>(draw(i, 2, d.width - 40));
  d.box.top = static_cast<int32_t>(draw(i, 3, d.height - 40));
  d.box.right = d.box.left + 20 + static_cast<int32_t>(draw(i, 4, 20));
  d.box.bottom = d.box.top + 20 + static_cast<int32_t>(draw(i, 5, 20));
  d.box.class_number = static_cast<int32_t>(draw(i, 6, 5));
  return d;
}

bool is_inside(const BoxRecord& box, uint32_t x, uint32_t y) {
  const auto at_x = static_cast<int32_t>(x), at_y = static_cast<int32_t>(y);
  return at_x >= box.left && at_x < box.right && at_y >= box.top && at_y < box.bottom;
}

void append_big_endian(std::vector<std::byte>& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::byte>(value >> shift));
}

/// The chunk of a PNG that says that the image is seen turned by a quarter clockwise: EXIF orientation 6.
std::vector<std::byte> turned_chunk() {
  constexpr std::string_view kBody("eXIfII*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
                                   4 + 8 + 2 + 12 + 4);
  uint32_t crc = ~uint32_t{0};
  std::vector<std::byte> chunk;
  append_big_endian(chunk, static_cast<uint32_t>(kBody.size() - 4));
  for (const char c : kBody) {
    chunk.push_back(static_cast<std::byte>(c));
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  append_big_endian(chunk, ~crc);
  return chunk;
}

/// Black, and red in the box. Every third is stored turned.
std::vector<std::byte> drawn_image(uint64_t i) {
  const Drawn d = drawn(i);
  const bool is_turned = i % 3 == 1;
  const uint32_t width = is_turned ? d.height : d.width, height = is_turned ? d.width : d.height;
  std::vector<uint8_t> pixels(std::size_t{3} * width * height);
  for (uint32_t y = 0; y < d.height; ++y) {
    for (uint32_t x = 0; x < d.width; ++x) {
      const uint32_t row = is_turned ? d.width - 1 - x : y, column = is_turned ? y : x;
      if (is_inside(d.box, x, y)) pixels[3 * (std::size_t{row} * width + column)] = 255;
    }
  }
  std::vector<std::byte> png = encode_png(width, height, pixels);
  constexpr std::ptrdiff_t kHeaderEnd = 33;
  const std::vector<std::byte> chunk = turned_chunk();
  if (is_turned) png.insert(png.begin() + kHeaderEnd, chunk.begin(), chunk.end());
  return png;
}

/// The red box has a phrase too, which a later text is; the boxes of some are unknown, and some have no image.
SmallSample drawn_sample(uint64_t i) {
  SmallSample sample{.captions = {"a picture", "the red thing"}, .roles = {TextRole::kCaption, TextRole::kPhrase}};
  if (i % 8 == 5) return sample;
  sample.image = drawn_image(i);
  if (i % 8 == 6) return sample;
  sample.boxes = {drawn(i).box};
  sample.boxes[0].phrase = 1;
  return sample;
}

std::shared_ptr<const Dataset> drawn_set() {
  static const ScratchFolder folder;
  static const auto set = make_data_set(folder / "drawn", kCount, drawn_sample);
  return set;
}

LoaderOptions options_of(bool training, const AugmentOptions& augment) {
  LoaderOptions options;
  options.fields = {pixels_field(kSide, augment), box_fields(kMaxBoxes, 5, kSide, augment),
                    phrase_box_fields(kSide, augment), presence_fields()};
  options.global_batch = 8;
  options.seed = 3;
  options.training = training;
  options.text_role = TextRole::kPhrase;
  return options;
}

/// The box around what is red in a row, in pixels; and how much is red.
struct Red {
  double left = kSide, top = kSide, right = 0, bottom = 0;
  double area = 0;
};
Red red_of(std::span<const uint8_t> pixels) {
  Red red;
  for (int64_t y = 0; y < kSide; ++y) {
    for (int64_t x = 0; x < kSide; ++x) {
      const double value = pixels[static_cast<std::size_t>(3 * (y * kSide + x))] / 255.0;
      red.area += value;
      if (value < 0.5) continue;
      red.left = std::min(red.left, static_cast<double>(x));
      red.top = std::min(red.top, static_cast<double>(y));
      red.right = std::max(red.right, static_cast<double>(x + 1));
      red.bottom = std::max(red.bottom, static_cast<double>(y + 1));
    }
  }
  return red;
}

void expect_around(const Red& red, std::span<const float> box) {
  EXPECT_NEAR(box[0] * kSide, red.left, 0.75);
  EXPECT_NEAR(box[1] * kSide, red.top, 0.75);
  EXPECT_NEAR(box[2] * kSide, red.right, 0.75);
  EXPECT_NEAR(box[3] * kSide, red.bottom, 0.75);
}

struct Tally {
  int seen = 0, left_out = 0, absent = 0;
};

/// Each row's boxes are where its pixels are red.
void expect_boxes_at_pixels(const Batch& batch, Tally& tally) {
  for (int64_t r = 0; r < batch.num_rows(); ++r) {
    const uint64_t sample = batch.sample_ids[static_cast<std::size_t>(r)];
    SCOPED_TRACE(fmt::format("step {} row {} sample {}", batch.step, r, sample));
    const std::span<const float> boxes = batch.row<float>("boxes", r), phrase = batch.row<float>("phrase_box", r);
    const std::span<const int32_t> classes = batch.row<int32_t>("box_classes", r);
    const bool has_phrase = batch.row<uint8_t>("phrase_box_present", r)[0] != 0;
    const bool is_known = drawn_sample(sample).boxes.size() == 1;
    EXPECT_EQ(batch.row<uint8_t>("boxes_present", r)[0], is_known);
    EXPECT_EQ(classes[1], -1);
    EXPECT_TRUE(std::ranges::all_of(boxes.subspan(4), [](float x) { return x == 0; }));
    EXPECT_EQ(has_phrase, classes[0] >= 0);
    EXPECT_TRUE(std::ranges::equal(phrase, boxes.first(4)));
    if (!is_known) {
      EXPECT_EQ(classes[0], -1);
      ++tally.absent;
      continue;
    }
    const Red red = red_of(batch.row<uint8_t>("pixels", r));
    if (classes[0] < 0) {
      // A tenth of a box of at most 39 by 39 pixels, scaled by the crop, of at least a fifth of 90 by 90, to the
      // square.
      EXPECT_LT(red.area, 0.1 * 39 * 39 * kSide * kSide / (0.2 * 90 * 90));
      EXPECT_TRUE(std::ranges::all_of(boxes, [](float x) { return x == 0; }));
      ++tally.left_out;
      continue;
    }
    EXPECT_EQ(classes[0], drawn(sample).box.class_number);
    // What is narrower may be red nowhere by half.
    if (std::min(boxes[2] - boxes[0], boxes[3] - boxes[1]) * kSide > 3) expect_around(red, boxes.first(4));
    ++tally.seen;
  }
}

TEST(BoxFields, AreWhereTrainingShowsTheirPixels) {
  Tally tally;
  for (const Batch& batch :
       take(drawn_set(), options_of(true, {.min_scale = 0.2, .max_scale = 0.9, .flip_probability = 0.5}), 40)) {
    expect_boxes_at_pixels(batch, tally);
  }
  EXPECT_GT(tally.seen, 120);
  EXPECT_GT(tally.left_out, 20);
  EXPECT_GT(tally.absent, 40);
}

TEST(BoxFields, AreWhereAnEvaluationShowsTheirPixels) {
  Tally tally;
  for (const Batch& batch : take(drawn_set(), options_of(false, {.flip_probability = 1}), kCount / 8)) {
    expect_boxes_at_pixels(batch, tally);
  }
  EXPECT_GT(tally.seen, 25);
}

// A known box in a known square: 200 x 100, of which an evaluation sees x from 50 to 150.
TEST(BoxFields, AreSharesOfTheSquareThatIsSeen) {
  const ScratchFolder folder;
  const std::vector<uint8_t> pixels(std::size_t{3} * 200 * 100);
  const std::vector<std::byte> png = encode_png(200, 100, pixels);
  write_shard(folder / "a.h5", {{1,
                                 png,
                                 {"one", "both"},
                                 {},
                                 {TextRole::kPhrase, TextRole::kPhrase},
                                 {{75, 10, 100, 30, 2, 0},       // wholly seen
                                  {40, 0, 60, 100, 0, 1},        // half of it
                                  {0, 0, 55, 100, 1, -1},        // less than a tenth: 5 of its 55 columns
                                  {100, 50, 150, 100, -1, 1}}},  // without a class
                                {2, png, {"a caption"}, {}, {}, {}}});
  build_index(folder.path());
  const auto set = std::make_shared<const Dataset>(Dataset::open(folder.path()));
  LoaderOptions options = options_of(false, {});
  options.global_batch = 2;
  options.items = EvaluationItems::kCaptions;
  const Batch batch = take(set, options, 1)[0];
  const auto expect = [&](std::string_view field, int64_t row, const std::vector<float>& values) {
    const std::span<const float> found = batch.row<float>(field, row);
    for (std::size_t k = 0; k < found.size(); ++k) EXPECT_FLOAT_EQ(found[k], k < values.size() ? values[k] : 0) << k;
  };
  for (const int64_t row : {0, 1}) {
    expect("boxes", row, {0.25f, 0.1f, 0.5f, 0.3f, 0, 0, 0.1f, 1});
    EXPECT_TRUE(std::ranges::equal(batch.row<int32_t>("box_classes", row), std::array{2, 0, -1}));
  }
  expect("phrase_box", 0, {0.25f, 0.1f, 0.5f, 0.3f});
  expect("phrase_box", 1, {0, 0, 1, 1});  // around the second and the last, from 40 to 150
  EXPECT_EQ(batch.row<uint8_t>("phrase_box_present", 1)[0], 1);
}

// Hidden by modality dropout, an image has no boxes, and a hidden phrase names none.
TEST(BoxFields, AreMaskedWithWhatTheyAreOf) {
  LoaderOptions options = options_of(true, {});
  options.modality_dropout = {.image = 0.4, .text = 0.4};
  int num_without_image = 0, num_without_text = 0;
  for (const Batch& batch : take(drawn_set(), options, 20)) {
    for (int64_t r = 0; r < batch.num_rows(); ++r) {
      const bool image = batch.row<uint8_t>("image_present", r)[0] != 0;
      const bool text = batch.row<uint8_t>("text_present", r)[0] != 0;
      const bool is_known = drawn_sample(batch.sample_ids[static_cast<std::size_t>(r)]).boxes.size() == 1;
      EXPECT_EQ(batch.row<uint8_t>("boxes_present", r)[0], image && is_known);
      EXPECT_EQ(batch.row<int32_t>("box_classes", r)[0] >= 0, image && is_known);
      EXPECT_EQ(batch.row<uint8_t>("phrase_box_present", r)[0], image && text && is_known);
      num_without_image += !image && is_known;
      num_without_text += !text && is_known;
    }
  }
  EXPECT_GT(num_without_image, 20);
  EXPECT_GT(num_without_text, 20);
}

TEST(BoxFields, AreRefusedBeyondTheModel) {
  const auto message = [](int64_t max_boxes, int64_t num_classes) {
    LoaderOptions options;
    options.fields = {box_fields(max_boxes, num_classes, kSide)};
    options.global_batch = 4;
    return error_text(ErrorKind::kUser, [&] { take(drawn_set(), options, 9); });
  };
  EXPECT_NE(message(kMaxBoxes, 4).find("must be below the number of classes, 4; shard_0000"), std::string::npos);
  const ScratchFolder folder;
  const auto two = make_data_set(folder / "two", 4, [](uint64_t i) {
    SmallSample sample{.image = drawn_image(i)};
    sample.boxes.assign(2, drawn(i).box);
    return sample;
  });
  LoaderOptions options;
  options.fields = {box_fields(1, 5, kSide)};
  options.global_batch = 4;
  expect_error(ErrorKind::kUser, "a sample may have at most 1 boxes with a class; shard_00000.h5 sample ",
               [&] { take(two, options, 1); });
  expect_error(ErrorKind::kUser, "1 to 1024 boxes", [] { box_fields(0, 5, kSide); });
  expect_error(ErrorKind::kUser, "1 to 1024 boxes", [] { box_fields(1025, 5, kSide); });
  expect_error(ErrorKind::kUser, "found 3 and 0", [] { box_fields(3, 0, kSide); });
  expect_error(ErrorKind::kUser, "image size must be 1 to 8192", [] { box_fields(3, 5, 0); });
  expect_error(ErrorKind::kUser, "image size must be 1 to 8192", [] { phrase_box_fields(8193); });
}

// Made-up rows: proper boxes of every count, absent where the pixels of the same rows are.
TEST(BoxFields, SynthesizeProperBoxes) {
  const std::vector<FieldSource> sources{box_fields(kMaxBoxes, 5, kSide), phrase_box_fields(kSide), presence_fields()};
  constexpr int64_t kRows = 200;
  const Batch batch = synthetic_batch(sources, 7, 0, kRows);
  std::array<int, kMaxBoxes + 1> counts{};
  for (int64_t r = 0; r < kRows; ++r) {
    const std::span<const int32_t> classes = batch.row<int32_t>("box_classes", r);
    const auto count = std::ranges::count_if(classes, [](int32_t c) { return c >= 0; });
    ++counts[static_cast<std::size_t>(count)];
    EXPECT_TRUE(std::ranges::all_of(classes.first(static_cast<std::size_t>(count)), [](int32_t c) { return c < 5; }));
    const bool image = batch.row<uint8_t>("image_present", r)[0] != 0;
    EXPECT_EQ(batch.row<uint8_t>("boxes_present", r)[0], count > 0);
    EXPECT_TRUE(image || count == 0);
    EXPECT_EQ(batch.row<uint8_t>("phrase_box_present", r)[0], image && batch.row<uint8_t>("text_present", r)[0] != 0);
    for (std::ptrdiff_t k = 0; k < count; ++k) {
      const std::span<const float> box = batch.row<float>("boxes", r).subspan(static_cast<std::size_t>(4 * k), 4);
      EXPECT_TRUE(0 <= box[0] && box[0] < box[2] && box[2] <= 1 && 0 <= box[1] && box[1] < box[3] && box[3] <= 1);
    }
  }
  EXPECT_TRUE(std::ranges::all_of(counts, [](int n) { return n > 20; }));
  const Batch later = synthetic_batch(sources, 7, 100, 1);
  EXPECT_TRUE(std::ranges::equal(later.row<float>("boxes", 0), batch.row<float>("boxes", 100)));
}

}  // namespace
}  // namespace triptych::test
