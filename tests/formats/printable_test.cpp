#include "formats/printable.hpp"

#include <gtest/gtest.h>

namespace halotile::test {
namespace {

using namespace std::string_literals;

TEST(Printable, EscapesWhatATerminalObeys) {
  EXPECT_EQ(printable("photo 1.png"), "photo 1.png");
  EXPECT_EQ(printable("a\x1b[31mb"), "a\\x1b[31mb");
  EXPECT_EQ(printable("\0\t\r\n\x1f\x7f"s), "\\x00\\x09\\x0d\\x0a\\x1f\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\xc2\\x9b31m")
      << "C1's own introducer of commands";
  EXPECT_EQ(printable("\xc2\xa0\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82"),
            "\xc2\xa0\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82");
  EXPECT_EQ(printable_lines("a\nb\r"), "a\nb\\x0d");
  EXPECT_EQ(shown_path("a\nb"), "a\\x0ab");
}

TEST(Printable, EscapesWhatIsNoUtf8) {
  for (const std::string bytes : {"\x80", "\xc0\xaf", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80",
                                  "\xf4\x90\x80\x80", "\xff", "\xe2\x82", "\xf0\x9f\x99"}) {
    const std::string text = printable("a" + bytes + "b");
    EXPECT_EQ(text.size(), 2 + 4 * bytes.size()) << text;
    EXPECT_TRUE(text.starts_with("a\\x") && text.ends_with("b")) << text;
  }
}

TEST(Printable, CutsLongNames) {
  EXPECT_EQ(shown_name("it's"), "'it's'");
  EXPECT_EQ(shown_name(std::string(121, 'x')), "'" + std::string(120, 'x') + "...'");
  EXPECT_EQ(shown_name("\n"), "'\\x0a'");
}

}  // namespace
}  // namespace halotile::test
