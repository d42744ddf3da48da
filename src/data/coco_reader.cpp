#include "data/coco_reader.h"

#include <cmath>
#include <limits>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/line_reader.h"
#include "data/sample_description.h"

namespace triptych::data {
namespace {

using Json = nlohmann::json;

class Reader {
 public:
  Reader(const std::filesystem::path& path, CocoSet& set) : where_(path.string()), set_(set) {}

  void read(std::istream& stream) {
    Json rest;
    try {
      // Each element of the lists is looked at when it ends and not kept, and what is not wanted of it never stored.
      rest = Json::parse(stream,
                         [&](int depth, Json::parse_event_t event, Json& value) { return take(depth, event, value); });
    } catch (const Json::exception& error) {
      const auto* place = dynamic_cast<const Json::parse_error*>(&error);
      fail(fmt::format("is not JSON{}. Fetch it again.",
                       place == nullptr ? "" : fmt::format(" (at byte {})", place->byte)));
    }
    if (!rest.is_object() || !has_images_) {
      fail("is no COCO file: it must be an object with a list 'images', and one of 'annotations'.");
    }
  }

 private:
  [[noreturn]] void fail(const std::string& rule) const { throw UserError(where_, rule); }

  /// False: the value is forgotten.
  bool take(int depth, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    if (event == Event::key && depth == 1) {
      list_ = value.get<std::string>();
      has_images_ |= list_ == "images";
    }
    const bool is_list = list_ == "images" || list_ == "annotations" || list_ == "categories";
    if (event == Event::key && depth == 1) return is_list;
    if (!is_list) return true;
    if (event == Event::key && depth == 3) {
      const auto& key = value.get_ref<const std::string&>();
      for (const char* wanted :
           {"id", "file_name", "width", "height", "image_id", "caption", "bbox", "category_id", "iscrowd", "name"}) {
        if (key == wanted) return true;
      }
      return false;
    }
    if (event == Event::object_end && depth == 2) {
      if (list_ == "images") take_image(value);
      if (list_ == "annotations") take_annotation(value);
      if (list_ == "categories") take_category(value);
      return false;
    }
    if ((event == Event::value || event == Event::array_end) && depth == 2) {
      fail(fmt::format("has something else than objects in its list '{}'.", list_));
    }
    return true;
  }

  template <typename Integer>
  Integer integer_of(const Json& json, const char* key, std::string_view what) const {
    const auto found = json.find(key);
    const bool is_sound = found != json.end() && found->is_number_integer() &&
                          (found->is_number_unsigned()
                               ? found->get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<Integer>::max())
                               : std::numeric_limits<Integer>::is_signed);
    if (!is_sound) fail(fmt::format("has {} whose '{}' is missing or no integer in its range.", what, key));
    return found->get<Integer>();
  }

  void take_image(const Json& json) {
    const auto id = integer_of<uint64_t>(json, "id", "an image");
    CocoImage& image = set_.images[id];
    const auto file = json.find("file_name");
    if (file == json.end() || !file->is_string() || file->get_ref<const std::string&>().empty()) {
      fail(fmt::format("has no 'file_name' for the image {}.", id));
    }
    const auto& name = file->get_ref<const std::string&>();
    if (!image.file.empty() && image.file != name) {
      fail(
          fmt::format("says that image {} is '{}', but it was '{}' before. Files that are read together must be of the "
                      "same images, or number them differently.",
                      id, shown_name(name), shown_name(image.file)));
    }
    image.file = name;
    if (json.contains("width")) image.width = integer_of<uint32_t>(json, "width", "an image");
    if (json.contains("height")) image.height = integer_of<uint32_t>(json, "height", "an image");
  }

  void take_annotation(const Json& json) {
    CocoImage& image = set_.images[integer_of<uint64_t>(json, "image_id", "an annotation")];
    const auto refuse = [&](std::string_view what) {
      if (image.problem.empty()) image.problem = what;
    };
    if (const auto caption = json.find("caption"); caption != json.end()) {
      if (!caption->is_string()) return refuse("has a caption that is no string");
      image.captions.push_back(caption->get<std::string>());
    }
    const auto corners = json.find("bbox");
    if (corners == json.end() || !json.contains("category_id")) return;
    CocoBox box;
    if (!corners->is_array() || corners->size() != box.corners.size())
      return refuse("has a bbox that is not four numbers");
    for (std::size_t k = 0; k < box.corners.size(); ++k) {
      const Json& number = (*corners)[k];
      if (!number.is_number() || !std::isfinite(number.get<double>()))
        return refuse("has a bbox that is not four numbers");
      box.corners[k] = number.get<double>();
    }
    box.category = integer_of<int64_t>(json, "category_id", "an annotation");
    const auto crowd = json.find("iscrowd");
    box.is_crowd = crowd != json.end() && *crowd == 1;
    image.boxes.push_back(box);
  }

  void take_category(const Json& json) {
    const auto id = integer_of<int64_t>(json, "id", "a category");
    const auto name = json.find("name");
    if (name == json.end() || !name->is_string()) fail(fmt::format("has no 'name' for the category {}.", id));
    const auto [known, is_new] = set_.categories.try_emplace(id, name->get<std::string>());
    if (!is_new && known->second != name->get_ref<const std::string&>()) {
      fail(
          fmt::format("calls category {} '{}', but it was '{}' before. Files that are read together must have the same "
                      "categories.",
                      id, shown_name(name->get_ref<const std::string&>()), shown_name(known->second)));
    }
  }

  std::string where_;
  CocoSet& set_;
  std::string list_;  // the key of the top object whose value is being read
  bool has_images_ = false;
};

}  // namespace

void read_coco(const std::filesystem::path& path, CocoSet& set) {
  std::ifstream stream = open_input(path);
  Reader(path, set).read(stream);
}

}  // namespace triptych::data
