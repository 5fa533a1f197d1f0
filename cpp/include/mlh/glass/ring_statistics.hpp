#pragma once
// Shortest-path rings of a periodic network.

#include <cstdint>
#include <vector>

#include "mlh/glass/network.hpp"

namespace mlh {

/// Links between nodes in both directions, CSR by node (bridging atoms already contracted).
struct LinkGraph {
  std::vector<int> start;
  std::vector<Neighbor> links;

  int size() const { return static_cast<int>(start.size()) - 1; }
};

/// counts[s]: rings of s nodes per cell, s <= max_size, closed in space (a path that ends in a
/// periodic image of its first node is no ring). A ring counts where no path through the network
/// connects two of its nodes in fewer links than the ring does: shortest-path or primitive rings,
/// Franzblau, Phys. Rev. B 44, 4925 (1991). counts[2]: pairs of nodes with more than one link.
std::vector<std::int64_t> count_rings(const LinkGraph& graph, int max_size);

}  // namespace mlh
