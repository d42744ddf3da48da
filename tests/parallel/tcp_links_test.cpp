#include "parallel/tcp_links.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace triptych::test {
namespace {

TEST(TcpLinks, LeavesOutWhatIsWithinTheMachine) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof name;
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&name), &bytes), 0);
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(connect(client, reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
  for (const TcpLink& link : tcp_links()) EXPECT_NE(link.peer, "127.0.0.1");
  close(client);
  close(listener);
}

TEST(CardAddresses, AreThoseThatOthersMayKnow) {
  for (const CardAddress& card : card_addresses()) {
    EXPECT_NE(card.card, "lo");
    EXPECT_FALSE(card.address.starts_with("127.") || card.address.starts_with("fe80:") || card.address == "::1")
        << card.address;
  }
}

}  // namespace
}  // namespace triptych::test
