#pragma once
// Separable nonlocal potential:
//
//   V_ij(R) = q(|r_ij|) sum_K B_iK E_K B_jK^T,   B_iK = <phi_i | beta_K>, E_K diagonal, K over all
//   atoms and images whose projectors overlap orbitals of both i and j.
//
// q = 1 for t >= 1, 10 t^3 - 15 t^4 + 6 t^5 for 0 < t < 1, t = rc_i + rc_j - |r_ij| (Bohr): blocks
// fade in as a pair enters the Pattern, so that the energy stays differentiable
// (docs/openmx.md).

#include "mlh/two_center/two_center.hpp"

namespace mlh {

/// {q, dq/dr} at a distance, for the sum of the two orbital cutoffs.
std::array<double, 2> nonlocal_damping(double distance, double cutoff_sum);

/// V_nl on every block of the pattern (nnz doubles).
std::vector<double> nonlocal_matrix(const TwoCenterTables& tables, const Structure& structure,
                                    const Pattern& pattern);

/// Gradient of sum_p sum_ab D_p[ab] V_p[ab] at fixed D, dq/dr included; D need not be symmetric.
/// `damping_slope` multiplies dq/dr: 2 reproduces OpenMX, which counts it twice.
PairGradient nonlocal_gradient(const TwoCenterTables& tables, const Structure& structure,
                               const Pattern& pattern, std::span<const double> D,
                               double damping_slope = 1.0);

}  // namespace mlh
