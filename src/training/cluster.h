#pragma once

#include <filesystem>
#include <string>

#include "device/work_log.h"

namespace triptych::training {

/// What carries messages.
struct LinkRate {
  double gb_per_s = 1;  ///< of one device, each way
  double latency_us = 1;
};

/// Machines to plan for. Read from a file of configs/clusters, or one like it.
struct Cluster {
  std::string name;
  double memory_gb = 0;  ///< of a device; 0: not bounded
  double fp32_tflops = 1, half_tflops = 1;
  double memory_gb_per_s = 1;
  double kernel_us = 0;
  double product_share = 1, attention_share = 1, memory_share = 1;
  bool overlaps = true;
  int devices_per_node = 1;
  LinkRate node, network;

  /// Throws UserError that lists what is wrong with the file.
  static Cluster read(const std::filesystem::path& file);

  /// Of kernels, one after the other: products and attention at their shares of the peak, the rest by the bytes that it
  /// moves, and what each kernel takes beside that.
  double seconds(const Work& work) const;
  /// Of an operation alone on its links. Ranks lie on nodes in order. Of n ranks of one node (rings, Thakur et al.
  /// 2005) each sends 2 (n-1) / n of an all-reduce's bytes, of a gather's or scatter's (n-1) / n, of a broadcast's all.
  /// Over several nodes the same within each, and what a node has to send to the others is shared by its ranks: of N
  /// nodes 2 (N-1) / N, (N-1) / N or all of the bytes, over the ranks of the node that has fewest, as
  /// HierarchicalCollectives and NCCL do. Pieces follow each other, so the slower of the two counts. Messages and
  /// all-to-alls send each byte from its rank. Latencies as of trees, log2 each way, of both.
  double seconds(const WorkLog::Operation& operation) const;
  bool is_within_node(const WorkLog::Operation& operation) const;
};

}  // namespace triptych::training
