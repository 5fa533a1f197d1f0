#pragma once
// One-electron states on the uniform grid.

#include <complex>
#include <span>
#include <vector>

#include "mlh/grid/grid.hpp"

namespace mlh {

/// psi_s(r) = sum_a C_sa sum_R exp(2 pi i k.R) phi_a(r - tau_a - R) at every point of the uniform
/// grid, for `count` states; `coefficients` is (count, orbitals of the cell) row-major, k in
/// fractions of the reciprocal vectors. Returns (count, grid points). The real form takes k = 0
/// only.
std::vector<double> wavefunctions(const Grid& grid, std::span<const double> coefficients,
                                  std::size_t count);
std::vector<std::complex<double>> wavefunctions(const Grid& grid,
                                                std::span<const std::complex<double>> coefficients,
                                                std::size_t count, const Vec3& k);

}  // namespace mlh
