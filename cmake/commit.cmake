# Which commit a program was built of. It is looked up in every build, and written into one small file that only programs are
# linked with: so a new commit compiles that file and links the programs anew, and nothing else.
#
#   triptych_commit      an object that defines program_commit() of base/program_identity.h
#   triptych_no_commit   the same for tests, which a commit does not touch
set(TRIPTYCH_COMMIT_SOURCE ${PROJECT_BINARY_DIR}/commit/program_commit.cpp)
find_program(GIT_PROGRAM git)
add_custom_target(triptych_write_commit
  BYPRODUCTS ${TRIPTYCH_COMMIT_SOURCE}
  COMMAND ${CMAKE_COMMAND} -D SOURCE=${PROJECT_SOURCE_DIR} -D FILE=${TRIPTYCH_COMMIT_SOURCE} -D GIT=${GIT_PROGRAM}
          -P ${PROJECT_SOURCE_DIR}/cmake/write_commit.cmake
  COMMENT "Looking which commit this is" VERBATIM)
add_library(triptych_commit OBJECT ${TRIPTYCH_COMMIT_SOURCE})
add_dependencies(triptych_commit triptych_write_commit)
target_link_libraries(triptych_commit PRIVATE triptych_flags)
add_library(triptych_no_commit OBJECT EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tests/support/no_commit.cpp)
target_link_libraries(triptych_no_commit PRIVATE triptych_flags)
