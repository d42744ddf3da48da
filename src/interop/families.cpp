#include "interop/families.h"

namespace triptych::interop {

std::string_view library_name(Library library) {
  return library == Library::kOpenClip ? "open_clip" : "hf";
}

std::span<const Family> all_families() {
  static const Family kFamilies[] = {kClipOfOpenClip, kClipOfHuggingFace, kSiglipOfHuggingFace, kVit, kBert, kGpt2,
                                     kLlama};
  return kFamilies;
}

}  // namespace triptych::interop
