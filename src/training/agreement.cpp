#include "training/agreement.h"

#include <string>

namespace triptych {

void together(Group& world, const std::function<void()>& work) {
  if (world.size() == 1) return work();
  std::string status;  // empty: well; else the kind's digit and the message
  try {
    work();
  } catch (const Error& error) {
    status = std::to_string(static_cast<int>(error.kind())) + error.what();
  } catch (const std::exception& error) {
    status = std::to_string(static_cast<int>(ErrorKind::kWorld)) + error.what();
  }
  const std::vector<std::string> all = world.all_gather_string(status);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    const auto kind = static_cast<ErrorKind>(all[rank][0] - '0');
    const bool everywhere = all.front() == all.back() && rank == 0;
    throw AgreedError(kind, all[rank].substr(1) + (everywhere ? "" : fmt::format(" (rank {}/{})", rank, all.size())));
  }
}

}  // namespace triptych
