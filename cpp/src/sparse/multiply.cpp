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
  const BlockLayout &rows, &inner, &columns;
  const std::vector<TileRow<Real>>& right;
  Truncation truncation;
  bool upper;  ///< only columns j >= i
  Wanted<Real> wanted;
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

/// The wanted columns of a row, unless all are; in ascending order.
template <class Real>
std::vector<int> wanted_columns(const Product<Real>& p, std::size_t i) {
  if (p.wanted.matrix != nullptr) return p.wanted.matrix->row(i).column;
  std::vector<int> columns;
  if (p.wanted.pattern == nullptr) return columns;
  for (const auto& pair : detail::pairs_by_column(p.rows, *p.wanted.pattern, i)) {
    columns.push_back(pair.first);
  }
  return columns;
}

/// Marks the wanted blocks of a tile; `columns` as `wanted_columns` gives them for each row.
template <class Real>
void mark_wanted(const Product<Real>& p, const std::vector<std::vector<int>>& columns,
                 std::size_t row, std::size_t column, Scratch<Real>& s) {
  s.wanted = {};
  const std::size_t n = p.rows.n_blocks() - row, m = p.columns.n_blocks() - column;
  for (std::size_t i = 0; i < std::min<std::size_t>(kTileAtoms, n); ++i) {
    for (std::size_t j = 0; j < std::min<std::size_t>(kTileAtoms, m); ++j) {
      if (p.upper && column + j < row + i) continue;
      s.wanted[i][j] = p.wanted.all() || std::binary_search(columns[i].begin(), columns[i].end(),
                                                            static_cast<int>(column + j));
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
        terms[count++] = {a.block[i][k], b.block[j][k], p.inner.size[first_inner + k],
                          p.inner.stride[first_inner + k]};
      }
      if (count == 0) continue;
      detail::block_product(terms, count, p.rows.size[row + i], p.columns.stride[column + j],
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
  for (std::size_t i = 0; i < kTileAtoms && row + i < p.rows.n_blocks(); ++i) {
    wanted[i] = wanted_columns(p, row + i);
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
        const auto count = static_cast<std::size_t>(p.rows.size[row + i]) *
                           static_cast<std::size_t>(p.columns.stride[column + j]);
        detail::append(rows[i], static_cast<int>(column + j), p.block(s, i, j), count,
                       p.truncation.block);
      }
    }
  }
}

template <class Real>
void require_product(const BlockSparse<Real>& A, const BlockSparse<Real>& B, bool symmetric,
                     const Wanted<Real>& wanted) {
  if (!(A.columns() == B.layout())) {
    throw std::invalid_argument("B: expected blocks of the same sizes as A has, got others");
  }
  if (symmetric && !(A.layout() == B.columns())) {
    throw std::invalid_argument("symmetric: expected a square product, got another");
  }
  if (wanted.pattern != nullptr) {
    detail::require_atoms(A.layout(), *wanted.pattern);
    detail::require_atoms(B.columns(), *wanted.pattern);
  }
  if (wanted.matrix != nullptr &&
      (!(A.layout() == wanted.matrix->layout()) || !(B.columns() == wanted.matrix->columns()))) {
    throw std::invalid_argument("wanted: expected a matrix with the blocks of the product");
  }
}

template <class Real>
std::vector<BlockRow<Real>> product_rows(const BlockSparse<Real>& A, const BlockSparse<Real>& B,
                                         const Truncation& truncation, bool upper,
                                         const Wanted<Real>& wanted) {
  require_product(A, B, upper, wanted);
  const std::size_t n = detail::tile_rows(A), inner = detail::tile_rows(B);
  std::vector<TileRow<Real>> right(inner);
#pragma omp parallel for schedule(dynamic, 4) if (B.n_rows() > detail::kFewLightRows)
  for (Index K = 0; K < static_cast<Index>(inner); ++K) {
    right[static_cast<std::size_t>(K)] = detail::tile_row(B, static_cast<std::size_t>(K), false);
  }
  const auto largest = [](const std::vector<int>& sizes) {
    return static_cast<std::size_t>(*std::max_element(sizes.begin(), sizes.end()));
  };
  const std::size_t block_size = largest(A.layout().stride) * largest(B.columns().stride);
  const Product<Real> product{A.layout(), A.columns(), B.columns(), right,
                              truncation, upper,       wanted,      block_size};
  std::vector<BlockRow<Real>> rows(n * kTileAtoms);
#pragma omp parallel if (A.n_rows() > detail::kFewRows)
  {
    Scratch<Real> s;
    s.pairs.resize((B.columns().n_blocks() + kTileAtoms - 1) / kTileAtoms);
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
std::vector<std::vector<Entry>> by_column(std::size_t n, std::size_t n_columns, const RowOf& row,
                                          bool below_only) {
  std::vector<std::vector<Entry>> columns(n_columns);
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
                       const BlockLayout& rows, const BlockLayout& columns,
                       std::vector<Real>& block, BlockRow<Real>& out) {
  const auto i = static_cast<std::size_t>(e.row);
  const auto n = static_cast<std::size_t>(rows.size[i]);
  const auto m = static_cast<std::size_t>(columns.size[j]);
  const auto from = static_cast<std::size_t>(columns.stride[j]);
  const auto to = static_cast<std::size_t>(rows.stride[i]);
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
                           const Truncation& truncation,
                           std::type_identity_t<Wanted<Real>> wanted) {
  return {A.shared_layout(), B.shared_columns(), product_rows(A, B, truncation, false, wanted)};
}

template <class Real>
BlockSparse<Real> multiply_symmetric(const BlockSparse<Real>& A, const BlockSparse<Real>& B,
                                     const Truncation& truncation,
                                     std::type_identity_t<Wanted<Real>> wanted) {
  const BlockLayout& layout = A.layout();
  std::vector<BlockRow<Real>> upper = product_rows(A, B, truncation, true, wanted);
  const auto row_of = [&](std::size_t i) -> const BlockRow<Real>& { return upper[i]; };
  const auto below = by_column(upper.size(), upper.size(), row_of, true);
  std::vector<BlockRow<Real>> rows(upper.size());
#pragma omp parallel for schedule(dynamic, 8) if (upper.size() > detail::kFewLightRows)
  for (Index r = 0; r < static_cast<Index>(upper.size()); ++r) {
    const auto j = static_cast<std::size_t>(r);
    std::vector<Real> block;
    for (const Entry& e : below[j]) {
      append_transposed(row_of(static_cast<std::size_t>(e.row)), e, j, layout, layout, block,
                        rows[j]);
    }
    const BlockRow<Real>& mine = upper[j];
    for (std::size_t b = 0; b < mine.column.size(); ++b) {
      detail::append(rows[j], mine.column[b], mine.values.data() + mine.offset[b],
                     static_cast<std::size_t>(
                         layout.size[j] * layout.stride[static_cast<std::size_t>(mine.column[b])]),
                     0.0);
    }
    detail::finish(rows[j]);
  }
  return {A.shared_layout(), std::move(rows)};
}

template <class Real>
BlockSparse<Real> transpose(const BlockSparse<Real>& A) {
  const auto row_of = [&](std::size_t i) -> const BlockRow<Real>& { return A.row(i); };
  const std::size_t n_columns = A.columns().n_blocks();
  const auto columns = by_column(A.n_rows(), n_columns, row_of, false);
  std::vector<BlockRow<Real>> rows(n_columns);
#pragma omp parallel for schedule(dynamic, 8) if (rows.size() > detail::kFewLightRows)
  for (Index r = 0; r < static_cast<Index>(rows.size()); ++r) {
    const auto j = static_cast<std::size_t>(r);
    std::vector<Real> block;
    for (const Entry& e : columns[j]) {
      append_transposed(row_of(static_cast<std::size_t>(e.row)), e, j, A.layout(), A.columns(),
                        block, rows[j]);
    }
    detail::finish(rows[j]);
  }
  return {A.shared_columns(), A.shared_layout(), std::move(rows)};
}

#define MLH_INSTANTIATE(Real)                                                               \
  template BlockSparse<Real> multiply(const BlockSparse<Real>&, const BlockSparse<Real>&,   \
                                      const Truncation&, Wanted<Real>);                     \
  template BlockSparse<Real> multiply_symmetric(                                            \
      const BlockSparse<Real>&, const BlockSparse<Real>&, const Truncation&, Wanted<Real>); \
  template BlockSparse<Real> transpose(const BlockSparse<Real>&);
MLH_INSTANTIATE(float)
MLH_INSTANTIATE(double)
#undef MLH_INSTANTIATE

}  // namespace mlh
