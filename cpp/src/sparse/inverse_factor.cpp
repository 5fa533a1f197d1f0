// Lower triangular G with G S G^T = 1 but for what lies outside a given neighbourhood of every
// atom: the factorised sparse approximate inverse (Kolotilina and Yeremin, SIAM J. Matrix Anal.
// Appl. 14, 45 (1993)). The rows of a tile are the last block rows of L^-1, S = L L^T among the
// atoms of the tile and those before it in its neighbourhood; with whole rows G is the inverse
// Cholesky factor.

#include <Eigen/Cholesky>
#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

#include "sparse/block_row.hpp"

namespace mlh {

namespace {

using Index = std::ptrdiff_t;

/// Lower triangle of S among `atoms` (ascending), `start[k]` the first orbital of the k-th of them.
template <class Real>
Eigen::MatrixXd gather(const BlockSparse<Real>& S, const std::vector<int>& atoms,
                       const std::vector<Index>& start) {
  const BlockLayout& layout = S.layout();
  Eigen::MatrixXd dense = Eigen::MatrixXd::Zero(start.back(), start.back());
  using Block =
      Eigen::Map<const Eigen::Matrix<Real, -1, -1, Eigen::RowMajor>, 0, Eigen::OuterStride<>>;
  for (std::size_t k = 0; k < atoms.size(); ++k) {
    const BlockRow<Real>& row = S.row(static_cast<std::size_t>(atoms[k]));
    std::size_t b = 0;
    for (std::size_t l = 0; l <= k; ++l) {
      while (b < row.column.size() && row.column[b] < atoms[l]) ++b;
      if (b == row.column.size() || row.column[b] != atoms[l]) continue;
      const auto j = static_cast<std::size_t>(atoms[l]);
      const Index n = start[k + 1] - start[k], m = start[l + 1] - start[l];
      dense.block(start[k], start[l], n, m) =
          Block(row.values.data() + row.offset[b], n, m, Eigen::OuterStride<>(layout.stride[j]))
              .template cast<double>();
    }
  }
  return dense;
}

/// Rows [first, last) of G; false when S is not positive definite there.
template <class Real>
bool factor_rows(const BlockSparse<Real>& S, const BlockSparse<Real>& reach, int first, int last,
                 BlockRow<Real>* out) {
  const BlockLayout& layout = S.layout();
  std::vector<int> atoms;
  for (int i = first; i < last; ++i) {
    for (const int j : reach.row(static_cast<std::size_t>(i)).column) {
      if (j < first) atoms.push_back(j);
    }
  }
  std::sort(atoms.begin(), atoms.end());
  atoms.erase(std::unique(atoms.begin(), atoms.end()), atoms.end());
  for (int i = first; i < last; ++i) atoms.push_back(i);
  std::vector<Index> start{0};
  for (const int j : atoms)
    start.push_back(start.back() + layout.size[static_cast<std::size_t>(j)]);
  const Eigen::LLT<Eigen::MatrixXd, Eigen::Lower> cholesky(gather(S, atoms, start));
  if (cholesky.info() != Eigen::Success) return false;
  const std::size_t own = atoms.size() - static_cast<std::size_t>(last - first);
  const Index n = start.back() - start[own], total = start.back();
  Eigen::MatrixXd X = Eigen::MatrixXd::Zero(total, n);
  X.bottomRows(n).setIdentity();
  cholesky.matrixU().solveInPlace(X);
  std::vector<Real> block;
  for (std::size_t k = own; k < atoms.size(); ++k, ++out) {
    const Index rows = start[k + 1] - start[k], column = start[k] - start[own];
    for (std::size_t l = 0; l <= k; ++l) {
      const auto stride =
          static_cast<std::size_t>(layout.stride[static_cast<std::size_t>(atoms[l])]);
      block.assign(static_cast<std::size_t>(rows) * stride, Real(0));
      for (Index a = 0; a < rows; ++a) {
        for (Index b = start[l]; b < start[l + 1]; ++b) {
          block[static_cast<std::size_t>(a) * stride + static_cast<std::size_t>(b - start[l])] =
              static_cast<Real>(X(b, column + a));
        }
      }
      detail::append(*out, atoms[l], block.data(), block.size(), 0.0);
    }
    detail::finish(*out);
  }
  return true;
}

}  // namespace

template <class Real>
BlockSparse<Real> local_inverse_factor(const BlockSparse<Real>& S, const BlockSparse<Real>& reach) {
  std::vector<BlockRow<Real>> rows(S.n_rows());
  std::atomic<Index> failed{-1};
  const auto n = static_cast<Index>(rows.size());
#pragma omp parallel for schedule(dynamic, 1)
  for (Index i = 0; i < n; i += kTileAtoms) {
    const auto last = static_cast<int>(std::min(n, i + kTileAtoms));
    if (!factor_rows(S, reach, static_cast<int>(i), last, &rows[static_cast<std::size_t>(i)])) {
      failed = i;
    }
  }
  if (failed >= 0) {
    throw std::invalid_argument("S: the overlap matrix is not positive definite around atom " +
                                std::to_string(failed) +
                                ": atoms too close to each other, or linearly dependent orbitals");
  }
  return {S.shared_layout(), std::move(rows)};
}

template BlockSparse<float> local_inverse_factor(const BlockSparse<float>&,
                                                 const BlockSparse<float>&);
template BlockSparse<double> local_inverse_factor(const BlockSparse<double>&,
                                                  const BlockSparse<double>&);

}  // namespace mlh
