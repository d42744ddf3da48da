#pragma once

#include <array>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include "shard_support.h"

namespace triptych::test {

/// A web server on 127.0.0.1 with faults, for as long as this lives: remote_server.py.
class RemoteServer {
 public:
  explicit RemoteServer(const std::filesystem::path& folder) : log_(log_folder_ / "log") {
    std::array<int, 2> to{}, from{};
    if (::pipe(to.data()) != 0 || ::pipe(from.data()) != 0) throw std::runtime_error("no pipe");
    const std::string script = (std::filesystem::path(__FILE__).parent_path() / "remote_server.py").string();
    process_ = ::fork();
    if (process_ == 0) {
      ::dup2(to[0], 0);
      ::dup2(from[1], 1);
      for (const int descriptor : {to[0], to[1], from[0], from[1]}) ::close(descriptor);
      ::execl("/usr/bin/python3", "python3", script.c_str(), folder.c_str(), log_.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(to[0]);
    ::close(from[1]);
    input_ = to[1];
    std::FILE* const output = ::fdopen(from[0], "r");
    if (std::fscanf(output, "%d", &port_) != 1) throw std::runtime_error("the server did not start");
    std::fclose(output);
  }
  RemoteServer(const RemoteServer&) = delete;
  RemoteServer& operator=(const RemoteServer&) = delete;
  ~RemoteServer() {
    ::close(input_);
    ::waitpid(process_, nullptr, 0);
  }

  int port() const { return port_; }
  std::string url(const std::string& kind, const std::string& folder) const {
    return "http://127.0.0.1:" + std::to_string(port_) + "/" + kind + "/" + folder;
  }
  /// How often the log has a text.
  int num_requests(const std::string& text) const {
    const std::string log = std::filesystem::exists(log_) ? file_text(log_) : "";
    int count = 0;
    for (std::size_t at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++count;
    return count;
  }

 private:
  ScratchFolder log_folder_;
  std::filesystem::path log_;
  pid_t process_ = -1;
  int input_ = -1, port_ = 0;
};

}  // namespace triptych::test
