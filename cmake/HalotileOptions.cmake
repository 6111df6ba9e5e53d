# One target for language, warnings and sanitizers; every target of the project links it.
add_library(halotile_options INTERFACE)
target_compile_features(halotile_options INTERFACE cxx_std_20)
# Contraction off: a multiply and an add are fused only where the code says fma, so bits do not depend on the compiler.
target_compile_options(halotile_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion;-Wno-sign-conversion;-Wnon-virtual-dtor;-Wold-style-cast;-Woverloaded-virtual;-Werror;-ffp-contract=off;-fno-math-errno>
  # Files compiled as one see each other's names.
  $<$<BOOL:$<TARGET_PROPERTY:UNITY_BUILD>>:-Wno-shadow>
  # GCC 12 warns of overlapping copies inside its own std::string.
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>)
if(HALOTILE_SANITIZE)
  target_compile_options(halotile_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${HALOTILE_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>)
  target_link_options(halotile_options INTERFACE -fsanitize=${HALOTILE_SANITIZE})
  # Function multiversioning resolves before the sanitizers start; such builds take one fixed instruction set.
  target_compile_definitions(halotile_options INTERFACE HALOTILE_NO_MULTIVERSIONING)
  target_compile_options(halotile_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-mavx2;-mfma>)
endif()
