#pragma once
// Internal: products of the orbitals on octets of points. An octet holds only the orbitals of the
// atoms that reach it, orbital by orbital, eight points each; accumulators stay in registers.

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/simd.hpp"
#include "mlh/grid/grid.hpp"

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

/// acc[i * kColumns + j] += left_i right_j, summed over the octets, lane by lane.
template <int kRows, int kColumns>
[[gnu::always_inline]] inline void dot_tile(std::span<const OctetPair> octets, const double* left,
                                            const double* right, Vec (&acc)[kRows * kColumns]) {
  for (const OctetPair& octet : octets) {
    const double *l = left + octet.left, *r = right + octet.right;
    for (int v = 0; v < kOctet; v += kLanes) {
      Vec f[kColumns];
      for (int j = 0; j < kColumns; ++j) f[j] = load(r + j * kOctet + v);
      for (int i = 0; i < kRows; ++i) {
        const Vec x = load(l + i * kOctet + v);
        for (int j = 0; j < kColumns; ++j) acc[i * kColumns + j] += x * f[j];
      }
    }
  }
}

/// Doubles of a tile in a block: whole vectors.
constexpr int tile_size(int rows, int columns) {
  return (rows * columns + kLanes - 1) / kLanes * kLanes;
}

/// Adds the sums over the lanes to a tile; `first`: the tile holds nothing yet.
template <std::size_t n>
[[gnu::always_inline]] inline void add_tile(const Vec (&acc)[n], bool first, double* tile) {
  unroll<(n + kLanes - 1) / kLanes>([&](auto t) {
    constexpr std::size_t begin = t() * kLanes;
    Vec v[kLanes];
    unroll<kLanes>([&](auto k) {
      if constexpr (begin + k() < n) {
        v[k()] = acc[begin + k()];
      } else {
        v[k()] = Vec{};
      }
    });
    const Vec sum = sums(v);
    store(tile + begin, first ? sum : load(tile + begin) + sum);
  });
}

/// Columns of a tile of dot products, and rows so that accumulators and operands fill the
/// registers.
inline constexpr int kDotColumns = kRegisters == 32 ? 5 : 3;
constexpr int dot_rows(int columns) { return (kRegisters - 1 - columns) / columns; }

/// A block of a left times right orbitals is kept tile by tile, each row-major in whole vectors.
/// Calls tile(rows, columns, first row, first column, place in the block) with rows and columns
/// as constants; `triangle`: only tiles that touch the upper triangle. Returns the size.
template <class Tile>
inline std::ptrdiff_t for_tiles(int n_left, int n_right, bool triangle, Tile&& tile) {
  std::ptrdiff_t at = 0;
  for_even_pieces<kDotColumns>(0, n_right, [&](auto columns, int c) {
    for_even_pieces<dot_rows(columns())>(0, n_left, [&](auto rows, int r) {
      if (!triangle || r < c + columns()) tile(rows, columns, r, c, at);
      at += tile_size(rows(), columns());
    });
  });
  return at;
}

inline std::ptrdiff_t block_size(int n_left, int n_right) {
  return for_tiles(n_left, n_right, false, [](auto, auto, int, int, std::ptrdiff_t) {});
}

/// One tile of `add_block`. Never inlined: among the code of its caller the accumulators would not
/// stay in registers.
template <int kRows, int kColumns, bool both>
[[gnu::noinline]] void add_products(std::span<const OctetPair> octets, const double* left,
                                    const double* right, int row, int column, bool first,
                                    double* tile) {
  Vec acc[kRows * kColumns];
  unroll<kRows * kColumns>([&](auto k) { acc[k()] = Vec{}; });
  const std::ptrdiff_t i = row * kOctet, j = column * kOctet;
  dot_tile<kRows, kColumns>(octets, left + i, right + j, acc);
  if constexpr (both) dot_tile<kRows, kColumns>(octets, right + i, left + j, acc);
  add_tile(acc, first, tile);
}

/// block += sum over the octets of left_i right_j; with `both` also of right_i left_j, the places
/// being those of the atoms in either.
template <bool both>
inline void add_block(std::span<const OctetPair> octets, const double* left, const double* right,
                      int n_left, int n_right, bool triangle, bool first, double* block) {
  for_tiles(n_left, n_right, triangle,
            [&](auto rows, auto columns, int r, int c, std::ptrdiff_t at) {
              add_products<rows(), columns(), both>(octets, left, right, r, c, first, block + at);
            });
}

}  // namespace mlh::detail
