#pragma once
// Internal: the orbitals of one batch and the gathered density matrix, shared by the density, the
// potential matrix and the gradient.

#include <Eigen/Dense>
#include <span>
#include <vector>

#include "mlh/grid.hpp"

namespace mlh::detail {

using Matrix = Eigen::MatrixXd;  // column-major

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

inline void orbital_gradients(const Grid& grid, const Batch& batch, const BatchPoints& x,
                              const std::vector<int>& first, Matrix& phi,
                              std::array<Matrix, 3>& dphi) {
  std::size_t a = 0;
  for (const ActiveAtom& atom : grid.active(batch)) {
    const int c = first[a++];
    grid.tables(atom.atom).gradients(x, grid.center(atom), phi.col(c).data(),
                                     {dphi[0].col(c).data(), dphi[1].col(c).data(),
                                      dphi[2].col(c).data()});
  }
}

inline Cell difference(const Cell& a, const Cell& b) {
  return {a[0] - b[0], a[1] - b[1], a[2] - b[2]};
}

/// Visits the stored block of every local pair (a, b) with a <= b: visit(a, b, pair index).
template <class Visit>
void for_local_pairs(const Grid& grid, const Batch& batch, Visit&& visit) {
  const auto atoms = grid.active(batch);
  for (int a = 0; a < static_cast<int>(atoms.size()); ++a) {
    for (int b = a; b < static_cast<int>(atoms.size()); ++b) {
      const auto &i = atoms[static_cast<std::size_t>(a)], &j = atoms[static_cast<std::size_t>(b)];
      const int pair = grid.pattern().find(i.atom, j.atom, difference(j.cell, i.cell));
      if (pair >= 0) visit(a, b, pair);
    }
  }
}

using BlockMap =
    Eigen::Map<const Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

inline BlockMap block(const Pattern& pattern, std::span<const double> data, int pair) {
  const auto p = static_cast<std::size_t>(pair);
  return {data.data() + pattern.offset[p], pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_i[p])],
          pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_j[p])]};
}

/// Dense density matrix of the batch; `scale_upper` 2 and `mirror` false give the upper blocks for
/// sum_ab P_ab phi_a phi_b, 1 and true the full symmetric matrix.
inline void gather(const Grid& grid, const Batch& batch, std::span<const double> D,
                   const std::vector<int>& first, bool mirror, Matrix& P) {
  const int n = batch.n_orbitals;
  P.topLeftCorner(n, n).setZero();
  for_local_pairs(grid, batch, [&](int a, int b, int pair) {
    const auto source = block(grid.pattern(), D, pair);
    const auto i = first[static_cast<std::size_t>(a)], j = first[static_cast<std::size_t>(b)];
    auto target = P.block(i, j, source.rows(), source.cols());
    if (a == b || mirror) {
      target = source;
      if (a != b) P.block(j, i, source.cols(), source.rows()) = source.transpose();
    } else {
      target = 2.0 * source;
    }
  });
}

}  // namespace mlh::detail
