#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::evaluation {

/// An answer as the VQA evaluation (Antol et al. 2015, visualqa.org/evaluation) compares it. In this order:
///
/// 1. Newlines and tabs are spaces; white space at both ends goes.
/// 2. Each of  ; / [ ] " { } ( ) = + \ _ - > < @ ` , ? !  goes, all its occurrences alike: without a trace if in the
///    answer of step 1 one of them has a space beside it, or if a comma stands between two digits there (whatever the
///    mark), and else for a space. Apostrophes and colons stay.
/// 3. A full stop goes unless a digit follows it.
/// 4. Letters become lower case. none and zero to ten become 0 to 10; the words a, an and the go.
/// 5. A contraction that lacks one apostrophe gets it ("dont", "couldnt've"); only those of the evaluation's list,
///    and "somebody'd" loses its own, as it does there.
///
/// Words end with one space between. Letters and digits are those of ASCII; the evaluation, which was made for English,
/// lowers others too.
///
/// Throws InternalError for a text that is not UTF-8.
std::string normalize_answer(std::string_view utf8);

/// Whether the answers are the same, once normalised: 1 or 0. The mean over questions is plain accuracy.
double answer_accuracy(std::string_view produced, std::string_view right);

/// The VQA accuracy of an answer against those of several people, 0 to 1, all of them normalised: min(number of people
/// who gave it / 3, 1), averaged over the sets of all people but one. Of the usual ten: 0.3, 0.6, 0.9 for 1, 2, 3 who
/// gave it, 1 for more.
///
/// Antol et al. 2015, VQA: Visual Question Answering, section 4, averaged as visualqa.org/evaluation says. The script
/// published there leaves all answers as they are where the people's are the same letter for letter; here they are
/// always normalised, as the page says.
///
/// At least four people are needed: of fewer no answer could reach 1. Throws InternalError for fewer, and for a text
/// that is not UTF-8.
double vqa_accuracy(std::string_view produced, std::span<const std::string> people);

/// The share of people who gave an answer, as a VQA score counts them: vqa_accuracy of at least four; of fewer whether
/// it is one of theirs, 1 or 0. Throws InternalError for a text that is not UTF-8.
double share_of_people(std::string_view produced, std::span<const std::string> people);

}  // namespace triptych::evaluation
