#include "training/cluster.h"

#include <algorithm>
#include <cmath>
#include <map>

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

namespace {

// How an operation's ranks lie on nodes, which hold ranks in order.
struct Spread {
  double ranks = 0, nodes = 0;
  double least = 0, most = 0;  ///< ranks of a node that has any
};

Spread spread_of(const WorkLog::Operation& operation, int devices_per_node) {
  std::map<int, int> of_nodes;
  for (const int rank : operation.world_ranks) ++of_nodes[rank / devices_per_node];
  const auto fewer = [](const auto& a, const auto& b) { return a.second < b.second; };
  const auto [least, most] = std::minmax_element(of_nodes.begin(), of_nodes.end(), fewer);
  return {.ranks = static_cast<double>(operation.world_ranks.size()),
          .nodes = static_cast<double>(of_nodes.size()),
          .least = static_cast<double>(least->second),
          .most = static_cast<double>(most->second)};
}

}  // namespace

bool Cluster::is_within_node(const WorkLog::Operation& operation) const {
  return spread_of(operation, devices_per_node).nodes == 1;
}

double Cluster::seconds(const WorkLog::Operation& operation) const {
  const Spread spread = spread_of(operation, devices_per_node);
  // What a device sends within its node and to others, of the operation's bytes, and how often it waits for a message.
  double within = 0, between = 0, rounds_within = 0, rounds_between = 0;
  if (operation.kind == "send" || operation.kind == "recv") {
    (spread.nodes == 1 ? within : between) = 1;
    (spread.nodes == 1 ? rounds_within : rounds_between) = 1;
  } else if (operation.kind == "all_to_all") {
    within = (spread.most - 1) / spread.ranks;
    between = (spread.ranks - spread.least) / spread.ranks;
    rounds_within = spread.most > 1 ? 1 : 0;
    rounds_between = spread.nodes > 1 ? 1 : 0;
  } else {
    const double ways = operation.kind == "all_reduce" ? 2 : 1;
    const bool is_broadcast = operation.kind == "broadcast";
    within = is_broadcast ? (spread.most > 1 ? 1 : 0) : ways * (spread.most - 1) / spread.most;
    between = is_broadcast ? (spread.nodes > 1 ? 1 : 0) : ways * (spread.nodes - 1) / spread.nodes;
    between /= spread.least;
    rounds_within = ways * std::ceil(std::log2(spread.most));
    rounds_between = ways * std::ceil(std::log2(spread.nodes));
  }
  const double bytes_s =
      std::max(within * operation.bytes / (node.gb_per_s * 1e9), between * operation.bytes / (network.gb_per_s * 1e9));
  return bytes_s + (rounds_within * node.latency_us + rounds_between * network.latency_us) * 1e-6;
}

}  // namespace triptych::training
