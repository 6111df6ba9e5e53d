// Names from files, fit for messages and terminals: a file, a layer or a class may be called anything, also
// what a terminal takes for a command.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace halotile {

/// `text` on one line: control characters (C0, DEL, C1) and bytes that are no UTF-8 as \xNN, two digits each.
[[nodiscard]] std::string printable(std::string_view text);

/// The same, but line feeds stay.
[[nodiscard]] std::string printable_lines(std::string_view text);

/// A path for a message: printable, without quotes.
[[nodiscard]] std::string shown_path(const std::filesystem::path& path);

/// A name for a message: in quotes, printable, long ones cut.
[[nodiscard]] std::string shown_name(std::string_view name);

}  // namespace halotile
