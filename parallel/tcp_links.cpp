#include "parallel/tcp_links.h"

#include <array>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <system_error>

#include <arpa/inet.h>
#include <fmt/core.h>
#include <ifaddrs.h>
#include <linux/tcp.h>  // its tcp_info has what the C library's lacks
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace triptych::parallel {
namespace {

struct Endpoint {
  std::string address;  // empty: none of IP
  int port = 0;
  bool is_local = true;
};

Endpoint endpoint_of(const sockaddr* name) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (name->sa_family == AF_INET) {
    const auto* four = reinterpret_cast<const sockaddr_in*>(name);
    inet_ntop(AF_INET, &four->sin_addr, text.data(), text.size());
    return {.address = text.data(),
            .port = ntohs(four->sin_port),
            .is_local = (ntohl(four->sin_addr.s_addr) >> 24) == IN_LOOPBACKNET};
  }
  if (name->sa_family != AF_INET6) return {};
  const auto* six = reinterpret_cast<const sockaddr_in6*>(name);
  const in6_addr& address = six->sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    inet_ntop(AF_INET, &address.s6_addr[12], text.data(), text.size());
    return {.address = text.data(), .port = ntohs(six->sin6_port), .is_local = address.s6_addr[12] == IN_LOOPBACKNET};
  }
  inet_ntop(AF_INET6, &address, text.data(), text.size());
  return {.address = text.data(),
          .port = ntohs(six->sin6_port),
          .is_local = IN6_IS_ADDR_LOOPBACK(&address) || IN6_IS_ADDR_LINKLOCAL(&address)};
}

template <typename Call>
Endpoint endpoint_of(int descriptor, const Call& call) {
  sockaddr_storage name{};
  socklen_t bytes = sizeof name;
  if (call(descriptor, reinterpret_cast<sockaddr*>(&name), &bytes) != 0) return {};
  return endpoint_of(reinterpret_cast<const sockaddr*>(&name));
}

// A system whose own card is down sends nothing, so that nothing is unacknowledged: it keeps the bytes and asks the
// other side, in vain, whether it takes them. A side that takes none, since its process is stopped, answers each time.
// (An answer may come before its question is counted, so one proves nothing.)
bool finds_no_way(const tcp_info& info) {
  return info.tcpi_notsent_bytes > 0 && info.tcpi_probes > 1;
}

}  // namespace

std::vector<TcpLink> tcp_links() {
  std::vector<TcpLink> links;
  std::error_code failure;
  for (std::filesystem::directory_iterator entry("/proc/self/fd", failure), end; !failure && entry != end;
       entry.increment(failure)) {
    const std::string number = entry->path().filename().string();
    int descriptor = -1;
    std::from_chars(number.data(), number.data() + number.size(), descriptor);
    tcp_info info{};
    socklen_t bytes = sizeof info;
    // Fails for whatever is no socket of TCP.
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) continue;
    if (bytes < offsetof(tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received)
      continue;  // Linux before 4.1
    const Endpoint own = endpoint_of(descriptor, getsockname), peer = endpoint_of(descriptor, getpeername);
    if (own.address.empty() || peer.address.empty() || peer.is_local || own.address == peer.address) continue;
    links.push_back({.id = fmt::format("{} {} {} {}", own.address, own.port, peer.address, peer.port),
                     .own = own.address,
                     .peer = peer.address,
                     .is_unacknowledged = info.tcpi_unacked > 0 || finds_no_way(info),
                     .acknowledged_bytes = info.tcpi_bytes_acked,
                     .received_bytes = info.tcpi_bytes_received});
  }
  return links;
}

std::vector<CardAddress> card_addresses() {
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> all(first, freeifaddrs);
  std::vector<CardAddress> found;
  for (const ifaddrs* card = first; card != nullptr; card = card->ifa_next) {
    if (card->ifa_addr == nullptr || (card->ifa_flags & IFF_UP) == 0) continue;
    const Endpoint own = endpoint_of(card->ifa_addr);
    if (!own.address.empty() && !own.is_local) found.push_back({.card = card->ifa_name, .address = own.address});
  }
  return found;
}

}  // namespace triptych::parallel
