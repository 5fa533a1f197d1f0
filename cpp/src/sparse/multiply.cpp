// C = A B, block row by block row (Gustavson, ACM TOMS 4, 250 (1978)): first the list of products
// whose norms |A_ik| |B_kj| pass the screening, sorted by j, then every block of C in registers.
// The norms of a row come in descending order, so that the work is that of the products kept.

#include <algorithm>
#include <stdexcept>

#include "block_kernel.hpp"
#include "block_row.hpp"

namespace mlh {

namespace {

using Index = std::ptrdiff_t;

/// What one thread needs for one row of blocks; kept from row to row.
struct Scratch {
  std::vector<std::size_t> first;        ///< per column: its place in `terms`, first counts
  std::vector<int> columns;              ///< columns touched
  std::vector<detail::BlockTerm> terms;  ///< sorted by column, then by k
  std::vector<double> block;
};

/// Calls visit(block of A's row, k, block of row k of B, j) for every product kept with j >=
/// lowest.
template <class Visit>
void for_products(const BlockRow& a, const BlockSparse& B, double threshold, int lowest,
                  const Visit& visit) {
  for (std::size_t p = 0; p < a.column.size(); ++p) {
    const auto k = static_cast<std::size_t>(a.column[p]);
    const BlockRow& b = B.row(k);
    for (const int q : b.by_norm) {
      const auto at = static_cast<std::size_t>(q);
      if (!(a.norm[p] * b.norm[at] > threshold)) break;
      if (b.column[at] >= lowest) visit(p, k, b, at);
    }
  }
}

/// The products of row i by column; Scratch::first becomes the end of each column's terms.
void list_terms(const BlockRow& a, const BlockSparse& B, double threshold, int lowest, Scratch& s) {
  const BlockLayout& layout = B.layout();
  s.columns.clear();
  for_products(a, B, threshold, lowest,
               [&](std::size_t, std::size_t, const BlockRow& b, std::size_t at) {
                 const int j = b.column[at];
                 if (s.first[static_cast<std::size_t>(j)]++ == 0) s.columns.push_back(j);
               });
  std::sort(s.columns.begin(), s.columns.end());
  std::size_t total = 0;
  for (const int j : s.columns) {
    const std::size_t count = s.first[static_cast<std::size_t>(j)];
    s.first[static_cast<std::size_t>(j)] = total;
    total += count;
  }
  s.terms.resize(total);
  for_products(a, B, threshold, lowest,
               [&](std::size_t p, std::size_t k, const BlockRow& b, std::size_t at) {
                 const auto j = static_cast<std::size_t>(b.column[at]);
                 s.terms[s.first[j]++] = {a.values.data() + a.offset[p],
                                          b.values.data() + b.offset[at], layout.size[k],
                                          layout.stride[k]};
               });
}

/// Row i of C, columns from `lowest` on.
BlockRow product_row(const BlockSparse& A, const BlockSparse& B, std::size_t i,
                     const Truncation& truncation, int lowest, Scratch& s) {
  const BlockLayout& layout = A.layout();
  BlockRow row;
  list_terms(A.row(i), B, truncation.product, lowest, s);
  std::size_t begin = 0;
  for (const int j : s.columns) {
    const auto column = static_cast<std::size_t>(j);
    const std::size_t end = s.first[column];
    s.block.resize(detail::block_elements(layout, i, j));
    detail::block_product(s.terms.data() + begin, end - begin, layout.size[i],
                          layout.stride[column], s.block.data());
    detail::append(row, j, s.block.data(), s.block.size(), truncation.block);
    s.first[column] = 0;
    begin = end;
  }
  detail::finish(row);
  return row;
}

std::vector<BlockRow> product_rows(const BlockSparse& A, const BlockSparse& B,
                                   const Truncation& truncation, bool upper) {
  if (A.layout().size != B.layout().size) {
    throw std::invalid_argument("B: expected blocks of the same sizes as A has, got others");
  }
  std::vector<BlockRow> rows(A.n_rows());
#pragma omp parallel
  {
    Scratch scratch;
    scratch.first.assign(A.n_rows(), 0);
#pragma omp for schedule(dynamic, 4)
    for (Index i = 0; i < static_cast<Index>(A.n_rows()); ++i) {
      rows[static_cast<std::size_t>(i)] = product_row(A, B, static_cast<std::size_t>(i), truncation,
                                                      upper ? static_cast<int>(i) : 0, scratch);
    }
  }
  return rows;
}

/// (row, block in that row) of every stored block with column j and row < j (or any row).
struct Entry {
  int row, block;
};
std::vector<std::vector<Entry>> by_column(const std::vector<BlockRow>& rows, bool below_only) {
  std::vector<std::vector<Entry>> columns(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t b = 0; b < rows[i].column.size(); ++b) {
      const auto j = static_cast<std::size_t>(rows[i].column[b]);
      if (!below_only || i < j) {
        columns[j].push_back({static_cast<int>(i), static_cast<int>(b)});
      }
    }
  }
  return columns;
}

/// Appends the transpose of a block of row e.row to row j.
void append_transposed(const std::vector<BlockRow>& rows, const Entry& e, std::size_t j,
                       const BlockLayout& layout, std::vector<double>& block, BlockRow& out) {
  const auto i = static_cast<std::size_t>(e.row);
  const auto n = static_cast<std::size_t>(layout.size[i]);
  const auto m = static_cast<std::size_t>(layout.size[j]);
  const auto from = static_cast<std::size_t>(layout.stride[j]);
  const auto to = static_cast<std::size_t>(layout.stride[i]);
  const double* source = rows[i].values.data() + rows[i].offset[static_cast<std::size_t>(e.block)];
  block.assign(m * to, 0.0);
  for (std::size_t a = 0; a < n; ++a) {
    for (std::size_t b = 0; b < m; ++b) block[b * to + a] = source[a * from + b];
  }
  detail::append(out, e.row, block.data(), block.size(), 0.0);
}

}  // namespace

BlockSparse multiply(const BlockSparse& A, const BlockSparse& B, const Truncation& truncation) {
  return {A.shared_layout(), product_rows(A, B, truncation, false)};
}

BlockSparse multiply_symmetric(const BlockSparse& A, const BlockSparse& B,
                               const Truncation& truncation) {
  const BlockLayout& layout = A.layout();
  std::vector<BlockRow> upper = product_rows(A, B, truncation, true);
  const auto below = by_column(upper, true);
  std::vector<BlockRow> rows(upper.size());
#pragma omp parallel for schedule(dynamic, 8)
  for (Index r = 0; r < static_cast<Index>(upper.size()); ++r) {
    const auto j = static_cast<std::size_t>(r);
    std::vector<double> block;
    for (const Entry& e : below[j]) append_transposed(upper, e, j, layout, block, rows[j]);
    const BlockRow& mine = upper[j];
    for (std::size_t b = 0; b < mine.column.size(); ++b) {
      detail::append(rows[j], mine.column[b], mine.values.data() + mine.offset[b],
                     detail::block_elements(layout, j, mine.column[b]), 0.0);
    }
    detail::finish(rows[j]);
  }
  return {A.shared_layout(), std::move(rows)};
}

BlockSparse transpose(const BlockSparse& A) {
  std::vector<BlockRow> source;
  for (std::size_t i = 0; i < A.n_rows(); ++i) source.push_back(A.row(i));
  const auto columns = by_column(source, false);
  std::vector<BlockRow> rows(A.n_rows());
#pragma omp parallel for schedule(dynamic, 8)
  for (Index r = 0; r < static_cast<Index>(rows.size()); ++r) {
    const auto j = static_cast<std::size_t>(r);
    std::vector<double> block;
    for (const Entry& e : columns[j]) append_transposed(source, e, j, A.layout(), block, rows[j]);
    detail::finish(rows[j]);
  }
  return {A.shared_layout(), std::move(rows)};
}

}  // namespace mlh
