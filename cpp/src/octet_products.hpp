#pragma once
// Internal: products of the orbitals on octets of points. An octet holds only the orbitals of the
// atoms that reach it, orbital by orbital, eight points each; accumulators stay in registers.

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "mlh/grid.hpp"
#include "simd.hpp"

namespace mlh::detail {

inline constexpr int kOctetVectors = kOctet / kLanes;
using OctetVec = std::array<Vec, kOctetVectors>;

inline OctetVec load_octet(const double* p) {
  OctetVec v;
  for (int i = 0; i < kOctetVectors; ++i) v[i] = load(p + i * kLanes);
  return v;
}

/// An atom on an octet: its place in the group, its orbitals, the first of them on the octet.
struct OctetAtom {
  int place, orbitals, first;
};

/// Atoms of a batch whose orbitals reach octet `o`; returns the number of their orbitals.
inline int octet_atoms(const Grid& grid, const Batch& batch, int o, std::vector<OctetAtom>& out,
                       std::vector<const ActiveAtom*>& which) {
  out.clear();
  which.clear();
  int n = 0;
  for (const ActiveAtom& a : grid.active(batch)) {
    if (!(a.octets >> o & 1)) continue;
    const int orbitals = grid.pattern().n_orbitals[static_cast<std::size_t>(a.atom)];
    out.push_back({a.place, orbitals, n});
    which.push_back(&a);
    n += orbitals;
  }
  return n;
}

/// Calls tile(std::integral_constant<int, width>, start) for [begin, end) cut into nearly equal
/// pieces of at most kMax: 13 orbitals become 5 + 4 + 4 and not 6 + 6 + 1.
template <int kMax, class Tile>
inline void for_even_pieces(int begin, int end, Tile&& tile) {
  int pieces = (end - begin + kMax - 1) / kMax;
  for (int start = begin; pieces > 0; --pieces) {
    const int width = (end - start + pieces - 1) / pieces;
    [&]<int... k>(std::integer_sequence<int, k...>) {
      ((width == k + 1 ? tile(std::integral_constant<int, k + 1>{}, start) : void()), ...);
    }
    (std::make_integer_sequence<int, kMax>{});
    start += width;
  }
}

/// Columns of a panel: accumulators, one octet of phi and one broadcast element fill the registers.
inline constexpr int kPanelColumns = kLanes == 8 ? 13 : kLanes == 4 ? 6 : 3;

/// X[j] = sum over atoms and their orbitals a of phi_a P[a][j]; the panel is rows x kColumns. Of
/// the last atom only `last` orbitals are taken.
template <int kColumns>
inline void panel_product(const OctetAtom* atoms, std::size_t n_atoms, int last, const double* phi,
                          const double* panel, const int* first, OctetVec (&X)[kColumns]) {
  Vec acc[kColumns][kOctetVectors] = {};
  for (std::size_t k = 0; k < n_atoms; ++k) {
    const double* f = phi + static_cast<std::ptrdiff_t>(atoms[k].first) * kOctet;
    const double* row = panel + static_cast<std::ptrdiff_t>(first[atoms[k].place]) * kColumns;
    const int rows = k + 1 == n_atoms ? last : atoms[k].orbitals;
    for (int a = 0; a < rows; ++a, f += kOctet, row += kColumns) {
      Vec v[kOctetVectors];
      for (int i = 0; i < kOctetVectors; ++i) v[i] = load(f + i * kLanes);
      for (int j = 0; j < kColumns; ++j) {
        for (int i = 0; i < kOctetVectors; ++i) acc[j][i] += row[j] * v[i];
      }
    }
  }
  for (int j = 0; j < kColumns; ++j) {
    for (int i = 0; i < kOctetVectors; ++i) X[j][i] = acc[j][i];
  }
}

/// Places of the same octet in the two factors of a product, in doubles.
struct OctetPair {
  std::ptrdiff_t left, right;
};

/// M[i * ld + j] += sum over octets and their points of left_i right_j, kRows x kColumns orbitals.
template <int kRows, int kColumns>
[[gnu::always_inline]] inline void dot_tile(const OctetPair* octets, std::size_t n,
                                            const double* left, const double* right,
                                            Vec (&acc)[kRows][kColumns]) {
  for (std::size_t k = 0; k < n; ++k) {
    const double *l = left + octets[k].left, *r = right + octets[k].right;
    for (int v = 0; v < kOctet; v += kLanes) {
      Vec f[kColumns];
      for (int j = 0; j < kColumns; ++j) f[j] = load(r + j * kOctet + v);
      for (int i = 0; i < kRows; ++i) {
        const Vec x = load(l + i * kOctet + v);
        for (int j = 0; j < kColumns; ++j) acc[i][j] += x * f[j];
      }
    }
  }
}

template <int kRows, int kColumns>
[[gnu::always_inline]] inline void add_tile(const Vec (&acc)[kRows][kColumns], bool first,
                                            double* M, std::ptrdiff_t ld) {
  constexpr int n = kRows * kColumns;
  alignas(64) double sum[(n + kLanes - 1) / kLanes * kLanes];
  for (int begin = 0; begin < n; begin += kLanes) {
    Vec v[kLanes] = {};
    for (int k = 0; k < kLanes && begin + k < n; ++k)
      v[k] = acc[(begin + k) / kColumns][(begin + k) % kColumns];
    store(sum + begin, sums(v));
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kColumns; ++j)
      M[i * ld + j] = (first ? 0.0 : M[i * ld + j]) + sum[i * kColumns + j];
  }
}

/// Columns of a tile of dot products, and rows so that accumulators and operands fill the
/// registers.
inline constexpr int kDotColumns = kRegisters == 32 ? 5 : 3;
constexpr int dot_rows(int columns) { return (kRegisters - 1 - columns) / columns; }

/// M (n_left x n_right, row-major) += sum over the octets of left_i right_j; with `both` also of
/// left2_i right2_j with the same places. `triangle`: only tiles that touch the upper triangle.
/// `first`: M holds nothing yet.
template <bool both>
inline void add_block(const std::vector<OctetPair>& octets, const double* left, const double* right,
                      const double* left2, const double* right2, int n_left, int n_right,
                      bool triangle, bool first, double* M) {
  for_even_pieces<kDotColumns>(0, n_right, [&](auto columns, int c) {
    for_even_pieces<dot_rows(columns())>(0, n_left, [&](auto rows, int r) {
      if (triangle && r >= c + columns()) return;
      Vec acc[rows()][columns()] = {};
      dot_tile<rows(), columns()>(octets.data(), octets.size(), left + r * kOctet,
                                  right + c * kOctet, acc);
      if constexpr (both) {
        dot_tile<rows(), columns()>(octets.data(), octets.size(), left2 + r * kOctet,
                                    right2 + c * kOctet, acc);
      }
      add_tile<rows(), columns()>(acc, first, M + r * n_right + c, n_right);
    });
  });
}

}  // namespace mlh::detail
