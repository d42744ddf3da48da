#include "training/cluster.h"

#include <algorithm>
#include <cmath>

#include "config/config_reader.h"

namespace triptych::training {

Cluster Cluster::read(const std::filesystem::path& file) {
  Cluster c;
  ConfigReader reader = ConfigReader::from_file(file);
  reader.read("name", c.name, "Of the cluster, for people.");
  reader.read("device.memory_gb", c.memory_gb, "GB of a device; 0: not bounded.").at_least(0);
  reader.read("device.fp32_tflops", c.fp32_tflops, "Peak of float32 products, TFLOP/s.").required().positive();
  reader.read("device.half_tflops", c.half_tflops, "Peak of 16-bit products, TFLOP/s.").required().positive();
  reader.read("device.memory_gb_per_s", c.memory_gb_per_s, "Peak of the device's memory.").required().positive();
  reader.read("device.kernel_us", c.kernel_us, "What a kernel takes beside its work.").at_least(0);
  reader.read("device.product_share", c.product_share, "Of the peak that matrix products reach.").positive().at_most(1);
  reader.read("device.attention_share", c.attention_share, "Of the peak that attention reaches.").positive().at_most(1);
  reader.read("device.memory_share", c.memory_share, "Of the memory's peak that kernels reach.").positive().at_most(1);
  reader.read("device.overlaps", c.overlaps, "Whether operations of groups go on beside kernels.");
  reader.read("node.devices", c.devices_per_node, "Devices of a node.").at_least(1);
  reader.read("node.gb_per_s", c.node.gb_per_s, "Of one device within a node, each way.").required().positive();
  reader.read("node.latency_us", c.node.latency_us, "Of a message within a node.").at_least(0);
  reader.read("network.gb_per_s", c.network.gb_per_s, "Of one device between nodes, each way.").required().positive();
  reader.read("network.latency_us", c.network.latency_us, "Of a message between nodes.").at_least(0);
  reader.finish();
  return c;
}

double Cluster::seconds(const Work& work) const {
  constexpr double kTera = 1e12, kGiga = 1e9, kMicro = 1e-6;
  return work.product_flops / (fp32_tflops * kTera * product_share) +
         work.half_product_flops / (half_tflops * kTera * product_share) +
         work.attention_flops / (fp32_tflops * kTera * attention_share) +
         work.half_attention_flops / (half_tflops * kTera * attention_share) +
         work.bytes / (memory_gb_per_s * kGiga * memory_share) + work.num_kernels * kernel_us * kMicro;
}

bool Cluster::is_within_node(const WorkLog::Operation& operation) const {
  const auto node_of = [&](int rank) { return rank / devices_per_node; };
  return std::all_of(operation.world_ranks.begin(), operation.world_ranks.end(),
                     [&](int rank) { return node_of(rank) == node_of(operation.world_ranks.front()); });
}

double Cluster::seconds(const WorkLog::Operation& operation) const {
  const LinkRate& link = is_within_node(operation) ? node : network;
  const auto n = static_cast<double>(operation.world_ranks.size());
  double rounds = std::ceil(std::log2(n)), passes = (n - 1) / n;
  if (operation.kind == "all_reduce") {
    rounds *= 2;
    passes *= 2;
  } else if (operation.kind == "all_to_all") {
    rounds = 1;
  } else if (operation.kind == "broadcast" || operation.kind == "send" || operation.kind == "recv") {
    passes = 1;
  }
  return rounds * link.latency_us * 1e-6 + passes * operation.bytes / (link.gb_per_s * 1e9);
}

}  // namespace triptych::training
