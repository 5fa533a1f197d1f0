#pragma once
// The periodic real-space grid of a cell and its finite-difference operators.

#include <array>
#include <span>
#include <vector>

#include "mlh/geometry/structure.hpp"

namespace mlh {

/// Point (k1, k2, k3) lies at sum_d k_d a_d / n_d from the origin of the cell; k3 runs fastest.
struct UniformGrid {
  Mat3 cell;
  std::array<int, 3> n;

  std::size_t size() const {
    return static_cast<std::size_t>(n[0]) * static_cast<std::size_t>(n[1]) *
           static_cast<std::size_t>(n[2]);
  }
  double volume_element() const {
    return std::abs(cell.determinant()) / static_cast<double>(size());
  }
  /// Row d: Cartesian vector of one step along axis d.
  Mat3 steps() const {
    Mat3 h = cell;
    for (int d = 0; d < 3; ++d) h.row(d) /= n[d];
    return h;
  }
};

/// Points per axis for a plane-wave-like cutoff in Ry: N_d = (V/|a_e x a_f|) sqrt(Ecut)/pi, taken
/// to the 2-3-5-7-smooth number nearest in the logarithm (OpenMX's rule).
std::array<int, 3> grid_size(const Mat3& cell, double cutoff_ry);

/// Order of the central differences along the axes: 8, or 2 as in OpenMX.
enum class Stencil { eighth, second };

/// Cartesian gradient of a periodic function by central differences along the axes; three arrays
/// (x, y, z).
std::array<std::vector<double>, 3> gradient(const UniformGrid& grid, std::span<const double> f,
                                            Stencil stencil = Stencil::eighth);

/// out -= div F with the same stencil: the transpose of `gradient`, so that a potential made with
/// it is the exact derivative of the discretised energy.
void subtract_divergence(const UniformGrid& grid, const std::array<std::vector<double>, 3>& f,
                         std::span<double> out, Stencil stencil = Stencil::eighth);

}  // namespace mlh
