#pragma once

#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::base {

/// "0.1.0".
std::string_view program_version();

/// The commit that this program was built of: "4be78f0c78ab", with "-dirty" after it where the sources differed from
/// that commit. Empty where they were no checkout. Defined by what a program is linked with: cmake/commit.cmake.
std::string_view program_commit();

/// Version and commit as people are told them: "0.1.0 (commit 4be78f0c78ab)", "0.1.0 (commit unknown: built outside a
/// git checkout)".
std::string program_release();

/// The compiler that made this program: "g++ 12.2.0".
std::string compiler_text();

/// A hash of the file that this process runs, 32 hexadecimal digits: differs between any two builds. "unknown" where
/// /proc is not there. Reads the file.
std::string program_hash();

/// This machine's name.
std::string machine_name();

/// The time now as "2026-03-01T12:00:00Z", for people to read: the clocks of several machines need not agree.
std::string utc_time_text();

}  // namespace triptych::base
