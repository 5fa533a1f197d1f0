// C = A B, tile row by tile row (Gustavson, ACM TOMS 4, 250 (1978), with tiles for numbers): a tile
// of C stays in the cache while the pairs of tiles that contribute to it pass by; within a pair the
// products whose norms |A_ik| |B_kj| pass the screening are summed over k in registers.

#include <algorithm>
#include <stdexcept>

#include "sparse/block_kernel.hpp"
#include "sparse/block_row.hpp"
#include "sparse/pattern_rows.hpp"
#include "sparse/tiles.hpp"

namespace mlh {

namespace {

using Index = std::ptrdiff_t;
using detail::Tile;
using detail::TileRow;

template <class Real>
struct TilePair {
  const Tile<Real>*a, *b;
};

/// What one thread needs for one row of tiles; kept from row to row.
template <class Real>
struct Scratch {
  std::vector<std::vector<TilePair<Real>>> pairs;  ///< per column of tiles
  std::vector<int> columns;                        ///< columns of tiles touched
  AlignedVector<Real> values;                      ///< kTileAtoms^2 blocks of C
  detail::TileTable<bool> wanted, used;            ///< [row][column]
};

/// One product: the right factor as tiles, the limits, which blocks are wanted.
template <class Real>
struct Product {
  const BlockLayout& layout;
  const std::vector<TileRow<Real>>& right;
  Truncation truncation;
  bool upper;              ///< only columns j >= i
  const Pattern* pattern;  ///< only its blocks, or nullptr
  std::size_t block_size;  ///< numbers in the largest block

  Real* block(Scratch<Real>& s, std::size_t i, std::size_t j) const {
    return s.values.data() + (i * kTileAtoms + j) * block_size;
  }
};

/// Pairs of tiles that contribute to row I of tiles, by column, in ascending order of k.
template <class Real>
void list_pairs(const Product<Real>& p, const TileRow<Real>& left, int I, Scratch<Real>& s) {
  s.columns.clear();
  for (const Tile<Real>& a : left) {
    for (const Tile<Real>& b : p.right[static_cast<std::size_t>(a.column)]) {
      if (p.upper && b.column < I) continue;
      if (!(a.largest * b.largest > p.truncation.product)) continue;
      auto& list = s.pairs[static_cast<std::size_t>(b.column)];
      if (list.empty()) s.columns.push_back(b.column);
      list.push_back({&a, &b});
    }
  }
  std::sort(s.columns.begin(), s.columns.end());
}

/// Marks the wanted blocks of a tile; `columns` of the Pattern per row, if there is one.
template <class Real>
void mark_wanted(const Product<Real>& p, const std::vector<std::vector<int>>& columns,
                 std::size_t row, std::size_t column, Scratch<Real>& s) {
  s.wanted = {};
  const std::size_t n = p.layout.n_blocks();
  for (std::size_t i = 0; i < std::min<std::size_t>(kTileAtoms, n - row); ++i) {
    for (std::size_t j = 0; j < std::min<std::size_t>(kTileAtoms, n - column); ++j) {
      if (p.upper && column + j < row + i) continue;
      s.wanted[i][j] =
          p.pattern == nullptr ||
          std::binary_search(columns[i].begin(), columns[i].end(), static_cast<int>(column + j));
    }
  }
}

/// Tile (I, J) of C += A_IK B_KJ.
template <class Real>
void add_pair(const Product<Real>& p, const TilePair<Real>& pair, std::size_t row,
              std::size_t column, Scratch<Real>& s) {
  const double limit = p.truncation.product;
  const Tile<Real>&a = *pair.a, &b = *pair.b;
  const auto first_inner = static_cast<std::size_t>(a.column) * kTileAtoms;
  for (std::size_t j = 0; j < kTileAtoms; ++j) {
    if (!(a.largest * b.line[j] > limit)) continue;
    for (std::size_t i = 0; i < kTileAtoms; ++i) {
      if (!s.wanted[i][j] || !(a.line[i] * b.line[j] > limit)) continue;
      detail::BlockTerm<Real> terms[kTileAtoms];
      std::size_t count = 0;
      for (std::size_t k = 0; k < kTileAtoms; ++k) {
        if (!(a.norm[i][k] * b.norm[j][k] > limit)) continue;
        terms[count++] = {a.block[i][k], b.block[j][k], p.layout.size[first_inner + k],
                          p.layout.stride[first_inner + k]};
      }
      if (count == 0) continue;
      detail::block_product(terms, count, p.layout.size[row + i], p.layout.stride[column + j],
                            s.used[i][j], p.block(s, i, j));
      s.used[i][j] = true;
    }
  }
}

/// Rows of blocks of row I of tiles.
template <class Real>
void product_rows(const Product<Real>& p, const TileRow<Real>& left, std::size_t I,
                  Scratch<Real>& s, BlockRow<Real>* rows) {
  list_pairs(p, left, static_cast<int>(I), s);
  const std::size_t row = I * kTileAtoms;
  std::vector<std::vector<int>> wanted(kTileAtoms);
  for (std::size_t i = 0; p.pattern != nullptr && i < kTileAtoms; ++i) {
    if (row + i == p.layout.n_blocks()) break;
    for (const auto& pair : detail::pairs_by_column(p.layout, *p.pattern, row + i)) {
      wanted[i].push_back(pair.first);
    }
  }
  for (const int J : s.columns) {
    const std::size_t column = static_cast<std::size_t>(J) * kTileAtoms;
    auto& pairs = s.pairs[static_cast<std::size_t>(J)];
    mark_wanted(p, wanted, row, column, s);
    s.used = {};
    for (const TilePair<Real>& pair : pairs) add_pair(p, pair, row, column, s);
    pairs.clear();
    for (std::size_t i = 0; i < kTileAtoms; ++i) {
      for (std::size_t j = 0; j < kTileAtoms; ++j) {
        if (!s.used[i][j]) continue;
        const int c = static_cast<int>(column + j);
        detail::append(rows[i], c, p.block(s, i, j), detail::block_elements(p.layout, row + i, c),
                       p.truncation.block);
      }
    }
  }
}

template <class Real>
std::vector<BlockRow<Real>> product_rows(const BlockSparse<Real>& A, const BlockSparse<Real>& B,
                                         const Truncation& truncation, bool upper,
                                         const Pattern* pattern) {
  if (pattern != nullptr) detail::require_atoms(A.layout(), *pattern);
  if (!(A.layout() == B.layout())) {
    throw std::invalid_argument("B: expected blocks of the same sizes as A has, got others");
  }
  const BlockLayout& layout = A.layout();
  const std::size_t n = detail::tile_rows(A);
  std::vector<TileRow<Real>> right(n);
#pragma omp parallel for schedule(dynamic, 4)
  for (Index K = 0; K < static_cast<Index>(n); ++K) {
    right[static_cast<std::size_t>(K)] = detail::tile_row(B, static_cast<std::size_t>(K), false);
  }
  std::size_t block_size = 0;
  for (std::size_t i = 0; i < layout.n_blocks(); ++i) {
    const auto stride = static_cast<std::size_t>(layout.stride[i]);
    block_size = std::max(block_size, stride * stride);
  }
  const Product<Real> product{layout, right, truncation, upper, pattern, block_size};
  std::vector<BlockRow<Real>> rows(n * kTileAtoms);
#pragma omp parallel
  {
    Scratch<Real> s;
    s.pairs.resize(n);
    s.values.resize(kTileAtoms * kTileAtoms * block_size);
#pragma omp for schedule(dynamic, 1)
    for (Index t = 0; t < static_cast<Index>(n); ++t) {
      const auto I = static_cast<std::size_t>(t);
      BlockRow<Real>* const out = rows.data() + I * kTileAtoms;
      product_rows(product, detail::tile_row(A, I, true), I, s, out);
      for (std::size_t i = 0; i < kTileAtoms; ++i) detail::finish(out[i]);
    }
  }
  rows.resize(A.n_rows());
  return rows;
}

/// (row, block in that row) of every stored block with column j and row < j (or any row).
struct Entry {
  int row, block;
};
template <class RowOf>
std::vector<std::vector<Entry>> by_column(std::size_t n, const RowOf& row, bool below_only) {
  std::vector<std::vector<Entry>> columns(n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::vector<int>& column = row(i).column;
    for (std::size_t b = 0; b < column.size(); ++b) {
      const auto j = static_cast<std::size_t>(column[b]);
      if (!below_only || i < j) {
        columns[j].push_back({static_cast<int>(i), static_cast<int>(b)});
      }
    }
  }
  return columns;
}

/// Appends the transpose of a block of `row`, the row e.row, to row j.
template <class Real>
void append_transposed(const BlockRow<Real>& row, const Entry& e, std::size_t j,
                       const BlockLayout& layout, std::vector<Real>& block, BlockRow<Real>& out) {
  const auto i = static_cast<std::size_t>(e.row);
  const auto n = static_cast<std::size_t>(layout.size[i]);
  const auto m = static_cast<std::size_t>(layout.size[j]);
  const auto from = static_cast<std::size_t>(layout.stride[j]);
  const auto to = static_cast<std::size_t>(layout.stride[i]);
  const Real* source = row.values.data() + row.offset[static_cast<std::size_t>(e.block)];
  block.assign(m * to, Real(0));
  for (std::size_t a = 0; a < n; ++a) {
    for (std::size_t b = 0; b < m; ++b) block[b * to + a] = source[a * from + b];
  }
  detail::append(out, e.row, block.data(), block.size(), 0.0);
}

}  // namespace

template <class Real>
BlockSparse<Real> multiply(const BlockSparse<Real>& A, const BlockSparse<Real>& B,
                           const Truncation& truncation, const Pattern* pattern) {
  return {A.shared_layout(), product_rows(A, B, truncation, false, pattern)};
}

template <class Real>
BlockSparse<Real> multiply_symmetric(const BlockSparse<Real>& A, const BlockSparse<Real>& B,
                                     const Truncation& truncation, const Pattern* pattern) {
  const BlockLayout& layout = A.layout();
  std::vector<BlockRow<Real>> upper = product_rows(A, B, truncation, true, pattern);
  const auto row_of = [&](std::size_t i) -> const BlockRow<Real>& { return upper[i]; };
  const auto below = by_column(upper.size(), row_of, true);
  std::vector<BlockRow<Real>> rows(upper.size());
#pragma omp parallel for schedule(dynamic, 8)
  for (Index r = 0; r < static_cast<Index>(upper.size()); ++r) {
    const auto j = static_cast<std::size_t>(r);
    std::vector<Real> block;
    for (const Entry& e : below[j]) {
      append_transposed(row_of(static_cast<std::size_t>(e.row)), e, j, layout, block, rows[j]);
    }
    const BlockRow<Real>& mine = upper[j];
    for (std::size_t b = 0; b < mine.column.size(); ++b) {
      detail::append(rows[j], mine.column[b], mine.values.data() + mine.offset[b],
                     detail::block_elements(layout, j, mine.column[b]), 0.0);
    }
    detail::finish(rows[j]);
  }
  return {A.shared_layout(), std::move(rows)};
}

template <class Real>
BlockSparse<Real> transpose(const BlockSparse<Real>& A) {
  const auto row_of = [&](std::size_t i) -> const BlockRow<Real>& { return A.row(i); };
  const auto columns = by_column(A.n_rows(), row_of, false);
  std::vector<BlockRow<Real>> rows(A.n_rows());
#pragma omp parallel for schedule(dynamic, 8)
  for (Index r = 0; r < static_cast<Index>(rows.size()); ++r) {
    const auto j = static_cast<std::size_t>(r);
    std::vector<Real> block;
    for (const Entry& e : columns[j]) {
      append_transposed(row_of(static_cast<std::size_t>(e.row)), e, j, A.layout(), block, rows[j]);
    }
    detail::finish(rows[j]);
  }
  return {A.shared_layout(), std::move(rows)};
}

#define MLH_INSTANTIATE(Real)                                                                 \
  template BlockSparse<Real> multiply(const BlockSparse<Real>&, const BlockSparse<Real>&,     \
                                      const Truncation&, const Pattern*);                     \
  template BlockSparse<Real> multiply_symmetric(                                              \
      const BlockSparse<Real>&, const BlockSparse<Real>&, const Truncation&, const Pattern*); \
  template BlockSparse<Real> transpose(const BlockSparse<Real>&);
MLH_INSTANTIATE(float)
MLH_INSTANTIATE(double)
#undef MLH_INSTANTIATE

}  // namespace mlh
