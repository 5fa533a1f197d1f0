#pragma once
// Internal: how a row of blocks is put together.

#include <cmath>

#include "common/simd.hpp"
#include "mlh/sparse/block_sparse.hpp"

namespace mlh::detail {

/// Up to here rows of blocks go to one thread, in products and in lighter work: to wait for others,
/// on a busy machine, would take longer than the work.
inline constexpr std::size_t kFewRows = 24, kFewLightRows = 256;

/// Frobenius norm; the padding, up to whole registers, is zero.
template <class Real>
inline double frobenius(const Real* values, std::size_t count) {
  constexpr std::size_t lanes = Register<Real>::lanes;
  typename Register<Real>::Type squares{};
  for (std::size_t k = 0; k < count; k += lanes) {
    const auto v = load(values + k);
    squares += v * v;
  }
  double sum = 0.0;
  for (std::size_t l = 0; l < lanes; ++l) sum += static_cast<double>(squares[l]);
  return std::sqrt(sum);
}

/// Elements of block (i, j), padding included.
template <class Real>
inline std::size_t block_elements(const BlockSparse<Real>& M, std::size_t i, int j) {
  return static_cast<std::size_t>(M.layout().size[i]) *
         static_cast<std::size_t>(M.columns().stride[static_cast<std::size_t>(j)]);
}

/// Appends a block unless its norm is at most `drop`; columns come in ascending order.
template <class Real>
inline void append(BlockRow<Real>& row, int column, const Real* values, std::size_t count,
                   double drop) {
  const double norm = frobenius(values, count);
  if (!(norm > drop)) return;
  row.column.push_back(column);
  row.offset.push_back(row.values.size());
  row.norm.push_back(norm);
  row.values.insert(row.values.end(), values, values + count);
}

/// Gives back spare memory.
template <class Real>
inline void finish(BlockRow<Real>& row) {
  row.values.shrink_to_fit();
}

}  // namespace mlh::detail
