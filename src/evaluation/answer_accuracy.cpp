#include "evaluation/answer_accuracy.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "evaluation/text_words.h"

namespace triptych::evaluation {
namespace {

constexpr std::size_t kFewestPeople = 4;  // of whom some agree enough for a score of 1

constexpr std::string_view kMarks = ";/[]\"{}()=+\\_-><@`,?!";

constexpr std::array<std::string_view, 11> kNumbers = {"zero", "one",   "two",   "three", "four", "five",
                                                       "six",  "seven", "eight", "nine",  "ten"};

// Those of the evaluation's list; its entries are these with one apostrophe left out.
constexpr auto kContractions = std::to_array<std::string_view>({
    "ain't",     "aren't",       "can't",      "could've",     "couldn't",      "couldn't've",    "didn't",
    "doesn't",   "don't",        "hadn't",     "hadn't've",    "hasn't",        "haven't",        "he'd",
    "he'd've",   "he's",         "how'd",      "how'll",       "how's",         "isn't",          "it'd",
    "it'd've",   "it'll",        "ma'am",      "mightn't",     "mightn't've",   "might've",       "mustn't",
    "must've",   "needn't",      "not've",     "o'clock",      "oughtn't",      "'ow's'at",       "shan't",
    "she'd've",  "should've",    "shouldn't",  "shouldn't've", "somebody'd've", "somebody'll",    "somebody's",
    "someone'd", "someone'd've", "someone'll", "someone's",    "something'd",   "something'd've", "something'll",
    "that's",    "there'd",      "there'd've", "there're",     "there's",       "they'd",         "they'd've",
    "they'll",   "they're",      "they've",    "'twas",        "wasn't",        "we'd've",        "we've",
    "weren't",   "what'll",      "what're",    "what's",       "what've",       "when's",         "where'd",
    "where's",   "where've",     "who'd",      "who'd've",     "who'll",        "who's",          "who've",
    "why'll",    "why're",       "why's",      "won't",        "would've",      "wouldn't",       "wouldn't've",
    "y'all",     "y'all'll",     "y'all'd've", "you'd",        "you'd've",      "you'll",         "you're",
    "you've",
});

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// What a word of step 4 or 5 is written as; those that stay are not there.
std::unordered_map<std::string, std::string> make_spellings() {
  std::unordered_map<std::string, std::string> spellings{{"none", "0"}, {"somebody'd", "somebodyd"}};
  for (std::size_t i = 0; i < kNumbers.size(); ++i) spellings.emplace(kNumbers[i], std::to_string(i));
  for (const std::string_view contraction : kContractions) {
    for (std::size_t i = 0; i < contraction.size(); ++i) {
      if (contraction[i] != '\'') continue;
      std::string lacking(contraction);
      lacking.erase(i, 1);
      spellings.emplace(std::move(lacking), contraction);
    }
  }
  return spellings;
}

std::string without_marks(const std::string& answer) {
  bool has_digit_comma = false;
  for (std::size_t i = 1; i + 1 < answer.size(); ++i) {
    has_digit_comma |= answer[i] == ',' && is_digit(answer[i - 1]) && is_digit(answer[i + 1]);
  }
  const auto leaves_space = [&](char mark) {
    if (has_digit_comma) return false;
    for (std::size_t i = 1; i < answer.size(); ++i) {
      if ((answer[i - 1] == mark && answer[i] == ' ') || (answer[i - 1] == ' ' && answer[i] == mark)) return false;
    }
    return true;
  };
  std::string spaced;
  for (const char c : answer) {
    if (kMarks.find(c) == std::string_view::npos) {
      spaced += c;
    } else if (leaves_space(c)) {
      spaced += ' ';
    }
  }
  std::string kept;
  for (std::size_t i = 0; i < spaced.size(); ++i) {
    if (spaced[i] != '.' || (i + 1 < spaced.size() && is_digit(spaced[i + 1]))) kept += spaced[i];
  }
  return kept;
}

}  // namespace

std::string normalize_answer(std::string_view utf8) {
  static const std::unordered_map<std::string, std::string> spellings = make_spellings();
  const std::vector<std::string_view> pieces = split_words(utf8);
  if (pieces.empty()) return "";
  std::string answer(pieces.front().data(), pieces.back().data() + pieces.back().size());
  std::replace_if(
      answer.begin(), answer.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
  answer = without_marks(answer);
  for (char& c : answer) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  std::string normalized;
  for (const std::string_view piece : split_words(answer)) {
    if (piece == "a" || piece == "an" || piece == "the") continue;
    const std::string word(piece);
    const auto found = spellings.find(word);
    if (!normalized.empty()) normalized += ' ';
    normalized += found == spellings.end() ? word : found->second;
  }
  return normalized;
}

double answer_accuracy(std::string_view produced, std::string_view right) {
  return normalize_answer(produced) == normalize_answer(right) ? 1 : 0;
}

double vqa_accuracy(std::string_view produced, std::span<const std::string> people) {
  TRIPTYCH_CHECK(people.size() >= kFewestPeople, "{} answers", people.size());
  const std::string ours = normalize_answer(produced);
  const auto agree = static_cast<double>(std::count_if(
      people.begin(), people.end(), [&](const std::string& theirs) { return normalize_answer(theirs) == ours; }));
  const auto all = static_cast<double>(people.size());
  // Without one of those who agree, and without one of the others.
  return (agree * std::min((agree - 1) / 3, 1.0) + (all - agree) * std::min(agree / 3, 1.0)) / all;
}

double share_of_people(std::string_view produced, std::span<const std::string> people) {
  if (people.size() >= kFewestPeople) return vqa_accuracy(produced, people);
  return std::any_of(people.begin(), people.end(),
                     [&](const std::string& one) { return answer_accuracy(produced, one) == 1; })
             ? 1
             : 0;
}

}  // namespace triptych::evaluation
