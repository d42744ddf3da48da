#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "data/ingest_source.h"

namespace triptych::data {

struct FolderInput {
  std::vector<std::filesystem::path> folders;  ///< each with a folder of images for each class
};

/// Folders of images: ROOT/class/any/where/0007.jpg. The classes are the names of the folders just below the roots, all
/// of them together, in byte order, and so are the images. A root that holds images and no folder gives images without
/// labels. Links to folders are not followed. Memory: the names of all images. Throws UserError if there is no image,
/// or if images lie beside the classes' folders.
std::unique_ptr<IngestSource> open_image_folder(const FolderInput& input);

}  // namespace triptych::data
