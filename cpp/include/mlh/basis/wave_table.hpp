#pragma once
// Bessel transforms of the radial functions of a species on a mesh of wave numbers: what the
// two-centre integrals are made of.

#include <Eigen/Dense>

namespace mlh {

/// Uniform mesh k_i = start + i * step, i = 0..size-1, start much smaller than step.
///
/// The integrands of two-centre sums are even entire functions of k of exponential type
/// rc_A + rc_B + R <= 2 (rc_A + rc_B): by Poisson's formula the trapezoid rule on this mesh is
/// exact but for the truncation at the last k as long as step <= pi / (rc_A + rc_B).
struct WaveMesh {
  double start = 0.0;
  double step = 0.0;
  Eigen::Index size = 0;
  double k(Eigen::Index i) const { return start + step * static_cast<double>(i); }
  /// Trapezoid weight of point i.
  double weight(Eigen::Index i) const { return i == 0 ? 0.5 * step : step; }
  bool operator==(const WaveMesh&) const = default;
};

/// Nodes and weights of an integral over the wave number.
struct WaveQuadrature {
  Eigen::VectorXd k, weight;
};
inline WaveQuadrature quadrature(const WaveMesh& mesh) {
  WaveQuadrature q{Eigen::VectorXd(mesh.size), Eigen::VectorXd(mesh.size)};
  for (Eigen::Index i = 0; i < mesh.size; ++i) {
    q.k[i] = mesh.k(i);
    q.weight[i] = mesh.weight(i);
  }
  return q;
}

/// Transforms of everything the two-centre terms need of one species.
struct SpeciesTransforms {
  Eigen::MatrixXd orbitals;    ///< k x shells
  Eigen::MatrixXd projectors;  ///< k x projectors
  Eigen::VectorXd density;     ///< k
};

/// Transforms that a species brings along instead of having them made of its radial tables, where
/// another code's quadrature is to be followed.
struct WaveTable {
  WaveMesh mesh;
  SpeciesTransforms transforms;
};

}  // namespace mlh
