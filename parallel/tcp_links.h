#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::parallel {

/// A TCP connection of this process, as the system has it at this moment.
struct TcpLink {
  std::string id;    ///< both addresses with their ports: the same for as long as the connection lives
  std::string own;   ///< this machine's address
  std::string peer;  ///< the other one's
  /// True if something was sent, or the connection asked for, that the other machine's system has not acknowledged, or
  /// if there is no way to it on which to send what waits. That system acknowledges whatever its processes do, stopped
  /// ones too.
  bool is_unacknowledged = false;
  uint64_t acknowledged_bytes = 0, received_bytes = 0;
};

/// All of them but those within this machine. Costs a system call a descriptor.
std::vector<TcpLink> tcp_links();

/// An address of this machine and the network card that has it.
struct CardAddress {
  std::string card, address;
};
/// Those that other machines may know: no loopback, nothing that holds for one cable alone.
std::vector<CardAddress> card_addresses();

}  // namespace triptych::parallel
