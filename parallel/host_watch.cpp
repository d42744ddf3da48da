#include "parallel/host_watch.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/core.h>

namespace triptych::parallel {
namespace {

using namespace std::chrono_literals;

constexpr auto kBetweenLooks = 1s;
constexpr auto kBetweenNudges = 3s;

}  // namespace

const HostWatch::Peer* HostWatch::peer_of(const TcpLink& link) const {
  for (const Peer& peer : options_.peers) {
    if (std::find(peer.addresses.begin(), peer.addresses.end(), link.peer) != peer.addresses.end()) return &peer;
  }
  return nullptr;
}

void HostWatch::poll(Clock::time_point now) {
  if (options_.peers.empty() || now < next_look_) return;
  next_look_ = now + kBetweenLooks;
  look(now);
  if (now < next_nudge_) return;
  next_nudge_ = now + kBetweenNudges;
  options_.nudge();
}

void HostWatch::look(Clock::time_point now) {
  struct Silent {
    std::string link;
    Clock::time_point since;
  };
  std::map<std::string, Seen> seen;
  std::map<std::string, Silent> silent;  // by host: its longest silence
  for (const TcpLink& link : options_.links()) {
    const Peer* const peer = peer_of(link);
    if (peer == nullptr) continue;
    const auto before = seen_.find(link.id);
    Seen current{.acknowledged_bytes = link.acknowledged_bytes,
                 .received_bytes = link.received_bytes,
                 .is_unacknowledged = link.is_unacknowledged,
                 .since = now};
    if (before != seen_.end()) {
      const Seen& last = before->second;
      const bool is_still =
          last.acknowledged_bytes == link.acknowledged_bytes && last.received_bytes == link.received_bytes;
      if (!is_still) sign_[peer->host] = now;
      if (is_still && last.is_unacknowledged && link.is_unacknowledged) current.since = last.since;
    }
    if (link.is_unacknowledged) {
      const auto [found, is_new] = silent.emplace(
          peer->host, Silent{.link = fmt::format("from {} to {}", link.own, link.peer), .since = current.since});
      if (!is_new && current.since < found->second.since) found->second.since = current.since;
    }
    seen.emplace(link.id, current);
  }
  seen_ = std::move(seen);
  lost_.clear();
  for (const auto& [host, silence] : silent) {
    // One link of several may be bad while another one carries.
    const auto sign = sign_.find(host);
    const Clock::time_point since = sign == sign_.end() ? silence.since : std::max(silence.since, sign->second);
    if (now - since < options_.patience) continue;
    lost_ += fmt::format("{}{} has acknowledged nothing for {:.0f} s ({})", lost_.empty() ? "" : ", ", host,
                         std::chrono::duration<double>(now - since).count(), silence.link);
  }
}

std::string HostWatch::interfaces() const {
  std::set<std::string> used;
  for (const TcpLink& link : options_.links()) {
    if (peer_of(link) != nullptr) used.insert(link.own);
  }
  std::string text;
  for (const CardAddress& own : card_addresses()) {
    if (used.contains(own.address)) text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", own.card, own.address);
  }
  return text;
}

}  // namespace triptych::parallel
