#include "data/ingest_webdataset.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "data/input_files.h"
#include "data/line_reader.h"
#include "data/tar_samples.h"

namespace triptych::data {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kClassExtension = "cls";

class Webdataset final : public IngestSource {
 public:
  explicit Webdataset(const WebdatasetInput& input) : input_(input) {
    for (auto* names : {&input_.images, &input_.captions, &input_.json_keys}) std::erase(*names, "");
    for (const auto& path : input_.archives) refuse_other_format(path, InputFormat::kWebdataset);
    go_to({});
  }

  bool next(IngestRecord& record) override {
    TarSample sample;
    std::optional<SampleFault> fault;
    for (bool found = false; !found;) {
      try {
        found = samples_->next(sample, wanted_);
        if (!found && at_ + 1 == input_.archives.size()) return false;
        if (!found) go_to({.input = at_ + 1});
      } catch (const SampleFault& bad) {
        fault = bad;
        found = true;
      }
    }
    record.input = at_;
    record.number = ++number_;
    record.after = {.input = at_, .number = number_};
    if (fault) throw SampleFault(*fault);
    try {
      fill(sample, record);
    } catch (const SampleFault& bad) {
      throw SampleFault(bad.reason, fmt::format("'{}': {}", shown_name(sample.key), rule_of(bad)));
    }
    return true;
  }

  void go_to(const IngestCursor& cursor) override {
    at_ = cursor.input;
    samples_.emplace(input_.archives.at(at_));
    TarSample passed;
    for (number_ = 0; number_ < cursor.number; ++number_) {
      try {
        samples_->next(passed, wanted_);  // read as it was then, so that what was damaged counts as it did
      } catch (const SampleFault&) {      // it was told of when it was read first
      }
    }
  }

  std::string fingerprint() const override {
    std::string text = fmt::format("webdataset {} {} {}", fmt::join(input_.images, ","),
                                   fmt::join(input_.captions, ","), fmt::join(input_.json_keys, ","));
    for (const auto& path : input_.archives) text += " " + sampled_hash(path);
    return text;
  }
  std::string name() const override { return name_of_inputs(input_.archives); }
  std::string_view unit() const override { return "sample"; }
  std::string place(uint64_t input, uint64_t number) const override {
    return fmt::format("{} sample {}", input_.archives.at(input).string(), number);
  }

 private:
  static std::optional<std::size_t> rank_of(const std::vector<std::string>& names, std::string_view name) {
    const auto found = std::ranges::find(names, name);
    if (found == names.end()) return std::nullopt;
    return static_cast<std::size_t>(found - names.begin());
  }

  /// The member whose extension comes first among `names`; null if there is none.
  static TarMember* first_of(const std::vector<std::string>& names, TarSample& sample) {
    TarMember* best = nullptr;
    for (TarMember& member : sample.members) {
      const auto rank = rank_of(names, member.extension);
      if (rank && (best == nullptr || *rank < *rank_of(names, best->extension))) best = &member;
    }
    return best;
  }

  void fill(TarSample& from, IngestRecord& record) {
    TarMember* image = first_of(input_.images, from);
    TarMember* captions = first_of(input_.captions, from);
    const auto label = std::ranges::find(from.members, kClassExtension, &TarMember::extension);
    const bool has_label = label != from.members.end();
    for (const TarMember& member : from.members) {
      const bool is_used = &member == image || &member == captions || member.extension == kClassExtension;
      if (!is_used) record.sample.ignored.push_back("." + shown_name(member.extension));
    }
    if (image != nullptr) {
      if (image->bytes == 0) throw SampleFault(kNoImage, fmt::format("the .{} is empty", image->extension));
      if (!image->is_read) {
        throw SampleFault(kNoImage, fmt::format("the .{} has {} bytes, at most {} are allowed", image->extension,
                                                image->bytes, kMaxImageBytes));
      }
      const auto bytes = std::as_bytes(std::span(image->data));
      record.image.assign(bytes.begin(), bytes.end());
    }
    if (captions != nullptr) {
      check_read(*captions);
      if (captions->extension == "json") {
        read_json_captions(captions->data, input_.json_keys, record.sample);
      } else {
        add_stripped_caption(captions->data, record.sample);
      }
    } else if (!input_.captions.empty() && !has_label) {
      throw SampleFault(kBadText,
                        fmt::format("has no caption (.{}) and no class (.cls)", fmt::join(input_.captions, ", .")));
    }
    if (image == nullptr && (captions == nullptr || !input_.images.empty())) {
      throw SampleFault(kNoImage, fmt::format("has no image (.{})", fmt::join(input_.images, ", .")));
    }
    if (!has_label) return;
    check_read(*label);
    const std::size_t end = label->data.find_last_not_of(" \t\r\n");
    record.label_name = label->data.substr(0, end == std::string::npos ? 0 : end + 1);
    if (record.label_name.empty()) throw SampleFault(kBadLabel, "the .cls is empty");
  }

  static void check_read(const TarMember& member) {
    if (member.is_read) return;
    throw SampleFault(kBadText, fmt::format("the .{} has {} bytes, at most {} are allowed", member.extension,
                                            member.bytes, kMaxLineBytes));
  }

  WebdatasetInput input_;
  const WantedMember wanted_ = [this](std::string_view extension, uint64_t bytes) {
    return (rank_of(input_.images, extension) && bytes <= kMaxImageBytes) ||
           ((rank_of(input_.captions, extension) || extension == kClassExtension) && bytes <= kMaxLineBytes);
  };
  uint64_t at_ = 0, number_ = 0;
  std::optional<TarSamples> samples_;
};

}  // namespace

void read_json_captions(std::string_view text, const std::vector<std::string>& keys, SampleDescription& sample) {
  if (!is_utf8(text)) throw SampleFault(kMalformed, "the .json is not UTF-8");
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) throw SampleFault(kMalformed, "the .json is not JSON");
  if (!json.is_object())
    throw SampleFault(kMalformed, fmt::format("the .json must be an object, found {}", json.type_name()));
  for (const std::string& key : keys) {
    const auto found = json.find(key);
    if (found == json.end() || found->is_null()) continue;
    const bool is_list = found->is_array();
    if (is_list && found->size() > kMaxCaptionsPerSample) {
      throw SampleFault(kBadText, fmt::format("the .json has {} captions, at most {} are allowed", found->size(),
                                              kMaxCaptionsPerSample));
    }
    for (const Json& each : is_list ? *found : Json::array({*found})) {
      if (!each.is_string()) {
        throw SampleFault(kBadText, fmt::format("the .json's '{}' must be a string or an array of strings, found {}",
                                                key, each.type_name()));
      }
      add_stripped_caption(each.get_ref<const std::string&>(), sample);
    }
    if (!sample.texts.empty()) return;
  }
  throw SampleFault(kBadText, fmt::format("the .json has no caption under '{}'", fmt::join(keys, "', '")));
}

std::unique_ptr<IngestSource> open_webdataset(const WebdatasetInput& input) {
  return std::make_unique<Webdataset>(input);
}

}  // namespace triptych::data
