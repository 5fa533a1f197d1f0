#pragma once
// Spherical Bessel functions and Bessel transforms of tabulated radial functions.

#include <Eigen/Dense>
#include <vector>

#include "mlh/basis.hpp"

namespace mlh {

/// Largest order of reduced_bessel: L <= 6 of a product and two derivatives.
inline constexpr int kMaxBesselOrder = 8;

/// values[l] = u_l(x) = j_l(x) / x^l for l = 0..lmax <= kMaxBesselOrder, x >= 0. Entire and even in
/// x: u_l(0) = 1/(2l+1)!!, du_l/dx = -x u_{l+1}.
void reduced_bessel(double x, int lmax, double* values);

/// Uniform mesh k_i = i * step, i = 0..size-1.
///
/// The integrands of two-centre sums are even entire functions of k of exponential type
/// rc_A + rc_B + R <= 2 (rc_A + rc_B): by Poisson's formula the trapezoid rule on this mesh is
/// exact but for the truncation at the last k as long as step <= pi / (rc_A + rc_B).
struct WaveMesh {
  double step = 0.0;
  Eigen::Index size = 0;
  double k(Eigen::Index i) const { return step * static_cast<double>(i); }
  /// Trapezoid weight of point i.
  double weight(Eigen::Index i) const { return i == 0 ? 0.5 * step : step; }
};

/// Bohr^-1. Truncation errors with GTH Si and O s2p2d1 of a-SiO2 (largest element, Hartree):
/// T 2e-8 at 40, 4e-10 at 60, 5e-12 at 80; S, V_nl and E_scc converge sooner.
inline constexpr double kWaveCutoff = 100.0;

/// Mesh that serves every pair of functions no longer than `longest` (Bohr).
WaveMesh make_wave_mesh(double longest, double cutoff = kWaveCutoff);

/// Column f: integral of j_l(kr) r^(l+2) g_f(r) dr for every k of the mesh, by 4-point
/// Gauss-Legendre on each interval of the spline. Throws when a table has another step than
/// kRadialStep.
Eigen::MatrixXd bessel_transforms(const std::vector<const RadialTable*>& functions,
                                  const WaveMesh& mesh);

/// Transforms of everything the two-centre terms need of one species.
struct SpeciesTransforms {
  Eigen::MatrixXd orbitals;    ///< k x shells
  Eigen::MatrixXd projectors;  ///< k x projectors
  Eigen::VectorXd density;     ///< k
};

struct BasisTransforms {
  WaveMesh mesh;
  std::vector<SpeciesTransforms> species;
};

BasisTransforms make_transforms(const BasisData& basis, double cutoff = kWaveCutoff);

}  // namespace mlh
