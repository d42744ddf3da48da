#pragma once

#include <span>
#include <vector>

#include "device/work_log.h"
#include "training/cluster.h"

namespace triptych::training {

/// A step of one rank: what its kernels had to do, and how long it took.
struct TimedWork {
  Work work;
  double seconds = 0;
};

/// The rates of a device with which Cluster::seconds comes closest to steps of one rank: the least sum of squares of
/// relative errors, none of the times below zero (least squares by coordinates, Franc, Hlavac and Navara 2005;
/// attention's share is searched for). What takes no time that can be told apart from the rest gets a rate at which it
/// takes none.
///   steps   at least one, of times above 0; types that no step computes in have the rate of the other one
/// Returns a cluster with the rates of `device` set alone; product_share and memory_share are 1.
Cluster fit_device(std::span<const TimedWork> steps);

/// A message of `bytes` in an all-reduce of `num_ranks`, and how long that took.
struct TimedReduce {
  int num_ranks = 2;
  double bytes = 0;
  double seconds = 0;
};

/// The latency and rate of a link with which Cluster::seconds comes closest to all-reduces, as above.
///   reduces  at least two sizes
LinkRate fit_link(std::span<const TimedReduce> reduces);

/// The file that Cluster::read reads, with `comment` in its head, each line behind a `#`.
std::string to_toml(const Cluster& cluster, std::string_view comment);

}  // namespace triptych::training
