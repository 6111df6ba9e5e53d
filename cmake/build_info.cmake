# Writes the build's provenance as C++; run at every build, rewrites the file only when something changed.
execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse HEAD OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE
                ERROR_QUIET RESULT_VARIABLE no_git)
if(no_git)
  set(commit "unknown")
  set(dirty false)
else()
  execute_process(COMMAND git -C ${SOURCE_DIR} status --porcelain OUTPUT_VARIABLE changes ERROR_QUIET)
  if(changes)
    set(dirty true)
  else()
    set(dirty false)
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
#include "pipeline/experiment/provenance.hpp"

namespace halotile {

const BuildInfo build_info{"@VERSION@", "@commit@", @dirty@, "@COMPILER@", "@BUILD_TYPE@", "@FLAGS@"};

}  // namespace halotile
]])
