#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::evaluation {

/// The words of a text as mteval-v13a.pl, NIST's and WMT's script, takes them, which is sacreBLEU's default
/// tokenization `13a`: white space at the end goes, "<skipped>" and a hyphen at a line's end go, the entities &quot;
/// &amp; &lt; &gt; are resolved, ASCII punctuation stands alone but for apostrophes, hyphens (unless a digit is before
/// it), and full stops and commas between digits. Case stays; a text without spaces, as Chinese is written, is one
/// word.
///
/// Throws InternalError for a text that is not UTF-8.
std::vector<std::string> words_13a(std::string_view utf8);

/// A caption as CIDEr wants it: its 13a words without those that are of ASCII punctuation alone, ASCII letters in lower
/// case, with one space between. It stands in for the Penn Treebank's words, in lower case and without punctuation,
/// that the COCO captions' own evaluation takes: plain words are the same, but "don't", "man's", "e.g." and
/// "3-year-old" are divided otherwise there.
///
/// Throws InternalError for a text that is not UTF-8.
std::string plain_caption(std::string_view utf8);

}  // namespace triptych::evaluation
