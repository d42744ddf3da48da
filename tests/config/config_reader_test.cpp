#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "config_support.h"

namespace triptych::test {
namespace {

TEST(ConfigReader, AnEmptyTextKeepsTheDefaults) {
  EXPECT_EQ(read_options(""), Options{});
}

TEST(ConfigReader, TakesEveryType) {
  const Options options = read_options(R"(
[training]
steps = 5_000
dropout = 0
precision = "bf16"
[run]
seed = 9223372036854775807
threads = 0x10
[optimizer]
rate = 3e-4
[data]
flip = true
path = 'C:\raw'
names = ["x", "雪"]
means = [1, 2.5]
)");
  Options expected;
  expected.steps = 5000;
  expected.dropout = 0;
  expected.precision = "bf16";
  expected.seed = std::numeric_limits<int64_t>::max();
  expected.threads = 16;
  expected.rate = 3e-4;
  expected.flip = true;
  expected.path = "C:\\raw";
  expected.names = {"x", "雪"};
  expected.means = {1, 2.5};
  EXPECT_EQ(options, expected);
}

TEST(ConfigReader, ListsEveryProblemInTheOrderOfTheFile) {
  const std::string message = message_of(R"([training]
steps = "many"
presicion = "bf16"
dropout = 1.0
[run]
threads = 0
[data]
names = ["a", 3]
means = [0.5, -1.0]
)",
                                         {"run.sed=3"});
  EXPECT_EQ(message,
            "[a.toml] the configuration has 7 problems:\n"
            "  a.toml:2: `training.steps` must be an integer, found \"many\". Write an integer.\n"
            "  a.toml:3: a key must be known, found `training.presicion`. Did you mean `training.precision`?\n"
            "  a.toml:4: `training.dropout` must be below 1, found 1.0. The default is 0.1.\n"
            "  a.toml:6: `run.threads` must be at least 1, found 0. The default is 1.\n"
            "  a.toml:8: `data.names` must be a list of strings, found [\"a\", 3]. Write a list such as [\"a\", "
            "\"b\"].\n"
            "  a.toml:9: `data.means` must be at least 0, found [0.5, -1.0]. The default is [0.5, 0.25].\n"
            "  --set run.sed=3: a key must be known, found `run.sed`. Did you mean `run.seed`?");
}

TEST(ConfigReader, OneProblemStandsOnOneLine) {
  EXPECT_EQ(message_of("training.precision = 'fp23'"),
            "[a.toml:1] `training.precision` must be one of fp32, bf16, found \"fp23\". Did you mean \"fp32\"?");
  EXPECT_EQ(message_of("steps = 3"), "[a.toml:1] a key must be known, found `steps`. Did you mean `training.steps`?");
  EXPECT_EQ(message_of("[zebra]"), "[a.toml:1] a key must be known, found `zebra`. Remove it.");
  EXPECT_EQ(message_of("training = 1"),
            "[a.toml:1] `training` must be a table of keys, found a value. Write [training] and its keys below.");
  EXPECT_EQ(message_of("training.steps.more = 1"),
            "[a.toml:1] a key must be known, found `training.steps.more`. Did you mean `training.steps`?");
}

// A name of other programs, in whatever section and spelling, is answered with the keys that it means.
TEST(ConfigReader, TellsWhatOthersCallAKey) {
  const auto told = [](std::string_view text) -> std::string {
    ConfigReader reader = ConfigReader::from_text(text, "a.toml");
    int64_t steps = 1, image = 2, captions = 3;
    reader.read("training.steps", steps, "Optimizer updates.").at_least(1).also_called({"epochs", "max_steps"});
    reader.read("image.layers", image, "Blocks.").also_called({"depth"});
    reader.read("text.layers", captions, "Blocks.").also_called({"depth"});
    EXPECT_PRED2(contains, reader.documentation(),
                 "| at least 1 | Optimizer updates. Elsewhere: `epochs`, `max_steps`. |");
    try {
      reader.finish();
      return "";
    } catch (const UserError& error) {
      return error.what();
    }
  };
  EXPECT_EQ(told("epochs = 3"),
            "[a.toml:1] a key must be known, found `epochs`. Here it is `training.steps`: Optimizer updates.");
  EXPECT_PRED2(contains, told("trainer.Max-Steps = 3"), "Here it is `training.steps`");
  EXPECT_PRED2(contains, told("model.depth = 3"), "Here it is `image.layers` or `text.layers`: Blocks.");
  EXPECT_PRED2(contains, told("trainer.epoch = 3"), "found `trainer.epoch`. Remove it.");
  EXPECT_EQ(told("training.steps = 3"), "");
}

TEST(ConfigReader, RefusesWrongTypes) {
  EXPECT_PRED2(contains, message_of("training.steps = 1.0"), "without a point");
  EXPECT_PRED2(contains, message_of("training.steps = true"), "must be an integer, found true");
  EXPECT_PRED2(contains, message_of("training.steps = 1979-05-27"), "found a date");
  EXPECT_PRED2(contains, message_of("training.steps = {}"), "`training.steps`");
  EXPECT_PRED2(contains, message_of("training.steps = [{a = 1}]"),
               "found `training.steps.0.a`. Did you mean `training.steps`");
  EXPECT_PRED2(contains, message_of("run.threads = 2147483648"), "an integer from -2147483648 to 2147483647");
  EXPECT_PRED2(contains, message_of("run.seed = -1"), "an integer from 0 to 9223372036854775807, found -1");
  EXPECT_PRED2(contains, message_of("optimizer.rate = nan"), "a finite number, found nan");
  EXPECT_PRED2(contains, message_of("optimizer.rate = -inf"), "a finite number, found -inf");
  EXPECT_PRED2(contains, message_of("training.dropout = 1e300"), "float32");
  EXPECT_PRED2(contains, message_of("data.flip = 1"), "must be a boolean, found 1. Write true or false.");
  EXPECT_PRED2(contains, message_of("data.path = \"a\\u0000b\""), "without bytes of value 0");
  EXPECT_PRED2(contains, message_of("data.names = []"), "must be not empty");
}

TEST(ConfigReader, OverridesWinAndAreNamed) {
  const Options options = read_options("training.steps = 5\nrun.threads = 2",
                                       {"training.steps=8", "data.path=data/emoji/train", "training.precision=bf16",
                                        "data.names=['q', \"r\"]", "data.flip=true", "training.steps=9"});
  EXPECT_EQ(options.steps, 9);
  EXPECT_EQ(options.threads, 2);
  EXPECT_EQ(options.path, "data/emoji/train");
  EXPECT_EQ(options.precision, "bf16");
  EXPECT_EQ(options.names, (std::vector<std::string>{"q", "r"}));
  EXPECT_TRUE(options.flip);
  EXPECT_EQ(read_options("", {"data.path=2024"}).path, "2024");
  EXPECT_EQ(read_options("data.path = 'x'", {"data.path="}).path, "");
  EXPECT_EQ(read_options("", {"data.path=a=b"}).path, "a=b");

  EXPECT_EQ(message_of("", {"training.steps=0"}),
            "[--set training.steps=0] `training.steps` must be at least 1, found 0. The default is 100.");
  EXPECT_PRED2(contains, message_of("", {"training.steps=10k"}), "must be an integer, found \"10k\"");
  EXPECT_PRED2(contains, message_of("", {"training.steps"}), "must be key=value");
  EXPECT_PRED2(contains, message_of("", {"=1"}), "names joined by dots");
  EXPECT_PRED2(contains, message_of("", {"training..steps=1"}), "names joined by dots");
  EXPECT_PRED2(contains, message_of("", {"include=b.toml"}), "must be in a file");
  EXPECT_PRED2(contains, message_of("", {"data.names=[1,"}), "must be a TOML value");
  EXPECT_PRED2(contains, message_of("", {"training.steps=1\nx = 2"}), "must be an integer, found \"1\\nx = 2\"");
}

TEST(ConfigReader, ABrokenRuleLeavesTheDefaultForLaterChecks) {
  ConfigReader reader = ConfigReader::from_text("a.heads = 0\na.width = 10", "a.toml");
  int heads = 4, width = 8;
  reader.read("a.heads", heads, "").at_least(1);
  reader.read("a.width", width, "");
  EXPECT_EQ(heads, 4);
  EXPECT_EQ(width, 10);
  reader.problem("a.width", "must be a multiple of a.heads: 10 / 4", "Set it to 8 or 12");
  try {
    reader.finish();
    FAIL();
  } catch (const UserError& e) {
    EXPECT_STREQ(e.what(),
                 "[a.toml] the configuration has 2 problems:\n"
                 "  a.toml:1: `a.heads` must be at least 1, found 0. The default is 4.\n"
                 "  a.toml:2: `a.width` must be a multiple of a.heads: 10 / 4. Set it to 8 or 12.");
    EXPECT_EQ(e.exit_code(), 2);
  }
}

TEST(ConfigReader, ARequiredKeyMustBeGiven) {
  std::string path;
  ConfigReader reader = ConfigReader::from_text("", "a.toml");
  reader.read("data.path", path, "").not_empty().required();
  EXPECT_THROW(reader.finish(), UserError);
  ConfigReader given = ConfigReader::from_text("data.path = 'x'", "a.toml");
  given.read("data.path", path, "").not_empty().required();
  given.finish();
  EXPECT_EQ(path, "x");

  int64_t count = 1;
  ConfigReader missing = ConfigReader::from_text("", "a.toml");
  missing.read("data.count", count, "").required();
  try {
    missing.finish();
    FAIL();
  } catch (const UserError& e) {
    EXPECT_STREQ(e.what(),
                 "[a.toml] `data.count` must be given, found nothing. Write it in the file or pass --set "
                 "data.count=...");
  }
}

TEST(ConfigReader, BindingAKeyTwiceIsOurDefect) {
  ConfigReader reader = ConfigReader::from_text("", "a.toml");
  int value = 0;
  reader.read("a.b", value, "");
  EXPECT_THROW(reader.read("a.b", value, ""), InternalError);
  EXPECT_THROW(reader.read("a", value, ""), InternalError);
  EXPECT_THROW(reader.read("a.b.c", value, ""), InternalError);
  EXPECT_THROW(reader.read("a..c", value, ""), InternalError);
}

TEST(ConfigReader, TheEffectiveConfigReadsBackToTheSameValues) {
  Options options;
  options.seed = 123456789012345678;
  options.dropout = 0.3f;
  options.rate = 0.1 + 0.2;
  options.path = "quote \" back\\slash\ttab\nline \x01 \x7f 雪";
  options.names = {"", "]", "# no comment"};
  options.means = {1e-300, 1e300, 3, 0.1};
  ConfigReader first = ConfigReader::from_text("training.steps = 12", "a.toml");
  Options changed = options;
  bind(first, changed);
  first.finish();
  EXPECT_EQ(changed.steps, 12);

  const std::string text = first.effective_toml();
  ConfigReader second = ConfigReader::from_text(text, "effective.toml");
  Options again;
  bind(second, again);
  second.finish();
  EXPECT_EQ(again, changed);
  EXPECT_EQ(second.effective_toml(), text);
  EXPECT_PRED2(contains, text, "[training]\n# Optimizer updates of the whole run.\nsteps = 12\n");
}

TEST(ConfigReader, EveryFloatReadsBackFromTheEffectiveConfig) {
  uint32_t bits = 1;
  for (int i = 0; i < 2000; ++i) {
    bits = bits * 1664525u + 1013904223u;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    ConfigReader reader = ConfigReader::from_text("", "a.toml");
    reader.read("x", value, "");
    float again = 0;
    ConfigReader second = ConfigReader::from_text(reader.effective_toml(), "b.toml");
    second.read("x", again, "");
    second.finish();
    ASSERT_EQ(again, value);
  }
}

TEST(ConfigReader, DocumentsEveryKeyBySection) {
  ConfigReader reader = ConfigReader::from_text("training.steps = 3", "a.toml");
  Options options;
  bind(reader, options);
  const std::string text = reader.documentation();
  EXPECT_PRED2(contains, text,
               "## `training`\n\n| key | type | default | rule | meaning |\n|---|---|---|---|---|\n"
               "| `training.steps` | integer | `100` | at least 1 | Optimizer updates of the whole run. "
               "|\n| `training.dropout` | number | `0.1` | at least 0, below 1 | Share of zeros. |\n");
  EXPECT_PRED2(contains, text, "| `training.precision` | string | `\"fp32\"` | one of fp32, bf16 | Of products. |");
  EXPECT_PRED2(contains, text, "A folder of shards \\| or an index.");
}

TEST(ConfigReader, SyntaxErrorsNameLineAndColumn) {
  EXPECT_PRED2(contains, message_of("[run]\nseed = \n"), "[a.toml:2:");
  EXPECT_PRED2(contains, message_of("[run]\nseed = 1\nseed = 2\n"), "[a.toml:3:");
  EXPECT_PRED2(contains, message_of("run.seed = 99999999999999999999"), "[a.toml:1:");
  EXPECT_PRED2(contains, message_of("x = \"unterminated"), "[a.toml:1:");
}

TEST(ConfigReader, RefusesHostileText) {
  using namespace std::string_view_literals;
  EXPECT_PRED3(contains_both, message_of("a = 1\nb = \0"sv), "[a.toml:2]", "byte of value 0");
  EXPECT_PRED3(contains_both, message_of("a = 1\n\nb = '\xff'"), "[a.toml:3]", "UTF-8");
  EXPECT_PRED2(contains, message_of(std::string((1 << 20) + 1, ' ')), "at most 1048576 bytes, found 1048577");
  const auto repeat = [](std::string_view what, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += what;
    return text;
  };
  EXPECT_PRED2(contains, message_of("\n[" + repeat("a.", 200000) + "a]"), "[a.toml:2] the file must nest at most 16");
  EXPECT_PRED2(contains, message_of(repeat("a.", 200000) + "a = 1"), "must nest");
  EXPECT_PRED2(contains, message_of("a = " + repeat("[", 200000)), "must nest");
  EXPECT_PRED2(contains, message_of("a = " + repeat("{a=", 200000)), "must nest");
  EXPECT_PRED2(contains, message_of("a = [ \"\"\"x\"\"\"\"\", {" + repeat("a.", 20) + "a = 1}]"), "must nest");
  EXPECT_PRED2(contains, message_of("a = '''\n'''\nb.'c'." + repeat("\"a\" . ", 20) + "a = 1"), "[a.toml:3]");
  // Dots and brackets within strings and comments nest nothing.
  EXPECT_EQ(message_of("data.path = '" + repeat(".", 50) + "' # " + repeat("[", 50)), "");
  EXPECT_EQ(message_of("data.path = \"\\\"" + repeat("[", 50) + "\""), "");
  EXPECT_EQ(message_of("data.path = '''\n'" + repeat("[", 50) + "'''"), "");
  // The library would take what stands there for a name.
  for (const std::string text : {"[", "[\n", "[[ \n]]", "[.a]", "[[[a]]]"}) {
    EXPECT_PRED2(contains, message_of("data.flip = true\n" + text), "[a.toml:2] the file must name a table") << text;
    EXPECT_PRED2(contains, message_of(text), "[a.toml:1] the file must name a table") << text;
    EXPECT_EQ(message_of("", {"data.path=1\n" + text}), "") << text;  // a string
  }
  // The library would read a value from a bracket of the other kind.
  for (const std::string value : {"[}", "[1, }]", "[{]", "[\n}", "]", "}", "[[1]}"}) {
    EXPECT_PRED2(contains, message_of("data.flip = true\ndata.means = " + value), "the file must close each") << value;
  }
  EXPECT_PRED2(contains, message_of("", {"data.means=[}"}), "[--set data.means=[}] the value must close each");
  EXPECT_EQ(message_of("", {"data.path=a]/d\u00e4ta}"}), "");
  EXPECT_PRED2(contains, message_of("\xef\xbb\xbf[=]"), "[a.toml:1] the file must name a table");
  // The library takes some of these for blanks, and of others it does not know what they are.
  for (const std::string text :
       {"\u00a0[run]", "data.flip = true\u02ff", "d\u00e4ta.flip = true", "\xef\xbb\xbf\xef\xbb\xbf"}) {
    EXPECT_PRED2(contains, message_of("data.flip = true\n" + text), "[a.toml:2] the file must have letters") << text;
  }
  // A quote within a value begins no string for the library, which goes on to the value's end and meets such a letter.
  for (const std::string value : {"18'\u00e4'", "1.'\u00e4'", "='\u00e4'", "1['\u00e4']", "1{'\u00e4'}", "[1'\u00e4']",
                                  "{a = 1\"\u00e4\"}", "[{a = 1}'\u00e4']"}) {
    EXPECT_PRED2(contains, message_of("data.flip = true\nrun.seed = " + value),
                 "[a.toml:2] the file must begin a string where a value begins")
        << value;
  }
  // And behind a '\\' within a string of several lines.
  for (const std::string string : {"\"\"\"a\\\u00e4\"\"\"", "\"\"\"a \\\n\u00e4\"\"\"", "\"\"\"\\ \n\n \u00e4\"\"\""}) {
    EXPECT_PRED2(contains, message_of("data.path = " + string), "the file must have no letter beyond ASCII") << string;
  }
  EXPECT_EQ(message_of("data.path = \"\"\"\u00e4 \\\n  a\u00e4\\\"\"\"\"\"\"\nrun.seed = 1"), "");
  EXPECT_PRED2(contains, message_of("data.path = \"\"\"a\\\n\n\"\"\"\nrun.seed = -1"), "[a.toml:4]");
  EXPECT_EQ(message_of("", {"data.path=it's \u00e4"}), "");
  EXPECT_EQ(message_of("data = {'path' = '\u00e4', \"flip\" = true}"), "");
  EXPECT_EQ(message_of("\xef\xbb\xbf# \u00a0\n"
                       "data.path = '\u00a0\u02ff' # \u3000"),
            "");
  EXPECT_EQ(message_of("[ training ]\nsteps = 1\n['run']\nseed = 1\n\t[\"data\"] # [\nmeans = [\n1,\n]"), "");
  EXPECT_PRED2(contains, message_of("data.means = [\n[0.5],\n[]]"), "must be a list of numbers");
  EXPECT_PRED2(contains, message_of("[[]]"), "[a.toml:1:");
  // Many problems are cut, one long word is no reason to compare for long.
  std::string many;
  for (int i = 0; i < 60000; ++i) many += fmt::format("z{} = 1\n", i);
  EXPECT_PRED3(contains_both, message_of(many), "has 60000 problems", "and 59950 more");
  EXPECT_PRED2(contains, message_of(repeat("a", 200) + " = 1"), "a key must be known");
  EXPECT_PRED2(contains, message_of(repeat("a", 900000) + " = 1"), "at most 200 bytes, found 900000 that begin with");
  // Each of the keys would hold the table's name: 45 GB.
  EXPECT_PRED2(contains, message_of("[" + repeat("a", 450000) + "]\n" + many.substr(0, many.find("z40000 "))),
               "[a.toml:1] a key with its tables must have at most 200 bytes, found 450000");
  EXPECT_PRED2(contains, message_of("\"a.b\" = 1"), "must be letters, digits");
  EXPECT_PRED2(contains, message_of("", {"data.path=\xff"}), "UTF-8");
}

TEST(ConfigReader, MutatedFilesNeverDoMoreThanThrowAUserError) {
  const std::string sound =
      "[training]\nsteps = 5 # c\nprecision = \"bf16\"\n[data]\nnames = ['a', \"b\"]\nmeans=[1.5,2]\n";
  uint32_t random = 12345;
  const auto next = [&] { return random = random * 1664525u + 1013904223u, random >> 8; };
  constexpr std::string_view kLetters = "[]{}'\"\\=.,#\n\t 0x-+eu_";
  int num_read = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = sound;
    for (uint32_t k = 0; k < 1 + next() % 4; ++k) {
      const std::size_t at = next() % text.size();
      if (next() % 2 == 0) {
        text[at] = next() % 3 == 0 ? static_cast<char>(next()) : kLetters[next() % kLetters.size()];
      } else {
        text.insert(at, 1, kLetters[next() % kLetters.size()]);
      }
    }
    num_read += message_of(text).empty() ? 1 : 0;
  }
  EXPECT_GT(num_read, 0);
  EXPECT_LT(num_read, 3000);
}

}  // namespace
}  // namespace triptych::test
