#pragma once
// Electrostatic integrals of two spherical densities on a cylinder mesh around the first:
//
//   J(R) = int n(r) V(|r - R e_z|) = sum_{z, x} w_zx V(sqrt(x^2 + (R - z)^2)),
//
// w_zx: the density times the quadrature weights.

#include <array>
#include <span>
#include <vector>

#include "mlh/openmx/log_table.hpp"

namespace mlh {

/// {J, dJ/dR, d2J/dR2} at every distance; `weight` is z.size() x x.size(), row-major.
std::vector<std::array<double, 3>> cylinder_integrals(const LogTable& potential,
                                                      std::span<const double> z,
                                                      std::span<const double> x,
                                                      std::span<const double> weight,
                                                      std::span<const double> distances);

}  // namespace mlh
