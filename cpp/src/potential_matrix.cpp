// H_ab = sum_g v phi_a phi_b + sum_p [v phi_a phi_b + g . grad(phi_a phi_b)].
//
// Batches are taken in waves: every batch of a wave makes its small dense matrix, then every row of
// blocks collects its contributions in the order of the batches. One writer per block, and a fixed
// order of summation, so that the result does not depend on the number of threads.

#include <algorithm>

#include "batch_products.hpp"
#include "mlh/field.hpp"
#include "orbital_products.hpp"

namespace mlh {

namespace {

using detail::Matrix;
using detail::RowMatrix;

struct Scratch {
  Matrix phi, psi;
  RowMatrix phi_t, psi_t;
  std::array<Matrix, 3> dphi;
  std::vector<int> first;

  explicit Scratch(int n)
      : phi(kBatch, n),
        psi(kBatch, n),
        phi_t(kBatch, detail::padded(n)),
        psi_t(kBatch, detail::padded(n)) {
    for (auto& d : dphi) d.resize(kBatch, n);
  }
};

/// Upper blocks of left^T right, row-major; `right_t` is the transposed right factor.
void upper_product(const Matrix& left, const RowMatrix& right_t, const std::vector<int>& first, bool add,
                   RowMatrix& M) {
  const int n = first.back();
  for (std::size_t a = 0; a + 1 < first.size(); ++a) {
    detail::inner_product(left.data(), right_t.data(), M.outerStride(), first[a],
                          first[a + 1] - first[a], first[a], n, add, M.data());
  }
}

/// Upper blocks of sum_p v phi_a phi_b.
void uniform_matrix(const Grid& grid, const Batch& batch, const Potential& potential, Scratch& s,
                    RowMatrix& M) {
  const int n = batch.n_orbitals;
  detail::orbital_values(grid, batch, grid.points(batch), s.first, s.phi);
  Eigen::Array<double, kBatch, 1> v = Eigen::Array<double, kBatch, 1>::Zero();
  std::array<std::int64_t, kBatch> index{};
  grid.indices(batch, index);
  for (int p = 0; p < batch.n_points; ++p) v[p] = potential.uniform[static_cast<std::size_t>(index[p])];
  detail::transpose(s.phi.data(), n, M.outerStride(), s.phi_t.data());
  s.psi.leftCols(n) = s.phi.leftCols(n).array().colwise() * v;
  upper_product(s.psi, s.phi_t, s.first, false, M);
}

/// Upper blocks of phi^T psi + psi^T phi with psi = v phi / 2 + g . grad phi.
void sphere_matrix(const Grid& grid, const Batch& batch, const Potential& potential, Scratch& s,
                   RowMatrix& M) {
  const int n = batch.n_orbitals;
  detail::orbital_gradients(grid, batch, grid.points(batch), s.first, s.phi, s.dphi);
  using Column = Eigen::Array<double, kBatch, 1>;
  Column v = Column::Zero();
  std::array<Column, 3> g = {Column::Zero(), Column::Zero(), Column::Zero()};
  for (int p = 0; p < batch.n_points; ++p) {
    const auto q = static_cast<std::size_t>(batch.first_point + p);
    v[p] = 0.5 * potential.sphere[q];
    for (int a = 0; a < 3; ++a) g[a][p] = potential.sphere_vector[q][a];
  }
  for (int c = 0; c < n; ++c) {
    s.psi.col(c).array() = v * s.phi.col(c).array() + g[0] * s.dphi[0].col(c).array() +
                           g[1] * s.dphi[1].col(c).array() + g[2] * s.dphi[2].col(c).array();
  }
  detail::transpose(s.phi.data(), n, M.outerStride(), s.phi_t.data());
  detail::transpose(s.psi.data(), n, M.outerStride(), s.psi_t.data());
  upper_product(s.phi, s.psi_t, s.first, false, M);
  upper_product(s.psi, s.phi_t, s.first, true, M);
}

struct Contribution {
  int row;     ///< atom i
  int batch;   ///< within the wave
  int local;   ///< index of i in the batch
};

/// Adds the local blocks (a, b >= a) of one row to the stored blocks.
void add_row(const Grid& grid, const Batch& batch, int a, const RowMatrix& M,
             std::vector<double>& H) {
  const Pattern& pattern = grid.pattern();
  const auto atoms = grid.active(batch);
  int first_a = 0;
  for (int k = 0; k < a; ++k) first_a += pattern.n_orbitals[static_cast<std::size_t>(atoms[k].atom)];
  int first_b = first_a;
  const int n_a = pattern.n_orbitals[static_cast<std::size_t>(atoms[a].atom)];
  for (int b = a; b < static_cast<int>(atoms.size()); ++b) {
    const int n_b = pattern.n_orbitals[static_cast<std::size_t>(atoms[b].atom)];
    const int pair = pattern.find(atoms[a].atom, atoms[b].atom,
                                  detail::difference(atoms[b].cell, atoms[a].cell));
    if (pair >= 0) {
      double* target = H.data() + pattern.offset[static_cast<std::size_t>(pair)];
      for (int x = 0; x < n_a; ++x) {
        const double* row = &M(first_a + x, first_b);
        for (int y = 0; y < n_b; ++y) target[x * n_b + y] += row[y];
      }
    }
    first_b += n_b;
  }
}

/// Local pairs were counted once, in the order of the batch: H_p + H_reverse(p)^T is the sum over
/// both orders; the self pair was complete.
void symmetrise(const Pattern& pattern, std::vector<double>& H) {
#pragma omp parallel for schedule(dynamic, 64)
  for (std::size_t p = 0; p < pattern.n_pairs(); ++p) {
    const auto q = static_cast<std::size_t>(pattern.reverse[p]);
    if (q <= p) continue;
    const int n = pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_i[p])];
    const int m = pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_j[p])];
    double *A = H.data() + pattern.offset[p], *B = H.data() + pattern.offset[q];
    for (int x = 0; x < n; ++x) {
      for (int y = 0; y < m; ++y) A[x * m + y] = B[y * n + x] = A[x * m + y] + B[y * n + x];
    }
  }
}

}  // namespace

std::vector<double> potential_matrix(const Grid& grid, const Potential& potential) {
  std::vector<double> H(static_cast<std::size_t>(grid.pattern().nnz()), 0.0);
  const auto& batches = grid.batches();
  constexpr std::size_t kWave = 64;
  const int n_max = grid.max_orbitals();
  std::vector<RowMatrix> M(kWave, RowMatrix(n_max, detail::padded(n_max)));
  std::vector<Contribution> contributions;
  std::vector<std::size_t> row_begin;
  std::size_t rows = 0;
#pragma omp parallel
  {
    Scratch scratch(grid.max_orbitals());
    for (std::size_t start = 0; start < batches.size(); start += kWave) {
      const std::size_t count = std::min(kWave, batches.size() - start);
#pragma omp for schedule(dynamic, 1)
      for (std::size_t k = 0; k < count; ++k) {
        const Batch& batch = batches[start + k];
        detail::local_offsets(grid, batch, scratch.first);
        if (batch.owner < 0) {
          uniform_matrix(grid, batch, potential, scratch, M[k]);
        } else {
          sphere_matrix(grid, batch, potential, scratch, M[k]);
        }
      }
#pragma omp single
      {
        contributions.clear();
        for (std::size_t k = 0; k < count; ++k) {
          int local = 0;
          for (const auto& atom : grid.active(batches[start + k])) {
            contributions.push_back({atom.atom, static_cast<int>(k), local++});
          }
        }
        std::stable_sort(contributions.begin(), contributions.end(),
                         [](const Contribution& a, const Contribution& b) { return a.row < b.row; });
        row_begin.clear();
        for (std::size_t c = 0; c < contributions.size(); ++c) {
          if (c == 0 || contributions[c].row != contributions[c - 1].row) row_begin.push_back(c);
        }
        rows = row_begin.size();
        row_begin.push_back(contributions.size());
      }
#pragma omp for schedule(dynamic, 1)
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = row_begin[r]; c < row_begin[r + 1]; ++c) {
          const auto& item = contributions[c];
          const auto k = static_cast<std::size_t>(item.batch);
          add_row(grid, batches[start + k], item.local, M[k], H);
        }
      }
    }
  }
  symmetrise(grid.pattern(), H);
  return H;
}

}  // namespace mlh
