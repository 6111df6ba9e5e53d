# Writes the report page's parts as C++: the assembler takes the files' bytes as they are. Run again when a part changes,
# with a new time in the text, so that compiler caches look at the parts as well.
string(TIMESTAMP now "%s")
function(add_part name)
  list(TRANSFORM ARGN REPLACE "(.+)" ".incbin \"\\1\"")
  list(JOIN ARGN "\n" bytes)
  set(parts "${parts}
asm(R\"(.section .rodata
halotile_${name}_begin:
${bytes}
halotile_${name}_end: .byte 0
.previous)\");
extern const char ${name}_begin[] asm(\"halotile_${name}_begin\");
extern const char ${name}_end[] asm(\"halotile_${name}_end\");
" PARENT_SCOPE)
  set(views "${views}
extern const std::string_view ${name}{${name}_begin, static_cast<std::size_t>(${name}_end - ${name}_begin)};" PARENT_SCOPE)
endfunction()
add_part(page_template ${TEMPLATE})
add_part(page_style ${STYLE})
add_part(page_script ${SCRIPTS})
add_part(chart_library ${LIBRARY})
file(WRITE ${OUTPUT} "// Written by the build at ${now}.
#include <cstddef>
#include <string_view>
${parts}
namespace halotile {
${views}

}  // namespace halotile
")
