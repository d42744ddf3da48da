# Precompiled headers of the unoptimized builds, where reading headers is half of the compiler's time. An optimized build
# reads each header where it is included, and so finds an include that is missing.

set(TRIPTYCH_PRECOMPILED_LIBRARY
    <algorithm> <array> <atomic> <chrono> <cmath> <cstdint> <filesystem> <fstream> <functional> <map> <memory> <mutex>
    <numeric> <optional> <random> <set> <span> <string> <string_view> <thread> <utility> <vector> <fmt/format.h>)
set(TRIPTYCH_PRECOMPILED_TESTS ${TRIPTYCH_PRECOMPILED_LIBRARY} <gtest/gtest.h>)

if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)  # as ccache wants it
endif()

# triptych_precompile(TARGET LIBRARY|TESTS): the first target of a kind compiles its headers, the others read what it
# made. All of one kind must have the same options.
function(triptych_precompile target kind)
  if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    return()
  endif()
  get_property(owner GLOBAL PROPERTY TRIPTYCH_PRECOMPILED_BY_${kind})
  if(owner)
    target_precompile_headers(${target} REUSE_FROM ${owner})
  else()
    target_precompile_headers(${target} PRIVATE ${TRIPTYCH_PRECOMPILED_${kind}})
    set_property(GLOBAL PROPERTY TRIPTYCH_PRECOMPILED_BY_${kind} ${target})
  endif()
endfunction()
