# usage: cmake -D SOURCE=FOLDER -D FILE=FILE.cpp -D GIT=PROGRAM -P write_commit.cmake
#
# Writes FILE.cpp, which defines program_commit() as the commit of the checkout SOURCE: twelve digits, and "-dirty" where a
# file differs from that commit or is new and not ignored. Empty where SOURCE itself is no checkout (a tarball, even inside
# another project's checkout) or there is no git to ask. Touches FILE only if it changes.
set(commit "")
if(GIT AND EXISTS ${SOURCE}/.git)
  # Somebody else's checkout, as in a container, is refused else: its own build is about to run anyway.
  set(git ${GIT} -c safe.directory=* -C ${SOURCE})
  execute_process(COMMAND ${git} rev-parse --short=12 HEAD OUTPUT_VARIABLE head RESULT_VARIABLE code
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(code EQUAL 0)
    execute_process(COMMAND ${git} status --porcelain OUTPUT_VARIABLE changes RESULT_VARIABLE code ERROR_VARIABLE problem)
    if(NOT code EQUAL 0)
      message(FATAL_ERROR "[commit] `git status` must tell whether ${SOURCE} is as its commit ${head} has it, it failed: "
                          "${problem}Fix the checkout, or build what `git archive` makes of it.")
    endif()
    set(commit ${head})
    if(changes)
      string(APPEND commit "-dirty")
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT ${FILE} @ONLY CONTENT [=[
#include "base/program_identity.h"

namespace triptych::base {

std::string_view program_commit() {
  return "@commit@";
}

}  // namespace triptych::base
]=])
