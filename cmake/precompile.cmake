# Precompiled headers where reading headers is half of the compiler's time: in the unoptimized builds, and of the tests and
# the launcher in all. An optimized build of a library reads each header where it is included, and so finds an include that
# is missing.

set(TRIPTYCH_PRECOMPILED_LIBRARY
    <algorithm> <array> <atomic> <chrono> <cmath> <cstdint> <filesystem> <fstream> <functional> <map> <memory> <mutex>
    <numeric> <optional> <random> <set> <span> <string> <string_view> <thread> <utility> <vector> <fmt/format.h>)
set(TRIPTYCH_PRECOMPILED_LAUNCHER ${TRIPTYCH_PRECOMPILED_LIBRARY} <CLI/CLI.hpp> <nlohmann/json.hpp>)
set(TRIPTYCH_PRECOMPILED_TESTS ${TRIPTYCH_PRECOMPILED_LIBRARY} <gtest/gtest.h>)
set(TRIPTYCH_PRECOMPILED_EMULATED_TESTS ${TRIPTYCH_PRECOMPILED_TESTS})

# triptych_precompile(TARGET LIBRARY|LAUNCHER|TESTS|EMULATED_TESTS): the first target of a kind compiles its headers, the others
# read what it made. All of one kind must have the same options, and all definitions of the first.
function(triptych_precompile target kind)
  if(kind STREQUAL "LIBRARY" AND NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    return()
  endif()
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)  # as ccache wants it
  get_property(owner GLOBAL PROPERTY TRIPTYCH_PRECOMPILED_BY_${kind})
  if(owner)
    target_precompile_headers(${target} REUSE_FROM ${owner})
  else()
    target_precompile_headers(${target} PRIVATE ${TRIPTYCH_PRECOMPILED_${kind}})
    set_property(GLOBAL PROPERTY TRIPTYCH_PRECOMPILED_BY_${kind} ${target})
  endif()
endfunction()
