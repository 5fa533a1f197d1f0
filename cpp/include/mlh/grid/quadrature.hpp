#pragma once
// Quadrature on a sphere around an atom: Gauss radii of its weight times Lebedev directions.

#include <array>
#include <vector>

#include "mlh/basis/basis.hpp"
#include "mlh/geometry/structure.hpp"

namespace mlh {

struct WeightedPoint {
  Vec3 position;
  double weight;
};

/// Gauss-Legendre nodes and weights on [0, length].
std::vector<std::array<double, 2>> gauss_legendre(int n, double length);

/// Gauss nodes and weights on [0, radius] for the weight r^2 w(r): exact for every polynomial of
/// degree 2n - 1. Golub and Welsch, Math. Comp. 23, 221 (1969).
std::vector<std::array<double, 2>> sphere_radii(const SphereData& sphere, int n);

/// Lebedev rule (weights sum to 1) of the given algebraic degree: 5, 7, 9, 11, 15, 17, 19, 21, 23,
/// 27 or 29. Lebedev and Laikov, Doklady Math. 59, 477 (1999).
std::vector<WeightedPoint> lebedev(int degree);

/// Points of one atom-centred sphere relative to its atom, weight = omega * w(r): the quadrature
/// weight times the partition function. 22 radii at 2 Bohr, 10 more per Bohr
/// beyond, 20 at least; the angular degree grows 7/11/17/23 with the radius (bounds in proportion
/// to the sphere's). Ordered in compact groups of at most `max_group` points; `groups` receives the
/// start of each group and the end.
std::vector<WeightedPoint> sphere_mesh(const SphereData& sphere, int max_group,
                                       std::vector<int>& groups);

/// w(r) and dw/dr of the partition of unity; 0 beyond the radius.
std::array<double, 2> partition_weight(const SphereData& sphere, double r);

}  // namespace mlh
