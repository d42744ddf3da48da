#include "checkpoint/coordinator.h"

#include <exception>

#include "base/error.h"

namespace triptych {
namespace {

// The first character of a gathered string says how the rank's work went.
constexpr char kDone = 'd', kUser = 'u', kWorld = 'w', kInternal = 'i';

char status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kUser:
      return kUser;
    case ErrorKind::kWorld:
      return kWorld;
    case ErrorKind::kInternal:
      return kInternal;
  }
  return kInternal;
}

[[noreturn]] void fail(char status, const std::string& message, std::string_view remedy) {
  if (status == kUser) throw UserError("checkpoint", message);
  if (status == kInternal) throw InternalError("checkpoint", message);
  throw WorldError("checkpoint", remedy.empty() ? message : fmt::format("{}. {}", message, remedy));
}

}  // namespace

std::vector<std::string> run_together(const Coordinator& coordinator, std::string_view doing,
                                      const std::function<std::string()>& work, std::string_view remedy) {
  std::string mine;
  try {
    mine = kDone + work();
  } catch (const Error& e) {
    mine = status_of(e.kind()) + std::string(e.what());
  } catch (const std::exception& e) {
    mine = kWorld + std::string(e.what());
  }
  if (coordinator.size == 1 && mine[0] != kDone) {
    fail(mine[0], fmt::format("could not {}: {}", doing, mine.substr(1)), remedy);
  }

  std::vector<std::string> all = coordinator.all_gather(mine);
  TRIPTYCH_CHECK(all.size() == static_cast<std::size_t>(coordinator.size), "{} strings from {} ranks", all.size(),
                 coordinator.size);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    TRIPTYCH_CHECK(!all[rank].empty(), "no status from rank {}", rank);
    const char status = all[rank][0];
    all[rank].erase(0, 1);
    if (status == kDone) continue;
    fail(status, fmt::format("rank {} of {} could not {}: {}", rank, coordinator.size, doing, all[rank]), remedy);
  }
  return all;
}

}  // namespace triptych
