#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "parallel/tcp_links.h"

namespace triptych::parallel {

/// Finds out that another machine, or the way to it, is gone, long before a wait for its ranks would end: what is sent
/// to it over TCP is not acknowledged any more. A machine whose ranks compute, write to a disk or are stopped by a
/// signal still acknowledges. Where MPI takes another transport than TCP nothing is found here.
class HostWatch {
 public:
  using Clock = std::chrono::steady_clock;
  struct Peer {
    std::string host;
    std::vector<std::string> addresses;  ///< that no other machine has
  };
  struct Options {
    std::vector<Peer> peers;  ///< the other machines
    std::chrono::milliseconds patience{16'000};
    std::function<std::vector<TcpLink>()> links = tcp_links;
    std::function<void()> nudge = [] {};  ///< sends a little to others, so that there is something to acknowledge
  };

  explicit HostWatch(Options options) : options_(std::move(options)) {}

  /// To be called often: looks once a second and nudges every three.
  void poll(Clock::time_point now = Clock::now());
  /// "hostb has acknowledged nothing for 16 s (from 10.77.0.1 to 10.77.0.2)", and others that do the same; empty while
  /// all machines answer.
  const std::string& lost() const { return lost_; }
  /// What carries TCP to the other machines at this moment, "fabric0 (10.77.0.1)"; empty if nothing does.
  std::string interfaces() const;

 private:
  struct Seen {
    uint64_t acknowledged_bytes = 0, received_bytes = 0;
    bool is_unacknowledged = false;
    Clock::time_point since;  ///< nothing has come from there, and something waits for it
  };
  const Peer* peer_of(const TcpLink& link) const;
  void look(Clock::time_point now);

  Options options_;
  std::map<std::string, Seen> seen_;               // by link
  std::map<std::string, Clock::time_point> sign_;  // by host: the last time that something came from it
  Clock::time_point next_look_{}, next_nudge_{};
  std::string lost_;
};

}  // namespace triptych::parallel
