#pragma once
// Internal: products of the orbitals on packs of points, an octet in double precision and two in
// single: the same registers. A pack holds only the orbitals of the atoms that reach it, orbital by
// orbital; accumulators stay in registers.

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

/// Octets and points of a pack, and the registers that hold one number per point.
template <class Real>
inline constexpr int kPackOctets = static_cast<int>(sizeof(double) / sizeof(Real));
template <class Real>
inline constexpr int kPack = kOctet* kPackOctets<Real>;
inline constexpr int kPackVectors = kOctet / kLanes;
template <class Real>
using PackVec = std::array<typename Register<Real>::Type, kPackVectors>;

template <class Real>
inline PackVec<Real> load_pack(const Real* p) {
  PackVec<Real> v;
  for (int i = 0; i < kPackVectors; ++i) v[i] = load(p + i * Register<Real>::lanes);
  return v;
}
template <class Real>
inline void store_pack(Real* p, const PackVec<Real>& v) {
  for (int i = 0; i < kPackVectors; ++i) store(p + i * Register<Real>::lanes, v[i]);
}

/// An atom on a pack: its place in the group, its orbitals, the first of them on the pack.
struct PackAtom {
  int place, orbitals, first;
};

/// Atoms of a batch whose orbitals reach pack `k`; returns the number of their orbitals.
template <class Real>
inline int pack_atoms(const Grid& grid, const Batch& batch, int k, std::vector<PackAtom>& out,
                      std::vector<const ActiveAtom*>& which) {
  constexpr int octets = (1 << kPackOctets<Real>)-1;
  out.clear();
  which.clear();
  int n = 0;
  for (const ActiveAtom& a : grid.active(batch)) {
    if ((a.octets >> (k * kPackOctets<Real>)&octets) == 0) continue;
    const int orbitals = grid.pattern().n_orbitals[static_cast<std::size_t>(a.atom)];
    out.push_back({a.place, orbitals, n});
    which.push_back(&a);
    n += orbitals;
  }
  return n;
}

/// Calls evaluate(octet of the batch, first point of it in the pack) for the octets of pack `k`.
template <class Real, class Evaluate>
inline void for_octets(int k, Evaluate&& evaluate) {
  for (int i = 0; i < kPackOctets<Real>; ++i) evaluate(k * kPackOctets<Real> + i, i * kOctet);
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
template <int kColumns, class Real>
inline void panel_product(const PackAtom* atoms, std::size_t n_atoms, int last, const Real* phi,
                          const Real* panel, const int* first, PackVec<Real> (&X)[kColumns]) {
  using Vector = typename Register<Real>::Type;
  Vector acc[kColumns][kPackVectors] = {};
  for (std::size_t k = 0; k < n_atoms; ++k) {
    const Real* f = phi + static_cast<std::ptrdiff_t>(atoms[k].first) * kPack<Real>;
    const Real* row = panel + static_cast<std::ptrdiff_t>(first[atoms[k].place]) * kColumns;
    const int rows = k + 1 == n_atoms ? last : atoms[k].orbitals;
    for (int a = 0; a < rows; ++a, f += kPack<Real>, row += kColumns) {
      Vector v[kPackVectors];
      for (int i = 0; i < kPackVectors; ++i) v[i] = load(f + i * Register<Real>::lanes);
      for (int j = 0; j < kColumns; ++j) {
        for (int i = 0; i < kPackVectors; ++i) acc[j][i] += row[j] * v[i];
      }
    }
  }
  for (int j = 0; j < kColumns; ++j) {
    for (int i = 0; i < kPackVectors; ++i) X[j][i] = acc[j][i];
  }
}

/// Places of the same pack in the two factors of a product, in numbers.
struct PackPair {
  std::ptrdiff_t left, right;
};

/// acc[i * kColumns + j] += left_i right_j, summed over the packs, lane by lane.
template <int kRows, int kColumns, class Real>
[[gnu::always_inline]] inline void dot_tile(
    std::span<const PackPair> packs, const Real* left, const Real* right,
    typename Register<Real>::Type (&acc)[kRows * kColumns]) {
  using Vector = typename Register<Real>::Type;
  for (const PackPair& pack : packs) {
    const Real *l = left + pack.left, *r = right + pack.right;
    for (int v = 0; v < kPack<Real>; v += Register<Real>::lanes) {
      Vector f[kColumns];
      for (int j = 0; j < kColumns; ++j) f[j] = load(r + j * kPack<Real> + v);
      for (int i = 0; i < kRows; ++i) {
        const Vector x = load(l + i * kPack<Real> + v);
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
template <class Vector, std::size_t n>
[[gnu::always_inline]] inline void add_tile(const Vector (&acc)[n], bool first, double* tile) {
  unroll<(n + kLanes - 1) / kLanes>([&](auto t) {
    constexpr std::size_t begin = t() * kLanes;
    Vec v[kLanes];
    unroll<kLanes>([&](auto k) {
      if constexpr (begin + k() < n) {
        v[k()] = folded(acc[begin + k()]);
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
template <int kRows, int kColumns, bool both, class Real>
[[gnu::noinline]] void add_products(std::span<const PackPair> packs, const Real* left,
                                    const Real* right, int row, int column, bool first,
                                    double* tile) {
  typename Register<Real>::Type acc[kRows * kColumns];
  unroll<kRows * kColumns>([&](auto k) { acc[k()] = typename Register<Real>::Type{}; });
  const std::ptrdiff_t i = row * kPack<Real>, j = column * kPack<Real>;
  dot_tile<kRows, kColumns>(packs, left + i, right + j, acc);
  if constexpr (both) dot_tile<kRows, kColumns>(packs, right + i, left + j, acc);
  add_tile(acc, first, tile);
}

/// block += sum over the packs of left_i right_j; with `both` also of right_i left_j, the places
/// being those of the atoms in either.
template <bool both, class Real>
inline void add_block(std::span<const PackPair> packs, const Real* left, const Real* right,
                      int n_left, int n_right, bool triangle, bool first, double* block) {
  for_tiles(n_left, n_right, triangle,
            [&](auto rows, auto columns, int r, int c, std::ptrdiff_t at) {
              add_products<rows(), columns(), both>(packs, left, right, r, c, first, block + at);
            });
}

}  // namespace mlh::detail
