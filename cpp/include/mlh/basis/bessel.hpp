#pragma once
// Spherical Bessel functions and Bessel transforms of tabulated radial functions.

#include <Eigen/Dense>
#include <vector>

#include "mlh/basis/basis.hpp"
#include "mlh/basis/wave_table.hpp"

namespace mlh {

/// Largest order of reduced_bessel: L <= 12 of a product and two derivatives.
inline constexpr int kMaxBesselOrder = 14;

/// values[l] = u_l(x) = j_l(x) / x^l for l = 0..lmax <= kMaxBesselOrder, x >= 0. Entire and even in
/// x: u_l(0) = 1/(2l+1)!!, du_l/dx = -x u_{l+1}.
void reduced_bessel(double x, int lmax, double* values);

/// Bohr^-1. Truncation errors with GTH Si and O s2p2d1 of a-SiO2 (largest element, Hartree):
/// T 2e-8 at 40, 4e-10 at 60, 5e-12 at 80; S, V_nl and E_scc converge sooner.
inline constexpr double kWaveCutoff = 100.0;

/// Mesh that serves every pair of functions no longer than `longest` (Bohr).
WaveMesh make_wave_mesh(double longest, double cutoff = kWaveCutoff);

/// Column f: integral of j_l(kr) r^(l+2) g_f(r) dr for every k of the mesh, by the
/// trapezoid rule on the nodes of its own mesh.
Eigen::MatrixXd bessel_transforms(const std::vector<const RadialTable*>& functions,
                                  const WaveMesh& mesh);

struct BasisTransforms {
  WaveMesh mesh;
  std::vector<SpeciesTransforms> species;
};

/// The species' own wave tables where all of them have one on the same mesh; made of the radial
/// tables where none has. Throws std::invalid_argument otherwise.
BasisTransforms make_transforms(const BasisData& basis, double cutoff = kWaveCutoff);

}  // namespace mlh
