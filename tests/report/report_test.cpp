#include "report/report.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "report/html.h"
#include "report/svg_curve.h"
#include "report/svg_file.h"

namespace triptych::test {
namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST(Base64, AgreesWithTheSpecification) {  // RFC 4648, section 10
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"},
                                                         {"\xff\xfe\xfd", "//79"}};
  for (const auto& [text, encoded] : vectors) EXPECT_EQ(base64(bytes_of(text)), encoded);
}

TEST(EscapeHtml, LeavesNothingThatIsMarkup) {
  EXPECT_EQ(escape_html("<a href=\"x\" on='y'>&amp;"), "&lt;a href=&quot;x&quot; on=&#39;y&#39;&gt;&amp;amp;");
  EXPECT_EQ(escape_html("红苹果 ü 🍎\t\n"), "红苹果 ü 🍎\t\n");
}

TEST(EscapeHtml, ReplacesWhatIsNoText) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(escape_html("a\xff\xfe"
                        "b"),
            "a" + bad + bad + "b");
  EXPECT_EQ(escape_html("\xE7\xBA"), bad + bad);  // cut in the middle
  EXPECT_EQ(escape_html("\xC0\xBC"), bad + bad);  // an overlong '<'
  EXPECT_EQ(escape_html(std::string_view("\0\r\x1b\x7f", 4)), bad + bad + bad + bad);
  EXPECT_EQ(escape_html("\xC2\x85\xC2\xA0"), bad + "\xC2\xA0");  // a control, then a space
}

TEST(ShortNumber, IsShort) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(0.25), "0.25");
  EXPECT_EQ(short_number(-2.5), "-2.5");
  EXPECT_EQ(short_number(0.1 + 0.2), "0.3");
  EXPECT_EQ(short_number(5e-4), "5e-4");
  EXPECT_EQ(short_number(-1.25e-7), "-1.25e-7");
  EXPECT_EQ(short_number(1500), "1500");
  EXPECT_EQ(short_number(9999), "9999");
  EXPECT_EQ(short_number(25000), "25k");
  EXPECT_EQ(short_number(1.2e6), "1.2M");
  EXPECT_EQ(short_number(3e12), "3e12");
}

TEST(Ticks, AreRoundNumbersWithin) {
  EXPECT_EQ(ticks(0, 2000), (std::vector<double>{0, 500, 1000, 1500, 2000}));
  EXPECT_EQ(ticks(-3, 3), (std::vector<double>{-2, 0, 2}));
  for (const auto& [low, high] : {std::pair{0.0, 1e-3}, {0.7, 6.3}, {1e8, 1e8 + 1}, {-1e-9, 2e-9}, {3, 1003}}) {
    const std::vector<double> values = ticks(low, high);
    EXPECT_GE(values.size(), 2u);
    EXPECT_LE(values.size(), 6u);
    for (const double value : values) {
      EXPECT_GE(value, low - 1e-6 * (high - low));
      EXPECT_LE(value, high + 1e-6 * (high - low));
    }
  }
}

TEST(ThinOut, KeepsTheExtremesInTheirOrder) {
  std::vector<CurvePoint> points;
  for (int i = 0; i < 10007; ++i) points.push_back({static_cast<double>(i), std::sin(i * 0.7)});
  points[5000].y = 9;
  points[5001].y = -9;
  points[77].y = std::nan("");
  const std::vector<CurvePoint> kept = thin_out(points, 100);
  EXPECT_LE(kept.size(), 100u);
  EXPECT_GE(kept.size(), 90u);
  for (std::size_t i = 1; i < kept.size(); ++i) EXPECT_LT(kept[i - 1].x, kept[i].x);
  const auto has = [&](double x, double y) {
    return std::any_of(kept.begin(), kept.end(), [&](const CurvePoint& p) { return p.x == x && p.y == y; });
  };
  EXPECT_TRUE(has(5000, 9));
  EXPECT_TRUE(has(5001, -9));
  EXPECT_EQ(thin_out(points, 20000).size(), points.size());
}

TEST(SvgCurve, PutsPointsWhereTheyBelong) {
  const std::vector<CurvePoint> points{{0, 0}, {10, 5}, {20, 10}};
  const std::string svg = svg_curve(points, {"A <b> title", "step", true, false});
  // The frame is 342 by 166 at (46, 10); the vertical axis goes from 0 to 10.5.
  EXPECT_NE(svg.find("d=\"M46.0 176.0L217.0 97.0L388.0 17.9\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("A &lt;b&gt; title"), std::string::npos);
  EXPECT_NE(svg.find("last <b>10</b>"), std::string::npos);
}

TEST(SvgFile, HasTheSameCurvesWithTitleAndLegend) {
  const std::vector<CurveLine> lines{{.name = "a <b>", .points = {{0, 0}, {10, 5}, {20, 10}}, .is_marked = true},
                                     {.name = "alone", .points = {{20, 1}}, .color = 9}};
  const std::string file = svg_curve_file(lines, {"Speed & more", "ranks", true, false});
  // Dots at the ends are whole: 20 has a margin of 0.6 on each side.
  EXPECT_NE(file.find("d=\"M55.7 176.0L217.0 97.0L378.3 17.9\""), std::string::npos) << file;
  EXPECT_EQ(file.find("<figure"), std::string::npos);
  EXPECT_TRUE(file.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  EXPECT_NE(file.find(">Speed &amp; more<"), std::string::npos);
  EXPECT_NE(file.find(">a &lt;b&gt;<"), std::string::npos);
  EXPECT_NE(file.find("<circle class=\"dot c1\" cx=\"378.3\""), std::string::npos);
  EXPECT_EQ(svg_curve_file({}, {"t"}), "");
}

TEST(SvgFile, EqualFactorsAreEquallyFarApartOnAxesOfLogarithms) {
  const std::vector<CurveLine> lines{{.name = "dp", .points = {{1, 10}, {2, 20}, {4, 40}, {8, 80}}, .is_marked = true},
                                     {.name = "dp, planned", .points = {{1, 10}, {8, 40}}, .is_thin = true}};
  const std::string file =
      svg_curve_file(lines, {.title = "t", .x_name = "ranks", .x_ticks = {1, 2, 4, 8}, .log_x = true, .log_y = true});
  // From 1 / 8^0.03 to 8 * 8^0.03, and from 10 / 1.25 to 80 * 1.25.
  EXPECT_NE(file.find("class=\"line c0\" d=\"M55.7 161.3L163.2 115.8L270.8 70.2L378.3 24.7\""), std::string::npos)
      << file;
  EXPECT_NE(file.find("class=\"thin c0\" d=\"M55.7 161.3L378.3 70.2\""), std::string::npos) << file;
  for (const char* const tick : {">1<", ">2<", ">4<", ">8<", ">10<", ">20<", ">50<", ">100<"}) {
    EXPECT_NE(file.find(tick), std::string::npos) << tick;
  }
}

TEST(SvgFile, StackedBarsAreAsLongAsTheirParts) {
  const std::vector<std::string> parts{"compute", "wait <tp>"};
  const std::vector<StackedBar> bars{{"1 rank", {30, 0}}, {"tp=2", {25, 15}}, {"planned", {20, 20}, true}};
  const std::string file = svg_stacked_bars("Time", "ms", parts, bars);
  // The longest bar, 40, is 410 long, and begins behind names of 7 letters.
  EXPECT_NE(file.find("x=\"61.50\" y=\"4.0\" width=\"307.50\" height=\"16\"><title>compute: 30 ms<"), std::string::npos)
      << file;
  EXPECT_NE(file.find("x=\"61.50\" y=\"28.0\" width=\"256.25\""), std::string::npos);
  EXPECT_NE(file.find("x=\"61.50\" y=\"46.0\" width=\"205.00\" height=\"8\""), std::string::npos);
  EXPECT_NE(file.find("x=\"317.75\" y=\"28.0\" width=\"153.75\" height=\"16\"><title>wait &lt;tp&gt;: 15 ms<"),
            std::string::npos);
  EXPECT_NE(file.find(">40 ms<"), std::string::npos);
  EXPECT_EQ(file.find("wait &lt;tp&gt;: 0 ms"), std::string::npos);
  EXPECT_EQ(svg_stacked_bars("Time", "ms", parts, {}), "");
}

TEST(SvgCurve, LeavesGapsAndSurvivesAnyNumbers) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const std::string gap = svg_curve(std::vector<CurvePoint>{{0, 0}, {1, 1}, {2, nan}, {3, 1}, {4, 0}}, {"t"});
  EXPECT_NE(gap.find("d=\"M46.0 168.5L131.5 17.5M302.5 17.5L388.0 168.5\""), std::string::npos) << gap;
  EXPECT_EQ(svg_curve(std::vector<CurvePoint>{}, {"t"}), "");
  EXPECT_EQ(svg_curve(std::vector<CurvePoint>{{0, nan}, {1, infinity}}, {"t"}), "");
  EXPECT_NE(svg_curve(std::vector<CurvePoint>{{7, 3}}, {"t"}).find("<circle"), std::string::npos);
  for (const double value : {0.0, 5.0, -1e300, 1e-300}) {
    const std::string flat = svg_curve(std::vector<CurvePoint>{{1, value}, {2, value}}, {"t"});
    EXPECT_EQ(flat.find("nan"), std::string::npos) << flat;
    EXPECT_EQ(flat.find("inf"), std::string::npos) << flat;
  }
}

TEST(SvgCurve, ASpikeDoesNotFlattenTheRest) {
  std::vector<CurvePoint> points;
  for (int i = 0; i < 1000; ++i) points.push_back({static_cast<double>(i), i % 2 == 0 ? 1.0 : 2.0});
  points[500].y = 1e6;
  EXPECT_NE(svg_curve(points, {"t"}).find("1 above the frame"), std::string::npos);
  points[500].y = 2;
  EXPECT_EQ(svg_curve(points, {"t"}).find("above the frame"), std::string::npos);
}

// Reads the report as a browser's parser would, as far as it matters here: balanced tags, what is text, what is loaded.
constexpr const char* kReader = R"py(
import base64, html.parser, json, sys
VOID = {"meta", "img", "br"}
class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.stack, self.out = [], {"tags": {}, "images": [], "alts": [], "texts": [], "right": 0, "loads": []}
    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.out["tags"][tag] = self.out["tags"].get(tag, 0) + 1
        for name, value in attributes.items():
            if name.startswith("on") or name in ("href", "srcset", "data", "action", "xlink:href"): self.out["loads"].append(value)
        if tag == "img":
            kind, data = attributes["src"].split(",", 1)
            assert kind == "data:image/png;base64", kind
            self.out["images"].append(base64.b64decode(data, validate=True).decode("latin-1"))
            self.out["alts"].append(attributes["alt"])
        if attributes.get("class") == "right": self.out["right"] += 1
        if tag not in VOID and not self.get_starttag_text().endswith("/>"): self.stack.append(tag)
    def handle_startendtag(self, tag, attributes):
        self.out["tags"][tag] = self.out["tags"].get(tag, 0) + 1
    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1] == tag, (tag, self.stack, self.getpos())
        self.stack.pop()
    def handle_data(self, data):
        if self.stack and self.stack[-1] == "style":
            if "url(" in data or "@import" in data: self.out["loads"].append(data)
        elif data.strip(): self.out["texts"].append(data)
reader = Reader()
reader.feed(open(sys.argv[1], encoding="utf-8", newline="").read())
reader.close()
assert not reader.stack, reader.stack
out = reader.out
expect = json.load(open(sys.argv[2], encoding="utf-8"))
for text in expect["texts"]: assert text in out["texts"], (text, out["texts"])
assert out["images"] == expect["images"], out["images"]
assert out["alts"] == expect["alts"], out["alts"]
assert out["loads"] == [], out["loads"]
assert out["right"] == expect["right"], out["right"]
for tag, number in expect["tags"].items(): assert out["tags"].get(tag, 0) == number, (tag, out["tags"])
)py";

class Report : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "triptych_report_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Writes the report and has Python read it; `expectation` is JSON.
  void expect(const ReportInput& input, const std::string& expectation) {
    write_report(folder_ / "report.html", input);
    std::ofstream(folder_ / "reader.py") << kReader;
    std::ofstream(folder_ / "expect.json") << expectation;
    const std::string at = folder_.string();
    EXPECT_EQ(std::system(fmt::format("/usr/bin/python3 {0}/reader.py {0}/report.html {0}/expect.json", at).c_str()),
              0);
  }

  std::filesystem::path folder_;
};

TEST_F(Report, IsWholeAndEscaped) {
  ReportInput input;
  input.title = "a <title> & more";
  input.facts = {{"mesh <x>", "pp 2 & tp 2"}};
  input.config_toml = "dir = \"</pre><img src=x onerror=alert(1)>\"\n";
  for (int step = 1; step <= 50; ++step) {
    StepMetrics metrics;
    metrics.step = step;
    metrics.loss = step == 9 ? std::nan("") : 10.0 / step;
    metrics.grad_norm = 1;
    metrics.learning_rate = 1e-3;
    metrics.samples_per_s = 200 + step;
    metrics.tflops = 0.125;
    metrics.peak_share = 0.75;
    metrics.rss_mb = 100 + step;
    metrics.scalars = {{"temperature", 0.07 + 1e-3 * step}, {"<pairs>", 128}};
    if (step > 20) metrics.scalars.emplace_back("top_1", 0.01 * step);
    input.curves.add(metrics);
  }
  const auto share = [](double value) { return TableValue{.number = value, .is_share = true}; };
  input.panels.push_back(TablePanel{
      .title = "Results <here>",
      .caption = "</p><script>alert(1)</script>",
      .subject_head = "Set & direction",
      .columns = {"Recall@1", "<Recall>@5", "score"},
      .subjects = {
          {"unseen \"style\"",
           {"text to image", "1354 queries & 1353 candidates"},
           {{"model", {share(0.125), share(1), {.number = 1500}}},
            {"chance",
             {{.number = 0.0005, .is_share = true, .change = -0.125},
              share(0.0999),
              {.number = 1502.5, .change = 2.5}}}}},
          {"unseen <concepts>", {}, {{"model", {share(0.0625), share(std::nan("")), {.text = "</td>none"}}}}}}});
  const auto picture = [](std::string_view png, std::string_view words) {
    return ReportPicture{bytes_of(png), std::string(words)};
  };
  input.panels.push_back(GalleryPanel{
      .title = "From text & back",
      .queries = {{.group = "set <1>",
                   .text = "</bdi></section><b>bold\xff",
                   .hits = {{.picture = picture("one", "\"><script>"), .score = 0.75},
                            {.picture = picture("three", "plain"), .text = "<i>", .score = 0.5, .correct = true}}},
                  {.group = "set <1>", .text = "红苹果", .hits = {{.picture = picture("four", "x"), .score = 0.25}}}}});
  input.panels.push_back(GalleryPanel{
      .title = "From pictures",
      .queries = {{.group = "set <1>",
                   .picture = picture("fi\xfe", "5"),
                   .truth = "the truth & nothing else",
                   .hits = {{.text = "a <wrong> one", .score = 0.5}}},
                  {.group = "other",
                   .picture = picture("six", "6"),
                   .text = "what <is> it?",
                   .truth = "unused",
                   .hits = {{.text = "it", .score = 0.5, .correct = true}, {.text = "not it", .score = 0.25}}}}});
  input.panels.push_back(ConfusionPanel{.title = "Mixed <up>",
                                        .caption = "by <class>",
                                        .class_names = {"<cat>", "dog"},
                                        .cells = {{0, 0, 6}, {0, 1, 2}, {1, 1, 9}}});
  input.panels.push_back(
      ExamplesPanel{.title = "Said & shown",
                    .caption = "bright: </p><b>here",
                    .examples = {{.group = "<set>",
                                  .picture = picture("seven", "7"),
                                  .asked = "<why>?",
                                  .truth = "a <dog>",
                                  .produced = "a <cat>",
                                  .score = 0.125,
                                  .maps = {picture("map", "</figure>\"<word>"), picture("another", "<i>for</i> it")}},
                                 {.truth = "2", .produced = "1 + 1", .correct = true}}});
  input.panels.push_back(BoxesPanel{
      .title = "Found <here>",
      .caption = "what lines & dashes mean",
      .examples = {{.group = "<scenes>",
                    .picture = picture("eight", "8"),
                    .asked = "where is <it>?",
                    .boxes = {{.right = 0.5, .bottom = 0.25, .text = "a <box>", .is_truth = true},
                              {.left = -1, .right = 2, .text = "a <guess>", .correct = true, .score = 0.75}}},
                   {.asked = "no picture, so not shown"}}});
  expect(input, R"json({
    "texts": ["a <title> & more", "mesh <x>", "pp 2 & tp 2",
              "dir = \"</pre><img src=x onerror=alert(1)>\"\n",
              "50", "0.2000", "226", "125", "GFLOP/s, 75 % of peak", "150 MB",
              "Results <here>", "</p><script>alert(1)</script>", "Set & direction", "<Recall>@5",
              "unseen \"style\"", "1354 queries & 1353 candidates", "12.5 %", "100.0 %", "1500", "0.05 % ", "\u221212.5", "9.99 %", "1502 ", "+2.5",
              "unseen <concepts>", "6.25 %", "–", "</td>none",
              "From text & back", "set <1>", "</bdi></section><b>bold\ufffd", "红苹果", "0.500 ✓", "<i>",
              "It is: ", "the truth & nothing else", "a <wrong> one", "it", "what <is> it?",
              "Mixed <up>", "by <class>", "<cat>", "dog", "6", "2", "9",
              "Said & shown", "bright: </p><b>here", "</figure>\"<word>", "<i>for</i> it", "<set>", "<why>?", "a <dog>", "a <cat>", "0.125", "1 + 1", "✓",
              "Found <here>", "what lines & dashes mean", "<scenes>", "where is <it>?", "a <box>", "a <guess>", "0.750 ✓",
              "Loss", "Learning rate", "The same in every step: <pairs> 128; Gradient norm 1.", "Samples per second", "Temperature", "Top 1", "Configuration"],
    "images": ["one", "three", "four", "fi\u00fe", "six", "seven", "map", "another", "eight"],
    "alts": ["\"><script>", "plain", "x", "5", "6", "7", "</figure>\"<word>", "<i>for</i> it", "8"],
    "right": 5,
    "tags": {"script": 0, "img": 9, "figure": 12, "b": 13, "link": 0, "tbody": 3, "pre": 1, "section": 7, "h3": 5, "table": 3,
             "rect": 2}
  })json");
}

TEST_F(Report, AConfusionOfManyClassesIsItsWorstPairs) {
  ConfusionPanel panel{.title = "Confusion"};
  for (int i = 0; i < 1000; ++i) panel.class_names.push_back(fmt::format("class {}", i));
  for (int i = 0; i + 1 < 1000; ++i) {
    panel.cells.push_back({i, i + 1, i + 1});
    panel.cells.push_back({i, i, 2000});
  }
  ReportInput input{.title = "many", .panels = {panel}};
  expect(input, R"json({"texts": ["class 998", "class 999", "999 of 2999", "980 of 2980"], "images": [], "alts": [],
                        "right": 0, "tags": {"tr": 21, "td": 60}})json");
  panel.class_names.resize(40);
  panel.cells = {{39, 39, 5}};
  input.panels = {panel};
  expect(input, R"json({"texts": ["class 39", "5"], "images": [], "alts": [], "right": 0,
                        "tags": {"tr": 41, "td": 1600}})json");
}

TEST(ConfusionPanelTest, ACellOfNoClassIsRefused) {
  EXPECT_THROW(render_panel(ConfusionPanel{.class_names = {"a", "b"}, .cells = {{0, 2, 1}}}), InternalError);
  EXPECT_THROW(render_panel(ConfusionPanel{.class_names = {"a", "b"}, .cells = {{-1, 0, 1}}}), InternalError);
}

TEST(FormatTable, HasALineOfEachSource) {
  const auto share = [](double value) { return TableValue{.number = value, .is_share = true}; };
  const TablePanel panel{
      .title = "unused",
      .subject_head = "set",
      .columns = {"r@1", "r@5"},
      .subjects = {{"ünseen", {"to text"}, {{"model", {share(0.5), share(1)}}, {"chance", {share(0.25)}}}},
                   {"all", {}, {{"model", {{.number = 12}, {.text = "none"}}}}}}};
  EXPECT_EQ(format_table(panel),
            "set                 r@1     r@5\n"
            "ünseen  to text\n"
            "  model          0.5000  1.0000\n"
            "  chance         0.2500       -\n"
            "all                  12    none\n");
  TablePanel changed = panel;
  changed.subjects[0].rows[1].values[0].change = -0.25;
  changed.subjects[1].rows[0].values[0].change = 2;
  const std::string text = format_table(changed);
  EXPECT_NE(text.find(" 0.2500 (-0.2500)  "), std::string::npos) << text;
  EXPECT_NE(text.find(" 12 (+2)  "), std::string::npos) << text;
  EXPECT_EQ(format_table({}), "");
}

TEST_F(Report, LeavesOutWhatThereIsNot) {
  ReportInput input;
  input.title = "empty";
  expect(input, R"json({"texts": ["empty"], "images": [], "alts": [], "right": 0,
                        "tags": {"table": 0, "svg": 0, "section": 0, "h2": 0, "details": 0, "h1": 1}})json");
}

TEST_F(Report, StaysSmallForALongRun) {
  ReportInput input;
  input.title = "long";
  for (int step = 1; step <= 200000; ++step) {
    StepMetrics metrics;
    metrics.step = step;
    metrics.loss = metrics.grad_norm = metrics.learning_rate = metrics.samples_per_s = 1 + std::sin(step);
    input.curves.add(metrics);
  }
  const std::string text = render_report(input);
  EXPECT_LT(text.size(), 250000u);
  EXPECT_TRUE(is_utf8(text));
}

TEST_F(Report, AFolderThatIsNotThereIsAnError) {
  EXPECT_THROW(write_report(folder_ / "none" / "report.html", {}), WorldError);
}

}  // namespace
}  // namespace triptych::test
