#pragma once
// Internal: the orbitals of one batch and the gathered density matrix, shared by the density, the
// potential matrix and the gradient.

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

inline void orbital_gradients(const Grid& grid, const Batch& batch, const BatchPoints& x,
                              const std::vector<int>& first, Matrix& phi,
                              std::array<Matrix, 3>& dphi) {
  std::size_t a = 0;
  for (const ActiveAtom& atom : grid.active(batch)) {
    const int c = first[a++];
    grid.tables(atom.atom).gradients(
        x, grid.center(atom), phi.col(c).data(),
        {dphi[0].col(c).data(), dphi[1].col(c).data(), dphi[2].col(c).data()});
  }
}

inline Cell difference(const Cell& a, const Cell& b) {
  return {a[0] - b[0], a[1] - b[1], a[2] - b[2]};
}

/// Multiple of 8 that holds n orbitals: rows of a RowMatrix stay aligned.
inline int padded(int n) { return (n + 7) / 8 * 8; }

/// Two atoms of a batch, a <= b, and their place in the Pattern, -1 where it does not hold them.
struct LocalPair {
  int a, b, pair;
};

/// All pairs of the atoms of a batch: found once for all matrices that are gathered.
inline void local_pairs(const Grid& grid, const Batch& batch, std::vector<LocalPair>& pairs) {
  pairs.clear();
  const auto atoms = grid.active(batch);
  for (int a = 0; a < static_cast<int>(atoms.size()); ++a) {
    for (int b = a; b < static_cast<int>(atoms.size()); ++b) {
      const auto &i = atoms[static_cast<std::size_t>(a)], &j = atoms[static_cast<std::size_t>(b)];
      pairs.push_back({a, b, grid.pattern().find(i.atom, j.atom, difference(j.cell, i.cell))});
    }
  }
}

/// Dense density matrix of the batch, row-major, symmetric.
inline void gather(const Pattern& pattern, std::span<const LocalPair> pairs,
                   std::span<const double> D, const std::vector<int>& first, RowMatrix& P) {
  for (const auto& [a, b, pair] : pairs) {
    const int i = first[static_cast<std::size_t>(a)], j = first[static_cast<std::size_t>(b)];
    const int rows = first[static_cast<std::size_t>(a) + 1] - i;
    const int columns = first[static_cast<std::size_t>(b) + 1] - j;
    if (pair < 0) {
      P.block(i, j, rows, columns).setZero();
      P.block(j, i, columns, rows).setZero();
      continue;
    }
    const double* source = D.data() + pattern.offset[static_cast<std::size_t>(pair)];
    for (int x = 0; x < rows; ++x) {
      double* target = &P(i + x, j);
      for (int y = 0; y < columns; ++y) target[y] = source[x * columns + y];
    }
    if (a == b) continue;
    for (int y = 0; y < columns; ++y) {
      double* target = &P(j + y, i);
      for (int x = 0; x < rows; ++x) target[x] = source[x * columns + y];
    }
  }
}

}  // namespace mlh::detail
