#pragma once

#include <string_view>

#include "base/rooms.h"

namespace triptych::data {

/// The Python program that reads a Parquet file with pyarrow and prints its rows as data/row_frame.h says. Arguments:
/// the file, the rows to pass over, and the columns of images, captions and labels, empty for the usual or none.
extern const std::string_view kParquetRowsScript;

}  // namespace triptych::data
