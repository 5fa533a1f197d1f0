#pragma once
// Internal: products of the orbitals on octets of points. An octet holds only the orbitals of the atoms
// that reach it, orbital by orbital, eight points each; accumulators stay in registers.

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

/// Calls tile(std::integral_constant<int, width>, start) for [begin, end) cut into nearly equal pieces of
/// at most kMax: 13 orbitals become 5 + 4 + 4 and not 6 + 6 + 1.
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

/// Columns of a panel: accumulators, one octet of phi and one broadcast element fill the registers.
inline constexpr int kPanelColumns = kRegisters == 32 ? 13 : 6;

/// X[j] = sum over atoms and their orbitals a of phi_a P[a][j]; the panel is rows x kColumns. Of the last
/// atom only `last` orbitals are taken.
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

}  // namespace mlh::detail
