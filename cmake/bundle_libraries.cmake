# Copies the shared libraries that PROGRAM needs and another machine may lack to FOLDER. Run after PROGRAM was linked.
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${PROGRAM}
     RESOLVED_DEPENDENCIES_VAR libraries UNRESOLVED_DEPENDENCIES_VAR missing
     # What every GNU/Linux machine with a C++ runtime has, in a version at least as new as ours.
     POST_EXCLUDE_REGEXES "/ld-linux[^/]*$" "/lib(c|m|dl|rt|pthread|stdc\\+\\+|gcc_s)\\.so\\.[0-9]+$")
if(missing)
  message(FATAL_ERROR "${PROGRAM} needs libraries that are not here: ${missing}")
endif()
file(MAKE_DIRECTORY ${FOLDER})
foreach(library IN LISTS libraries)
  get_filename_component(name ${library} NAME)
  file(REAL_PATH ${library} real)
  execute_process(COMMAND ${CMAKE_COMMAND} -E copy_if_different ${real} ${FOLDER}/${name} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
