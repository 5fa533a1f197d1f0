// Lower triangular G with G S G^T = 1 but for what lies outside a given neighbourhood of every
// atom: the factorised sparse approximate inverse (Kolotilina and Yeremin, SIAM J. Matrix Anal.
// Appl. 14, 45 (1993)). Row i of G is the last block row of L^-1, S = L L^T among the atoms j <= i
// of the neighbourhood of i; with whole rows it is the inverse Cholesky factor.

#include <Eigen/Cholesky>
#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

#include "block_row.hpp"

namespace mlh {

namespace {

using Index = std::ptrdiff_t;

/// Lower triangle of S among `atoms` (ascending), `start[k]` the first orbital of the k-th of them.
Eigen::MatrixXd gather(const BlockSparse& S, const std::vector<int>& atoms,
                       const std::vector<Index>& start) {
  const BlockLayout& layout = S.layout();
  Eigen::MatrixXd dense = Eigen::MatrixXd::Zero(start.back(), start.back());
  using Block =
      Eigen::Map<const Eigen::Matrix<double, -1, -1, Eigen::RowMajor>, 0, Eigen::OuterStride<>>;
  for (std::size_t k = 0; k < atoms.size(); ++k) {
    const BlockRow& row = S.row(static_cast<std::size_t>(atoms[k]));
    std::size_t b = 0;
    for (std::size_t l = 0; l <= k; ++l) {
      while (b < row.column.size() && row.column[b] < atoms[l]) ++b;
      if (b == row.column.size() || row.column[b] != atoms[l]) continue;
      const auto j = static_cast<std::size_t>(atoms[l]);
      const Index n = start[k + 1] - start[k], m = start[l + 1] - start[l];
      dense.block(start[k], start[l], n, m) =
          Block(row.values.data() + row.offset[b], n, m, Eigen::OuterStride<>(layout.stride[j]));
    }
  }
  return dense;
}

/// Row i of G; false when S is not positive definite there.
bool factor_row(const BlockSparse& S, const BlockRow& reach, std::size_t i, BlockRow& out) {
  const BlockLayout& layout = S.layout();
  std::vector<int> atoms;
  for (const int j : reach.column) {
    if (j < static_cast<int>(i)) atoms.push_back(j);
  }
  atoms.push_back(static_cast<int>(i));
  std::vector<Index> start{0};
  for (const int j : atoms)
    start.push_back(start.back() + layout.size[static_cast<std::size_t>(j)]);
  const Eigen::LLT<Eigen::MatrixXd, Eigen::Lower> cholesky(gather(S, atoms, start));
  if (cholesky.info() != Eigen::Success) return false;
  const Index n = layout.size[i], total = start.back();
  Eigen::MatrixXd X = Eigen::MatrixXd::Zero(total, n);
  X.bottomRows(n).setIdentity();
  cholesky.matrixU().solveInPlace(X);
  std::vector<double> block;
  for (std::size_t l = 0; l < atoms.size(); ++l) {
    const auto stride = static_cast<std::size_t>(layout.stride[static_cast<std::size_t>(atoms[l])]);
    block.assign(static_cast<std::size_t>(n) * stride, 0.0);
    for (Index a = 0; a < n; ++a) {
      for (Index b = start[l]; b < start[l + 1]; ++b) {
        block[static_cast<std::size_t>(a) * stride + static_cast<std::size_t>(b - start[l])] =
            X(b, a);
      }
    }
    detail::append(out, atoms[l], block.data(), block.size(), 0.0);
  }
  detail::finish(out);
  return true;
}

}  // namespace

BlockSparse local_inverse_factor(const BlockSparse& S, const BlockSparse& reach) {
  std::vector<BlockRow> rows(S.n_rows());
  std::atomic<Index> failed{-1};
#pragma omp parallel for schedule(dynamic, 1)
  for (Index i = 0; i < static_cast<Index>(rows.size()); ++i) {
    const auto r = static_cast<std::size_t>(i);
    if (!factor_row(S, reach.row(r), r, rows[r])) failed = i;
  }
  if (failed >= 0) {
    throw std::invalid_argument("S: the overlap matrix is not positive definite around atom " +
                                std::to_string(failed) +
                                ": atoms too close to each other, or linearly dependent orbitals");
  }
  return {S.shared_layout(), std::move(rows)};
}

}  // namespace mlh
