# ---- 10 seconds of each fuzzer, where clang is, which launcher/test installs
find_program(CLANG_FOR_FUZZING clang++-19)
set(fuzzer_library "")
if(CLANG_FOR_FUZZING)
  execute_process(COMMAND ${CLANG_FOR_FUZZING} -print-file-name=libclang_rt.fuzzer-x86_64.a
                  OUTPUT_VARIABLE fuzzer_library OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
if(EXISTS "${fuzzer_library}")
  add_test(NAME fuzz.short COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/run --no-install 10)
  set_tests_properties(fuzz.short PROPERTIES PROCESSORS 2 COST 1 TIMEOUT 1800)  # and of their build
  message(STATUS "Fuzzers: 10 seconds of each are among the tests")
else()
  message(STATUS "Fuzzers: not among the tests, since clang-19 with its libFuzzer is not here; launcher/test installs it")
endif()
