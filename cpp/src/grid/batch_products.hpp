#pragma once
// Internal: the two dense products of a batch, written so that the operands are read where the
// orbital kernels left them (no packing) and every accumulator stays in a register.

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "common/simd.hpp"
#include "grid/octet_products.hpp"
#include "mlh/grid/orbital_values.hpp"

namespace mlh::detail {

/// Tile of X = phi P: kPointVectors vectors of points times at most kTileColumns columns.
inline constexpr int kPointVectors = kRegisters == 32 ? 4 : 2;
inline constexpr int kTileColumns = 6;
/// Tile of M = left^T right: at most kTileRows rows times kTileVectors vectors of columns.
inline constexpr int kTileRows = kRegisters == 32 ? 8 : 6;
inline constexpr int kTileVectors = kRegisters == 32 ? 3 : 2;

/// kPointVectors vectors of points x kColumns columns of X = phi P over rows [0, k) of P.
template <int kColumns>
inline void multiply_tile(const double* phi, int k, const double* P, std::ptrdiff_t ld, double* X) {
  Vec acc[kColumns][kPointVectors] = {};
  for (int a = 0; a < k; ++a) {
    Vec f[kPointVectors];
    for (int i = 0; i < kPointVectors; ++i) f[i] = load(phi + a * kBatch + kLanes * i);
    const double* row = P + a * ld;
    for (int j = 0; j < kColumns; ++j) {
      for (int i = 0; i < kPointVectors; ++i) acc[j][i] += row[j] * f[i];
    }
  }
  for (int j = 0; j < kColumns; ++j) {
    for (int i = 0; i < kPointVectors; ++i) store(X + j * kBatch + kLanes * i, acc[j][i]);
  }
}

/// X[:, c] = sum_{a < k} phi[:, a] P[a][c] for columns [begin, end); phi and X column-major with
/// kBatch rows, P row-major.
inline void multiply(const double* phi, int k, const double* P, std::ptrdiff_t ld, int begin,
                     int end, double* X) {
  for_even_pieces<kTileColumns>(begin, end, [&](auto width, int c) {
    for (int p = 0; p < kBatch; p += kPointVectors * kLanes) {
      multiply_tile<width()>(phi + p, k, P + c, ld, X + c * kBatch + p);
    }
  });
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

/// kRows x kVectors vectors of M (+)= left^T right over the points of the batch.
template <int kRows, int kVectors>
inline void inner_tile(const double* left, const double* right, std::ptrdiff_t ld, bool add,
                       double* M) {
  Vec acc[kRows][kVectors] = {};
  for (int p = 0; p < kBatch; ++p) {
    Vec f[kVectors];
    for (int v = 0; v < kVectors; ++v) f[v] = load(right + p * ld + kLanes * v);
    for (int i = 0; i < kRows; ++i) {
      const double x = left[i * kBatch + p];
      for (int v = 0; v < kVectors; ++v) acc[i][v] += x * f[v];
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      double* target = M + i * ld + kLanes * v;
      store(target, add ? load(target) + acc[i][v] : acc[i][v]);
    }
  }
}

/// Columns [begin, end) in tiles; `ld` is a multiple of 8, so that the last vector ends within a
/// row.
template <int kRows>
inline void inner_rows(const double* left, const double* right, std::ptrdiff_t ld, int begin,
                       int end, bool add, double* M) {
  const int vectors = (end - begin + kLanes - 1) / kLanes;
  for_even_pieces<kTileVectors>(0, vectors, [&](auto count, int first) {
    const int b = begin + first * kLanes;
    inner_tile<kRows, count()>(left, right + b, ld, add, M + b);
  });
}

/// Rows [row, row + count) of M (+)= left^T right, columns from `column` (rounded down to 8) to n.
/// left: column-major orbitals; right: transposed orbitals; M: row-major; all with leading
/// dimension ld.
inline void inner_product(const double* left, const double* right, std::ptrdiff_t ld, int row,
                          int count, int column, int n, bool add, double* M) {
  const int begin = column / 8 * 8;
  for_even_pieces<kTileRows>(row, row + count, [&](auto rows, int a) {
    inner_rows<rows()>(left + a * kBatch, right, ld, begin, n, add, M + a * ld);
  });
}

}  // namespace mlh::detail
