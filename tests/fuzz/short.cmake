# ---- Some seconds of each fuzzer, where clang is; minutes of each by tests/fuzz/run, which installs it
find_program(CLANG_FOR_FUZZING clang++-19)
set(fuzzer_library "")
if(CLANG_FOR_FUZZING)
  execute_process(COMMAND ${CLANG_FOR_FUZZING} -print-file-name=libclang_rt.fuzzer-x86_64.a
                  OUTPUT_VARIABLE fuzzer_library OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
if(EXISTS "${fuzzer_library}")
  # Most of the time is the first build, unoptimized parsers with sanitizers.
  add_test(NAME fuzz.short COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/run --no-install 5)
  set_tests_properties(fuzz.short PROPERTIES PROCESSORS 2 TIMEOUT 900)
  message(STATUS "Fuzzers: 5 s of each are among the tests")
else()
  message(STATUS "Fuzzers: not among the tests, since clang-19 with its libFuzzer is not here; tests/fuzz/run installs it")
endif()
