#pragma once
// Internal: the orbitals of one batch and the gathered density matrix, shared by what evaluates
// states on the points.

#include <Eigen/Dense>
#include <span>
#include <vector>

#include "mlh/grid/grid.hpp"

namespace mlh::detail {

using Matrix = Eigen::MatrixXd;  // column-major
using RowMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// First local orbital of each active atom, and the total at the end.
inline void local_offsets(const Grid& grid, const Batch& batch, std::vector<int>& first) {
  first.clear();
  int n = 0;
  for (const ActiveAtom& atom : grid.active(batch)) {
    first.push_back(n);
    n += grid.pattern().n_orbitals[static_cast<std::size_t>(atom.atom)];
  }
  first.push_back(n);
}

/// Columns of `phi` (kBatch x n_orbitals): every orbital of the batch on its points.
inline void orbital_values(const Grid& grid, const Batch& batch, const BatchPoints& x,
                           const std::vector<int>& first, Matrix& phi) {
  std::size_t a = 0;
  for (const ActiveAtom& atom : grid.active(batch)) {
    grid.tables(atom.atom).values(x, grid.center(atom), phi.col(first[a++]).data());
  }
}

inline Cell difference(const Cell& a, const Cell& b) {
  return {a[0] - b[0], a[1] - b[1], a[2] - b[2]};
}

}  // namespace mlh::detail
