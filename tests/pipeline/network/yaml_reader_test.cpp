// The strict YAML reader: types, ranges, places, and what it suggests.
#include "pipeline/network/yaml_reader.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "patching/error.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

using support::message_of;
using support::TempFolder;

// Errors that reading `yaml` with `read` leaves, the places of file "f".
template <typename Read>
std::string errors_of(const std::string& yaml, const Read& read) {
  Diagnostics diagnostics("f");
  YamlMap map(diagnostics, YAML::Load(yaml), "");
  read(map);
  try {
    diagnostics.throw_if_any();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(YamlValue, ReadsIntegers) {
  const auto read = [](YamlMap& m) { EXPECT_EQ(m.integer("x", 7, -5, 100), 42); };
  EXPECT_EQ(errors_of("x: 42", read), "");
  EXPECT_EQ(errors_of("x: +42", read), "");
  EXPECT_EQ(errors_of("y: 1", [](YamlMap& m) { EXPECT_EQ(m.integer("x", 7, -5, 100), 7); }), "");
  EXPECT_EQ(errors_of("x:", [](YamlMap& m) { EXPECT_EQ(m.integer("x", 7, -5, 100), 7); }), "");
}

TEST(YamlValue, RefusesWhatIsNoIntegerInRange) {
  for (const std::string wrong : {"101", "-6", "1.5", "1e3", "4 2", "'42'", "\"42\"", "forty", "0x10", "+",
                                  "+-3", "99999999999999999999", "true"}) {
    const std::string shown = wrong.front() == '\'' || wrong.front() == '"' ? "42" : wrong;
    EXPECT_EQ(errors_of("x: " + wrong, [](YamlMap& m) { EXPECT_EQ(m.integer("x", 7, -5, 100), 7); }),
              "f:1:4: x: is '" + shown + "'; a whole number from -5 to 100 is needed");
  }
  EXPECT_EQ(errors_of("x: [1, 2]", [](YamlMap& m) { (void)m.integer("x", 7, -5, 100); }),
            "f:1:4: x: is a list of 2; a whole number from -5 to 100 is needed");
  EXPECT_EQ(errors_of("\n  x:\n    y: 3", [](YamlMap& m) { (void)m.integer("x", 7, 0, 1); }),
            "f:3:5: x: is a mapping; a whole number from 0 to 1 is needed");
}

TEST(YamlValue, ReadsNumbers) {
  for (const std::string right : {"0.25", "2.5e-1", ".25", "+0.25"}) {
    EXPECT_EQ(errors_of("x: " + right, [](YamlMap& m) { EXPECT_EQ(m.number("x", 7, 0, 1), 0.25); }), "")
        << right;
  }
  for (const std::string wrong : {"nan", ".nan", "inf", "-0.1", "1.1", "'0.5'", "a", "1,5", "1e999"}) {
    const std::string shown = wrong == "'0.5'" ? "0.5" : wrong;
    EXPECT_EQ(errors_of("x: " + wrong, [](YamlMap& m) { EXPECT_EQ(m.number("x", 7, 0, 1), 7); }),
              "f:1:4: x: is '" + shown + "'; a number from 0 to 1 is needed");
  }
}

TEST(YamlValue, ReadsBooleans) {
  EXPECT_EQ(errors_of("x: true", [](YamlMap& m) { EXPECT_TRUE(m.boolean("x", false)); }), "");
  EXPECT_EQ(errors_of("x: false", [](YamlMap& m) { EXPECT_FALSE(m.boolean("x", true)); }), "");
  for (const std::string wrong : {"yes", "1", "True", "off"}) {
    EXPECT_EQ(errors_of("x: " + wrong, [](YamlMap& m) { EXPECT_TRUE(m.boolean("x", true)); }),
              "f:1:4: x: is '" + wrong + "'; true or false is needed");
  }
}

TEST(YamlValue, ReadsExtents) {
  const auto reads = [](const std::string& yaml, Extent2 expected) {
    EXPECT_EQ(errors_of(yaml,
                        [&](YamlMap& m) {
                          EXPECT_EQ(m.extent("x", {7, 7}, 1, 9), expected) << yaml;
                        }),
              "");
  };
  reads("x: 3", {3, 3});
  reads("x: [3, 4]", {3, 4});
}

TEST(YamlValue, RefusesOtherExtents) {
  const auto error_of = [](const std::string& yaml) {
    return errors_of(yaml, [](YamlMap& m) { EXPECT_EQ(m.extent("x", {7, 7}, 1, 9), (Extent2{7, 7})); });
  };
  EXPECT_EQ(error_of("x: [3]"), "f:1:4: x: is a list of 1; one whole number or [height, width] is needed");
  EXPECT_EQ(error_of("x: [1, 2, 3]"),
            "f:1:4: x: is a list of 3; one whole number or [height, width] is needed");
  EXPECT_EQ(error_of("x: {a: 1}"), "f:1:4: x: is a mapping; one whole number or [height, width] is needed");
  EXPECT_EQ(error_of("x: [0, 10]"),
            "f:1:5: x[0]: is '0'; a whole number from 1 to 9 is needed\n"
            "f:1:8: x[1]: is '10'; a whole number from 1 to 9 is needed");
}

TEST(YamlValue, SuggestsTheNearestChoice) {
  static const std::vector<std::string> words{"per_conv", "fused"};
  const auto error_of = [](const std::string& yaml) {
    return errors_of(yaml, [](YamlMap& m) { EXPECT_EQ(m.choice("x", "fused", words), "fused"); });
  };
  EXPECT_EQ(error_of("x: fused"), "");
  EXPECT_EQ(error_of("x: perconv"),
            "f:1:4: x: is 'perconv'; one of per_conv, fused is needed; did you mean 'per_conv'?");
  EXPECT_EQ(error_of("x: banana"), "f:1:4: x: is 'banana'; one of per_conv, fused is needed");
  EXPECT_EQ(error_of("x: [fused]"), "f:1:4: x: is a list of 1; one of per_conv, fused is needed");
}

TEST(YamlMap, ReportsUnknownKeysWithTheNearestKnownOne) {
  const auto read = [](YamlMap& m) {
    (void)m.integer("streams", 1, 1, 9);
    (void)m.find("sub_batch");
    m.finish();
  };
  EXPECT_EQ(errors_of("streams: 2", read), "");
  EXPECT_EQ(errors_of("sub_batch: 1\nsteams: 2", read),
            "f:2:1: steams: is not a known key; did you mean 'streams'?");
  EXPECT_EQ(errors_of("zebra: 2", read), "f:1:1: zebra: is not a known key; known here: streams, sub_batch");
  const auto twice = [&](YamlMap& m) {
    (void)m.find("sub_batch");
    read(m);
  };
  EXPECT_EQ(errors_of("zebra: 2", twice), "f:1:1: zebra: is not a known key; known here: streams, sub_batch")
      << "each once";
}

TEST(YamlMap, ReportsKeysThatStandTwice) {
  const auto read = [](YamlMap& m) {
    (void)m.find("a");
    m.finish();
  };
  EXPECT_EQ(errors_of("a: 1\na: 2", read), "f:2:1: a: stands twice; keep one of the two");
  EXPECT_EQ(errors_of("a: 1\n'a': 2", read), "f:2:1: a: stands twice; keep one of the two");
}

TEST(YamlMap, ReportsKeysThatAreNoWords) {
  EXPECT_EQ(errors_of("? [1, 2]\n: 3", [](YamlMap& m) { m.finish(); }),
            "f:1:3: has a key that is not a word");
}

TEST(YamlMap, ReportsAMissingKeyWithAnExample) {
  EXPECT_EQ(errors_of("a: 1", [](YamlMap& m) { (void)m.require("model", "model: x.yaml"); }),
            "f:1:1: lacks the key 'model', for example `model: x.yaml`");
}

TEST(YamlMap, RefusesWhatIsNoMapping) {
  const auto section = [](YamlMap& m) {
    const auto value = m.find("a");
    if (!value) return;
    Diagnostics inner("g");
    const YamlMap no_map(inner, value->node(), "a");
    EXPECT_EQ(message_of<ConfigError>("", [&] { inner.throw_if_any(); }),
              "g:1:4: a: is '3'; a mapping (key: value) is needed");
  };
  EXPECT_EQ(errors_of("a: 3", section), "");
}

TEST(Diagnostics, PlacesOverriddenValuesOnTheCommandLine) {
  Diagnostics diagnostics("f");
  diagnostics.overridden("patch.size", "patch.size=0");
  diagnostics.overridden("input", "input={a: 1}");
  const YAML::Mark mark = YAML::Load("x").Mark();
  diagnostics.error(mark, "patch.size", "one");
  diagnostics.error(mark, "patch.size[1]", "two");
  diagnostics.error(mark, "patch.sizes", "three");
  diagnostics.error(mark, "input.a", "four");
  diagnostics.error(YAML::Mark::null_mark(), "", "five");
  EXPECT_EQ(message_of<ConfigError>("", [&] { diagnostics.throw_if_any(); }),
            "command line 'patch.size=0': patch.size: one\n"
            "command line 'patch.size=0': patch.size[1]: two\n"
            "f:1:1: patch.sizes: three\n"
            "command line 'input={a: 1}': input.a: four\n"
            "f: five");
}

TEST(NearestName, ForgivesSlipsOnly) {
  const std::vector<std::string> names{"streams", "sub_batch", "patch", "fully_connected"};
  EXPECT_EQ(nearest_name("stream", names), "streams");
  EXPECT_EQ(nearest_name("steram", names), "streams");
  EXPECT_EQ(nearest_name("subbatch", names), "sub_batch");
  EXPECT_EQ(nearest_name("fullyconected", names), "fully_connected");
  EXPECT_EQ(nearest_name("zebra", names), std::nullopt);
  EXPECT_EQ(nearest_name("anything", {}), std::nullopt);
}

TEST(LoadYaml, ReadsOneMapping) {
  const TempFolder folder;
  EXPECT_EQ(load_yaml(folder.write("f.yaml", "a: 1\n"))["a"].Scalar(), "1");
  EXPECT_EQ(load_yaml(folder.write("f.yaml", "---\na: &x 1\nb: *x\n---\n"))["b"].Scalar(), "1");
}

TEST(LoadYaml, ReadsPipesButNoDevices) {
  const TempFolder folder;
  const auto pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(pipe) << "a: 1\n"; });
  EXPECT_EQ(load_yaml(pipe)["a"].Scalar(), "1");
  writer.join();
  EXPECT_EQ(message_of<ConfigError>(folder.path(), [] { (void)load_yaml("/dev/zero"); }),
            "/dev/zero: is a device; name a YAML file");
}

struct YamlCase {
  std::string name;
  std::string text;
  std::string message;
};

std::ostream& operator<<(std::ostream& out, const YamlCase& c) { return out << c.name; }

// Twelve lists, each of ten times the one before.
std::string anchors_of_anchors() {
  std::string text = "a: [&a0 [x]";
  for (int i = 1; i < 12; ++i) {
    text += ", &a" + std::to_string(i) + " [";
    for (int n = 0; n < 10; ++n) text += (n > 0 ? ", *a" : "*a") + std::to_string(i - 1);
    text += "]";
  }
  return text + "]\n";
}

class RefusedYaml : public testing::TestWithParam<YamlCase> {};

TEST_P(RefusedYaml, IsAConfigError) {
  const TempFolder folder;
  const auto file = folder.write("f.yaml", GetParam().text);
  const std::string message = message_of<ConfigError>(folder.path(), [&] { (void)load_yaml(file); });
  EXPECT_EQ(message.find(GetParam().message), 0U) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Files, RefusedYaml,
    testing::Values(YamlCase{"empty", "", "f.yaml: is empty; a mapping (key: value lines) is needed"},
                    YamlCase{"comment_only", "# nothing\n", "f.yaml: is empty"},
                    YamlCase{"list", "- a\n- b\n", "f.yaml: holds no mapping"},
                    YamlCase{"word", "hello", "f.yaml: holds no mapping"},
                    YamlCase{"open_bracket", "a: 1\nb: [1, 2\n", "f.yaml:3:1: is not valid YAML: "},
                    YamlCase{"bad_indent", "a: 1\n  b: 2\n", "f.yaml:2:4: is not valid YAML: "},
                    YamlCase{"binary", std::string("\x00\x01\xff\xfe", 4), "f.yaml"},
                    YamlCase{"unknown_alias", "a: *nobody\n", "f.yaml:1:4: is not valid YAML: "},
                    YamlCase{"deep", std::string(20000, '['), "f.yaml"},
                    YamlCase{"anchor_that_holds_itself", "x: 1\npatch: &a {size: 4, b: *a}\n",
                             "f.yaml:2:12: is nested deeper than 64 levels, or an anchor (&) holds itself"},
                    YamlCase{"list_that_holds_itself", "a: &a [*a]\n", "f.yaml:1:4: is nested deeper"},
                    YamlCase{"key_that_holds_itself", "a: &a {*a : 1}\n", "f.yaml:1:4: is nested deeper"},
                    YamlCase{
                        "anchors_of_anchors", anchors_of_anchors(),
                        "f.yaml:1:10: stands behind 1000000 values, those that aliases (*) repeat counted"},
                    YamlCase{"second_document", "a: 1\n---\na: 2\n",
                             "f.yaml:3:1: is a second document (behind ---); keep one of the two"},
                    YamlCase{"too_large", "# " + std::string(17 << 20, 'x'),
                             "f.yaml: is larger than 16 MiB; name a YAML file that is written by hand"}),
    [](const testing::TestParamInfo<YamlCase>& c) { return c.param.name; });

TEST(LoadYaml, NamesFilesThatCannotBeRead) {
  const TempFolder folder;
  EXPECT_EQ(message_of<ConfigError>(folder.path(), [&] { (void)load_yaml(folder.path() / "none.yaml"); }),
            "none.yaml: cannot be opened; check the path");
  std::filesystem::create_directory(folder.path() / "sub");
  EXPECT_EQ(message_of<ConfigError>(folder.path(), [&] { (void)load_yaml(folder.path() / "sub"); }),
            "sub: is a folder; name a YAML file in it");
}

}  // namespace
}  // namespace halotile
