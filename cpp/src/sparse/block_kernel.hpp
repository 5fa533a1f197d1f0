#pragma once
// Internal: one block of a product, C (+)= sum_k A_k B_k over a list of pairs of blocks,
// accumulated in registers over the whole list. Columns of B and C are padded to whole registers.

#include <cstddef>

#include "../octet_products.hpp"
#include "../simd.hpp"

namespace mlh::detail {

/// One product of two blocks: rows of A_k are `stride` apart and `inner` long.
struct BlockTerm {
  const double* a;
  const double* b;
  int inner;
  int stride;
};

/// Tile of C: at most kBlockRows rows times kBlockVectors registers. 13 orbitals in 2 registers of
/// 8 doubles make 26 accumulators of the 32 registers.
inline constexpr int kBlockRows = kLanes == 8 ? 13 : kLanes == 4 ? 6 : 5;
inline constexpr int kBlockVectors = 2;

/// kRows x kVectors registers of C at (row, column).
template <int kRows, int kVectors>
inline void block_tile(const BlockTerm* terms, std::size_t count, int row, int column, int ld,
                       bool add, double* C) {
  Vec acc[kRows][kVectors] = {};
  double* const corner = C + static_cast<std::ptrdiff_t>(row) * ld + column;
  if (add) {
    for (int i = 0; i < kRows; ++i) {
      for (int v = 0; v < kVectors; ++v) acc[i][v] = load(corner + i * ld + v * kLanes);
    }
  }
  for (std::size_t t = 0; t < count; ++t) {
    const BlockTerm& term = terms[t];
    const double* a = term.a + static_cast<std::ptrdiff_t>(row) * term.stride;
    const double* b = term.b + column;
    for (int k = 0; k < term.inner; ++k, b += ld) {
      Vec f[kVectors];
      for (int v = 0; v < kVectors; ++v) f[v] = load(b + v * kLanes);
      for (int i = 0; i < kRows; ++i) {
        const double x = a[i * term.stride + k];
        for (int v = 0; v < kVectors; ++v) acc[i][v] += x * f[v];
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      store(corner + i * ld + v * kLanes, acc[i][v]);
    }
  }
}

/// C (rows x ld, row-major) is the sum over the terms, added to C where `add`; ld is the stride of
/// every B and of C.
inline void block_product(const BlockTerm* terms, std::size_t count, int rows, int ld, bool add,
                          double* C) {
  for_even_pieces<kBlockVectors>(0, ld / kLanes, [&](auto vectors, int first) {
    for_even_pieces<kBlockRows>(0, rows, [&](auto height, int row) {
      block_tile<height(), vectors()>(terms, count, row, first * kLanes, ld, add, C);
    });
  });
}

}  // namespace mlh::detail
