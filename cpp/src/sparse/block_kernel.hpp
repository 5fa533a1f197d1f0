#pragma once
// Internal: one block of a product, C (+)= sum_k A_k B_k over a list of pairs of blocks,
// accumulated in registers over the whole list. Columns of B and C are padded to whole registers.

#include <cstddef>

#include "common/simd.hpp"
#include "grid/octet_products.hpp"

namespace mlh::detail {

/// One product of two blocks: rows of A_k are `stride` apart and `inner` long.
template <class Real>
struct BlockTerm {
  const Real* a;
  const Real* b;
  int inner;
  int stride;
};

/// Tile of C: at most kBlockRows rows times kBlockVectors registers. 13 orbitals in 2 registers of
/// 8 doubles make 26 accumulators of the 32 registers, in one of 16 floats 13.
inline constexpr int kBlockRows = kLanes == 8 ? 13 : kLanes == 4 ? 6 : 5;
inline constexpr int kBlockVectors = 2;

/// kRows x kVectors registers of C at (row, column).
template <int kRows, int kVectors, class Real>
inline void block_tile(const BlockTerm<Real>* terms, std::size_t count, int row, int column, int ld,
                       bool add, Real* C) {
  using Vector = typename Register<Real>::Type;
  constexpr int lanes = Register<Real>::lanes;
  Vector acc[kRows][kVectors] = {};
  Real* const corner = C + static_cast<std::ptrdiff_t>(row) * ld + column;
  for (std::size_t t = 0; t < count; ++t) {
    const BlockTerm<Real>& term = terms[t];
    const Real* a = term.a + static_cast<std::ptrdiff_t>(row) * term.stride;
    const Real* b = term.b + column;
    for (int k = 0; k < term.inner; ++k, b += ld) {
      Vector f[kVectors];
      for (int v = 0; v < kVectors; ++v) f[v] = load(b + v * lanes);
      for (int i = 0; i < kRows; ++i) {
        const Real x = a[i * term.stride + k];
        for (int v = 0; v < kVectors; ++v) acc[i][v] += x * f[v];
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      Real* const c = corner + i * ld + v * lanes;
      store(c, add ? load(c) + acc[i][v] : acc[i][v]);
    }
  }
}

/// C (rows x ld, row-major) is the sum over the terms, added to C where `add`; ld is the stride of
/// every B and of C. The sum starts from zero: added to a large number one by one, small terms
/// would be lost in single precision, all of them of one sign on the diagonal of a square.
template <class Real>
inline void block_product(const BlockTerm<Real>* terms, std::size_t count, int rows, int ld,
                          bool add, Real* C) {
  constexpr int lanes = Register<Real>::lanes;
  for_even_pieces<kBlockVectors>(0, ld / lanes, [&](auto vectors, int first) {
    for_even_pieces<kBlockRows>(0, rows, [&](auto height, int row) {
      block_tile<height(), vectors()>(terms, count, row, first * lanes, ld, add, C);
    });
  });
}

}  // namespace mlh::detail
