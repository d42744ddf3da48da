#pragma once

#include <cstdint>
#include <functional>

#include "base/rooms.h"

namespace triptych::data {

/// Calls work(i) once for each i below `count`, on up to `threads` threads, of which the caller's is one; returns when
/// all are done. Where a thread cannot be started, those that could do its work. If calls throw, one of the exceptions
/// is rethrown at the end, and calls that had not begun are left out.
void parallel_for(int threads, uint64_t count, const std::function<void(uint64_t)>& work);

/// Threads that this machine runs at once, 1 to 64.
int num_processors();

}  // namespace triptych::data
