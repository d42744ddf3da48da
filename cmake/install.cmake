# What `cmake --install` puts where; docs/install.md shows it. Nothing in it names the folder that it was installed in.
#
#   bin/                 triptych, triptych-paper, triptych-cuda where that backend is built, triptych-run-ranks
#   lib/                 libtriptych.a and libtriptych-cuda.a: all rooms, each with one backend
#   include/triptych/    the rooms' headers, which include each other as in the sources: "tasks/task.h"
#   lib/cmake/Triptych/  find_package(Triptych)
#   share/triptych/launcher          what triptych-run-ranks is made of besides
#   share/triptych/slurm, share/triptych/configs, share/doc/triptych
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(TRIPTYCH_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/Triptych)

# triptych_library(NAME BACKEND EXPORT USED...): the archive of a program's rooms, those of one backend among them, and of the
# launcher without its main. One, so that no order of linking matters.
function(triptych_library name backend export)
  get_property(uses GLOBAL PROPERTY TRIPTYCH_USES)
  list(APPEND uses ${ARGN})
  list(REMOVE_DUPLICATES uses)
  set(objects $<TARGET_OBJECTS:triptych_launcher> $<TARGET_OBJECTS:triptych_commit>)
  get_property(rooms GLOBAL PROPERTY TRIPTYCH_BUILT_ROOMS)
  foreach(room IN LISTS rooms)
    if(NOT room MATCHES "_(cpu|cuda|paper)$" OR room MATCHES "_${backend}$")
      list(APPEND objects $<TARGET_OBJECTS:triptych_${room}>)
    endif()
  endforeach()
  add_library(${name}_library STATIC ${objects})
  set_target_properties(${name}_library PROPERTIES LINKER_LANGUAGE CXX OUTPUT_NAME ${name} EXPORT_NAME ${name})
  target_compile_features(${name}_library INTERFACE cxx_std_20)
  target_include_directories(${name}_library INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/triptych>)
  target_link_libraries(${name}_library INTERFACE Threads::Threads ${uses})
  set_target_properties(${name} PROPERTIES INSTALL_RPATH_USE_LINK_PATH TRUE)  # CUDA's libraries lie where ld.so does not look
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(TARGETS ${name}_library EXPORT ${export} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT ${export} NAMESPACE Triptych:: DESTINATION ${TRIPTYCH_PACKAGE_DIR})
endfunction()

get_property(uses GLOBAL PROPERTY TRIPTYCH_USES_cpu)
triptych_library(triptych cpu TriptychTargets ${uses})
if(TRIPTYCH_HAS_CUDA)
  triptych_library(triptych-cuda cuda Triptych_cuda_Targets CUDA::cudart CUDA::cublasLt triptych_nccl ${CMAKE_DL_LIBS})
endif()

set_target_properties(triptych-paper PROPERTIES INSTALL_RPATH_USE_LINK_PATH TRUE)
install(TARGETS triptych-paper RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

get_property(rooms GLOBAL PROPERTY TRIPTYCH_ROOMS)
string(REGEX MATCHALL "[^\n]+\\|[^\n]+\\|" rooms "${rooms}")
list(FILTER rooms EXCLUDE REGEX "_(cpu|cuda|paper)\\|")
foreach(room IN LISTS rooms)
  string(REGEX REPLACE "^.*\\|(.*)\\|$" "\\1" folder "${room}")
  file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.h)
  string(REGEX REPLACE "^src/" "" folder ${folder})
  install(FILES ${headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/triptych/${folder})
endforeach()
install(FILES launcher/program.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/triptych/launcher)

install(PROGRAMS launcher/run-ranks DESTINATION ${CMAKE_INSTALL_BINDIR} RENAME triptych-run-ranks)
install(FILES launcher/rank_hosts.py launcher/rank_watch.py DESTINATION ${CMAKE_INSTALL_DATADIR}/triptych/launcher)
install(DIRECTORY launcher/slurm DESTINATION ${CMAKE_INSTALL_DATADIR}/triptych USE_SOURCE_PERMISSIONS)
install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/triptych)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")
install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

write_basic_package_version_file(${PROJECT_BINARY_DIR}/TriptychConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES cmake/TriptychConfig.cmake ${PROJECT_BINARY_DIR}/TriptychConfigVersion.cmake cmake/dependencies.cmake
              cmake/FindTriptychDnnl.cmake cmake/FindTriptychNccl.cmake
        DESTINATION ${TRIPTYCH_PACKAGE_DIR})
