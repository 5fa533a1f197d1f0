#pragma once
// Internal: an order of points in which octets, batches and groups of batches are all compact.

#include <vector>

#include "mlh/geometry/structure.hpp"

namespace mlh::detail {

/// A permutation of the points: they are halved across their longest axis, first into pieces of
/// `units[0]` points, these into pieces of `units[1]`, and so on. Every piece but the last is full.
std::vector<int> compact_order(const std::vector<Vec3>& points, const std::vector<int>& units);

}  // namespace mlh::detail
