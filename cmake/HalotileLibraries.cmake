# The libraries halotile stands on, as imported targets. Portable builds link archives where Debian has them.
find_package(Threads REQUIRED)

# halotile_library(<target> <package header> <library name> [<more libraries>...]): shared, or static when portable.
function(halotile_library target header)
  find_path(${target}_INCLUDE ${header} REQUIRED)
  add_library(${target} INTERFACE)
  target_include_directories(${target} SYSTEM INTERFACE ${${target}_INCLUDE})
  foreach(name IN LISTS ARGN)
    if(HALOTILE_PORTABLE)
      find_library(${target}_${name} NAMES lib${name}.a ${name} REQUIRED)
    else()
      find_library(${target}_${name} NAMES ${name} REQUIRED)
    endif()
    target_link_libraries(${target} INTERFACE ${${target}_${name}})
  endforeach()
endfunction()

if(HALOTILE_PORTABLE)
  halotile_library(halotile_fmt fmt/format.h)  # Debian has no archive of it
  target_compile_definitions(halotile_fmt INTERFACE FMT_HEADER_ONLY)
else()
  halotile_library(halotile_fmt fmt/format.h fmt)
endif()
halotile_library(halotile_yaml yaml-cpp/yaml.h yaml-cpp)
halotile_library(halotile_cli CLI/CLI.hpp)
halotile_library(halotile_json nlohmann/json.hpp)
halotile_library(halotile_jpeg jpeglib.h jpeg)
halotile_library(halotile_png png.h png z)
halotile_library(halotile_zip zip.h zip)
halotile_library(halotile_onednn dnnl.hpp dnnl)
halotile_library(halotile_sqlite sqlite3.h sqlite3)

# Drawing is optional: without Cairo `halotile plan --image` says so.
find_path(HALOTILE_CAIRO_INCLUDE cairo.h PATH_SUFFIXES cairo)
find_library(HALOTILE_CAIRO_LIBRARY cairo)
if(HALOTILE_CAIRO_INCLUDE AND HALOTILE_CAIRO_LIBRARY AND NOT HALOTILE_PORTABLE)
  add_library(halotile_cairo INTERFACE)
  target_include_directories(halotile_cairo SYSTEM INTERFACE ${HALOTILE_CAIRO_INCLUDE})
  target_link_libraries(halotile_cairo INTERFACE ${HALOTILE_CAIRO_LIBRARY})
endif()

# Reading ONNX files is optional as well.
set(Protobuf_USE_STATIC_LIBS ${HALOTILE_PORTABLE})
find_package(Protobuf QUIET)

# Portable programs lie side by side and find the libraries that have no archive in lib/ beside them. RPATH, not RUNPATH:
# it also holds for what those libraries need themselves.
function(halotile_bundle target)
  if(HALOTILE_PORTABLE)
    add_custom_command(TARGET ${target} POST_BUILD VERBATIM
      COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:${target}> -DFOLDER=${PROJECT_BINARY_DIR}/lib
              -P ${PROJECT_SOURCE_DIR}/cmake/bundle_libraries.cmake)
  endif()
endfunction()
if(HALOTILE_PORTABLE)
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  set(CMAKE_BUILD_RPATH "$ORIGIN/lib")
  add_link_options(-Wl,--disable-new-dtags)
endif()
