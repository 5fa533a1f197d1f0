#pragma once
// Internal: the two dense products of a batch, written so that the operands are read where the orbital
// kernels left them (no packing) and every accumulator stays in a register. `Vec8` is eight doubles in
// the compiler's vector extension: one AVX-512 register, or two of AVX2 in a portable build.

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "mlh/orbital_values.hpp"

namespace mlh::detail {

using Vec8 = double __attribute__((vector_size(64)));
/// Eight doubles in memory: no more aligned than the allocator of a portable build makes them, and read
/// through a reference, because without AVX-512 a Vec8 passed by value has no stable ABI.
using Vec8InMemory = double __attribute__((vector_size(64), aligned(8), may_alias));

inline const Vec8InMemory& vec8(const double* p) { return *reinterpret_cast<const Vec8InMemory*>(p); }
inline Vec8InMemory& vec8(double* p) { return *reinterpret_cast<Vec8InMemory*>(p); }

/// 32 points x kColumns columns of X = phi P over rows [0, k) of P.
template <int kColumns>
inline void multiply_tile(const double* phi, int k, const double* P, std::ptrdiff_t ld, double* X) {
  Vec8 acc[kColumns][4] = {};
  for (int a = 0; a < k; ++a) {
    const double* column = phi + a * kBatch;
    const Vec8 f[4] = {vec8(column), vec8(column + 8), vec8(column + 16), vec8(column + 24)};
    const double* row = P + a * ld;
    for (int j = 0; j < kColumns; ++j) {
      for (int i = 0; i < 4; ++i) acc[j][i] += row[j] * f[i];
    }
  }
  for (int j = 0; j < kColumns; ++j) {
    for (int i = 0; i < 4; ++i) vec8(X + j * kBatch + 8 * i) = acc[j][i];
  }
}

/// Calls tile(std::integral_constant<int, width>, start) for [begin, end) cut into nearly equal pieces of
/// at most kMax: 13 orbitals become 7 + 6 and not 8 + 5 or 6 + 6 + 1.
template <int kMax, class Tile>
inline void for_even_pieces(int begin, int end, Tile&& tile) {
  int pieces = (end - begin + kMax - 1) / kMax;
  for (int start = begin; pieces > 0; --pieces) {
    const int width = (end - start + pieces - 1) / pieces;
    [&]<int... k>(std::integer_sequence<int, k...>) {
      ((width == k + 1 ? tile(std::integral_constant<int, k + 1>{}, start) : void()), ...);
    }(std::make_integer_sequence<int, kMax>{});
    start += width;
  }
}

/// X[:, c] = sum_{a < k} phi[:, a] P[a][c] for columns [begin, end); phi and X column-major with kBatch
/// aligned rows, P row-major.
inline void multiply(const double* phi, int k, const double* P, std::ptrdiff_t ld, int begin, int end,
                     double* X) {
  for (int half = 0; half < kBatch; half += 32) {
    for_even_pieces<6>(begin, end, [&](auto width, int c) {
      multiply_tile<width()>(phi + half, k, P + c, ld, X + c * kBatch + half);
    });
  }
}

/// out[p][a] = phi[a][p]: points by orbitals, `ld` >= n and a multiple of 8, padding zeroed.
inline void transpose(const double* phi, int n, std::ptrdiff_t ld, double* out) {
  for (int p0 = 0; p0 < kBatch; p0 += 8) {
    for (int a = 0; a < n; ++a) {
      for (int p = p0; p < p0 + 8; ++p) out[p * ld + a] = phi[a * kBatch + p];
    }
    for (int p = p0; p < p0 + 8; ++p) std::fill(out + p * ld + n, out + (p + 1) * ld, 0.0);
  }
}

/// kRows x 8*kVectors tile of M (+)= left^T right over the points of the batch.
template <int kRows, int kVectors>
inline void inner_tile(const double* left, const double* right, std::ptrdiff_t ld, bool add, double* M,
                       std::ptrdiff_t ldm) {
  Vec8 acc[kRows][kVectors] = {};
  for (int p = 0; p < kBatch; ++p) {
    Vec8 f[kVectors];
    for (int v = 0; v < kVectors; ++v) f[v] = vec8(right + p * ld + 8 * v);
    for (int i = 0; i < kRows; ++i) {
      const double x = left[i * kBatch + p];
      for (int v = 0; v < kVectors; ++v) acc[i][v] += x * f[v];
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      Vec8InMemory& target = vec8(M + i * ldm + 8 * v);
      target = add ? target + acc[i][v] : acc[i][v];
    }
  }
}

template <int kRows>
inline void inner_rows(const double* left, const double* right, std::ptrdiff_t ld, int begin, int end,
                       bool add, double* M) {
  int b = begin;
  // The padded width is a multiple of 8, so a last tile of 17 to 23 columns is a full one.
  for (; b + 16 < end; b += 24) inner_tile<kRows, 3>(left, right + b, ld, add, M + b, ld);
  if (end - b > 8) {
    inner_tile<kRows, 2>(left, right + b, ld, add, M + b, ld);
  } else if (end > b) {
    inner_tile<kRows, 1>(left, right + b, ld, add, M + b, ld);
  }
}

/// Rows [row, row + count) of M (+)= left^T right, columns from `column` (rounded down to 8) to n.
/// left: column-major orbitals; right: transposed orbitals; M: row-major; all with leading dimension ld.
inline void inner_product(const double* left, const double* right, std::ptrdiff_t ld, int row, int count,
                          int column, int n, bool add, double* M) {
  const int begin = column / 8 * 8;
  for_even_pieces<8>(row, row + count, [&](auto rows, int a) {
    inner_rows<rows()>(left + a * kBatch, right, ld, begin, n, add, M + a * ld);
  });
}

}  // namespace mlh::detail
