#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "parallel/group.h"

namespace triptych::parallel {

/// An error that every rank of a group throws alike: it is printed once, and no rank waits for another.
struct AgreedError : Error {
  AgreedError(ErrorKind error_kind, const std::string& text) : Error(error_kind, text) {}
};

/// Runs `work` on every rank and lets all know how it went: if it threw on any, every rank throws an AgreedError with
/// the kind and message of the first one that failed; a group of one throws what it threw. An exception that is not one
/// of ours counts as the world's. Collective, blocks. For set-up and checkpoints, not for every step.
void together(Group& group, const std::function<void()>& work);

/// What ranks do together, in the words of the error if one of them cannot.
struct JointWork {
  std::string_view where;        ///< the error's place
  std::string doing;             ///< what comes behind "could not"
  std::string_view remedy = {};  ///< a sentence that ends the message of the world's errors
};

/// The same for work that returns a string: the result is those of all ranks, by rank. The error names the rank that
/// failed and what it was doing, and is an AgreedError in a group of one too:
///   `[checkpoint] rank 2 of 4 could not write its shard: [runs/a/...] cannot ... (errno 28: No space left on device)`
std::vector<std::string> together(Group& group, const JointWork& what, const std::function<std::string()>& work);

/// Something that all ranks must have in common: a name that follows "every rank must have the same", and its value.
struct SharedFact {
  std::string name;
  std::string value;
};

/// Compares facts over all ranks. Where some differ, every rank throws an AgreedError of the user's kind that names
/// each of them with the ranks and hosts that have each value:
///   `[data/a] every rank must have the same samples (hash): ranks 0-2 on n1 have 3f.., rank 3 on n2 has 9c... REMEDY`
///   where, remedy  the error's place and its last sentence, of which the first rank's are taken
///   host           this rank's machine
/// Collective, blocks.
void require_equal_facts(Group& group, std::string_view where, const std::string& host,
                         const std::vector<SharedFact>& facts, std::string_view remedy);

}  // namespace triptych::parallel
