#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/trace.h"

namespace triptych::report {

/// Of the operations of one kind in a rank's traced steps.
struct CommunicationTimes {
  int64_t num_operations = 0;
  int64_t bytes = 0;         ///< that the best algorithm moves through the rank, as nccl-tests counts them
  int64_t in_flight_ns = 0;  ///< in which at least one of them was in flight
  int64_t hidden_ns = 0;     ///< of that, in which the rank was computing

  int64_t exposed_ns() const { return in_flight_ns - hidden_ns; }
  CommunicationTimes& operator+=(const CommunicationTimes& other);
  /// Nothing in flight leaves nothing exposed: 1.
  double hidden_share() const;
};

/// Of each group's operations together ("dp") and of each kind of them ("dp all_reduce", "dp all_gather", "pp send").
///
/// An operation is in flight from the moment in which its rank asks for it until it is done. `hidden_share` is the
/// computation-communication overlap of Holistic Trace Analysis, (time spent in computation while communicating) /
/// (time spent in communication), both over the union of intervals; of a kind, with its operations alone as the
/// communication.
///
/// Computing is all that the rank's thread does in a step but: starting operations ("start"), waiting for them
/// ("wait"), moving and summing data of any that are in flight ("poll"), and waiting for the loader. On the CPU the
/// rank's own core moves the data, and that counts as exposed. With CUDA spans are the host's, which says nothing of
/// the device: nothing comes of them there.
std::map<std::string, CommunicationTimes> communication_times(const Trace& trace);

/// For ranks to tell each other: a line a kind.
std::string communication_text(const std::map<std::string, CommunicationTimes>& times);
/// The sum of what ranks have told.
std::map<std::string, CommunicationTimes> sum_of_texts(const std::vector<std::string>& texts);

/// A table for a terminal, of sums over so many ranks and steps: what one of these has of either.
///   num   the product of both
std::string communication_table(const std::map<std::string, CommunicationTimes>& sums, int64_t num);

}  // namespace triptych::report
