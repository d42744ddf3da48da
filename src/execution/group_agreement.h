#pragma once

#include <memory>

#include "data/row_agreement.h"
#include "parallel/group.h"

namespace triptych::execution {

/// The agreement of loaders over all ranks of a host group, which must outlive it; none for a group of one rank. While
/// nothing is bad it costs an all-reduce of four bytes a batch, on the host.
std::unique_ptr<RowAgreement> make_row_agreement(Group& world);

}  // namespace triptych::execution
