# The CUDA backend: found or not, its rooms, and what they are linked with.
#
# Sets TRIPTYCH_HAS_CUDA. triptych_cuda is the backend without the CUDA libraries, so that the tests can link its very
# objects with tests/emulator; triptych_cuda_libraries are the real ones.
set(TRIPTYCH_HAS_CUDA FALSE)
# Known to the check of the arrows whether they are built here or not.
triptych_declare_room(device_cuda src/device/cuda device base)
triptych_declare_room(kernels_cuda kernels/cuda kernels device_cuda device base)
triptych_declare_room(parallel_cuda parallel/nccl parallel device_cuda device base)
if(TRIPTYCH_CUDA STREQUAL "OFF")
  message(STATUS "CUDA backend: off, as TRIPTYCH_CUDA says; the program has the CPU backend alone")
  return()
endif()

include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  # Their PTX too: for newer GPUs, whose driver translates it at the first start, and for the emulator of the tests.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 90)
  endif()
  set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # linked by name, below
  enable_language(CUDA)
  find_package(CUDAToolkit QUIET)
  find_package(TriptychNccl QUIET)
endif()
set(missing)
if(NOT CMAKE_CUDA_COMPILER)
  list(APPEND missing "nvcc")
else()
  foreach(part IN ITEMS CUDA::cudart CUDA::cublasLt)
    if(NOT TARGET ${part})
      list(APPEND missing ${part})
    endif()
  endforeach()
  if(NOT TriptychNccl_FOUND)
    list(APPEND missing "NCCL")
  endif()
endif()
if(missing)
  list(JOIN missing ", " missing)
  if(TRIPTYCH_CUDA STREQUAL "ON")
    message(FATAL_ERROR "TRIPTYCH_CUDA=ON needs ${missing}, not found. Install the CUDA toolkit with NCCL and put nvcc "
                        "on the PATH, or configure with -DTRIPTYCH_CUDA=AUTO")
  endif()
  message(STATUS "CUDA backend: not built, ${missing} not found; the program has the CPU backend alone")
  return()
endif()
message(STATUS "CUDA backend: with CUDA ${CUDAToolkit_VERSION} for sm ${CMAKE_CUDA_ARCHITECTURES}, in `triptych-cuda`, which the "
               "target `all` has; `triptych` hands over to it where run.device = \"cuda\"")
set(TRIPTYCH_HAS_CUDA TRUE)

set(CMAKE_CUDA_COMPILER_LAUNCHER ${PROJECT_SOURCE_DIR}/cmake/keep_ptxas_report.sh ${CCACHE_PROGRAM})
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know how nvcc 13 is told the standard
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")

# The toolkit's headers alone.
add_library(triptych_cuda_headers INTERFACE)
target_include_directories(triptych_cuda_headers SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS} ${NCCL_INCLUDE_DIR})

triptych_build_room(device_cuda   src/device/cuda  SEES device base USES triptych_cuda_headers)
triptych_build_room(kernels_cuda  kernels/cuda     SEES kernels device_cuda device base USES triptych_cuda_headers)
triptych_build_room(parallel_cuda parallel/nccl    OBJECTS SEES parallel device_cuda device base USES triptych_cuda_headers)
# Uncompressed PTX: the emulator of the tests reads it out of the very objects that are shipped.
target_compile_options(triptych_kernels_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr
                       --extended-lambda --no-compress -lineinfo -Xptxas=-v>)
add_library(triptych_cuda INTERFACE)
target_sources(triptych_cuda INTERFACE $<TARGET_OBJECTS:triptych_parallel_cuda>)
target_link_libraries(triptych_cuda INTERFACE triptych_parallel triptych_kernels_cuda triptych_device_cuda)

add_library(triptych_cuda_libraries INTERFACE)
target_link_libraries(triptych_cuda_libraries INTERFACE CUDA::cudart CUDA::cublasLt triptych_nccl ${CMAKE_DL_LIBS})
