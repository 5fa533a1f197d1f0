#pragma once
// Internal: the blocks of a Pattern as a block-sparse matrix sees them, all images of a pair in
// one.

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "mlh/sparse/block_sparse.hpp"

namespace mlh::detail {

inline void require_atoms(const BlockLayout& layout, const Pattern& pattern) {
  bool same = layout.n_blocks() == pattern.n_atoms();
  for (std::size_t r = 0; same && r < layout.n_blocks(); ++r) {
    same = layout.size[r] == pattern.n_orbitals[static_cast<std::size_t>(layout.atom[r])];
  }
  if (!same) throw std::invalid_argument("pattern: expected the atoms of the matrix, got others");
}

/// (column, first pair of the Pattern) of every block of row i, columns ascending.
inline std::vector<std::pair<int, std::int64_t>> pairs_by_column(const BlockLayout& layout,
                                                                 const Pattern& pattern,
                                                                 std::size_t i) {
  std::vector<std::pair<int, std::int64_t>> out;
  const auto atom = static_cast<std::size_t>(layout.atom[i]);
  int last = -1;
  for (std::int64_t p = pattern.row_start[atom]; p < pattern.row_start[atom + 1]; ++p) {
    const int j = pattern.atom_j[static_cast<std::size_t>(p)];
    if (j != last) out.emplace_back(layout.row[static_cast<std::size_t>(j)], p);
    last = j;
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// Calls visit(pair) for `first` and the other images of its two atoms, which follow it.
template <class Visit>
inline void for_images(const Pattern& pattern, std::int64_t first, const Visit& visit) {
  auto p = static_cast<std::size_t>(first);
  const int i = pattern.atom_i[p], j = pattern.atom_j[p];
  for (; p < pattern.n_pairs() && pattern.atom_i[p] == i && pattern.atom_j[p] == j; ++p) visit(p);
}

}  // namespace mlh::detail
