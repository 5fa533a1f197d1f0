#include "mlh/sparse/block_sparse.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/simd.hpp"
#include "sparse/block_row.hpp"
#include "sparse/pattern_rows.hpp"

namespace mlh {

namespace {

using detail::append;
using detail::block_elements;
using detail::finish;
using detail::for_images;
using detail::pairs_by_column;
using detail::require_atoms;

using Index = std::ptrdiff_t;

template <class Real>
void require_same_layout(const BlockSparse<Real>& A, const BlockSparse<Real>& B) {
  if (!(A.layout() == B.layout()) || !(A.columns() == B.columns())) {
    throw std::invalid_argument("B: expected blocks of the same sizes as A has, got others");
  }
}

/// Runs make(i, row) for every row in parallel.
template <class Real, class Make>
std::vector<BlockRow<Real>> build_rows(std::size_t n, const Make& make) {
  std::vector<BlockRow<Real>> rows(n);
#pragma omp parallel for schedule(dynamic, 8) if (n > detail::kFewLightRows)
  for (Index i = 0; i < static_cast<Index>(n); ++i) {
    BlockRow<Real>& row = rows[static_cast<std::size_t>(i)];
    make(static_cast<std::size_t>(i), row);
    finish(row);
  }
  return rows;
}

/// Sum over rows of part(i), added in the order of the rows.
template <class Part>
double sum_rows(std::size_t n, const Part& part) {
  std::vector<double> parts(n);
#pragma omp parallel for schedule(dynamic, 8) if (n > detail::kFewLightRows)
  for (Index i = 0; i < static_cast<Index>(n); ++i) {
    parts[static_cast<std::size_t>(i)] = part(static_cast<std::size_t>(i));
  }
  double sum = 0.0;
  for (const double p : parts) sum += p;
  return sum;
}

/// block += factor * block b of `row`; nothing when b is -1.
template <class Real>
void add_scaled(double factor, const BlockRow<Real>& row, Index b, std::vector<Real>& block) {
  if (b < 0) return;
  const Real* source = row.values.data() + row.offset[static_cast<std::size_t>(b)];
  const auto f = static_cast<Real>(factor);
  for (std::size_t k = 0; k < block.size(); ++k) block[k] += f * source[k];
}

/// Sum of x y, in double precision.
template <class Real>
double product_sum(const Real* x, const Real* y, std::size_t count) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t k = 0; k < count; ++k) {
    sum += static_cast<double>(x[k]) * static_cast<double>(y[k]);
  }
  return sum;
}

template <class Real>
void add_diagonal(double c, std::size_t n, std::size_t stride, std::vector<Real>& block) {
  for (std::size_t a = 0; a < n; ++a) block[a * stride + a] += static_cast<Real>(c);
}

/// Calls visit(column, block of A or -1, block of B or -1) over the union of two rows and `also`.
template <class Real, class Visit>
void merge(const BlockRow<Real>& A, const BlockRow<Real>& B, int also, const Visit& visit) {
  std::size_t a = 0, b = 0;
  bool open = also >= 0;
  while (a < A.column.size() || b < B.column.size() || open) {
    int j = open ? also : std::numeric_limits<int>::max();
    if (a < A.column.size()) j = std::min(j, A.column[a]);
    if (b < B.column.size()) j = std::min(j, B.column[b]);
    const bool in_a = a < A.column.size() && A.column[a] == j;
    const bool in_b = b < B.column.size() && B.column[b] == j;
    visit(j, in_a ? static_cast<Index>(a) : -1, in_b ? static_cast<Index>(b) : -1);
    a += in_a;
    b += in_b;
    open = open && j != also;
  }
}

}  // namespace

BlockLayout::BlockLayout(const std::vector<int>& orbitals, std::vector<int> order, int lanes)
    : atom(std::move(order)), row(orbitals.size(), -1), start{0} {
  if (atom.empty()) {
    atom.resize(orbitals.size());
    std::iota(atom.begin(), atom.end(), 0);
  }
  bool permutation = atom.size() == orbitals.size();
  for (std::size_t r = 0; permutation && r < atom.size(); ++r) {
    const auto a = static_cast<std::size_t>(atom[r]);
    permutation = a < row.size() && row[a] < 0;
    if (permutation) row[a] = static_cast<int>(r);
  }
  if (!permutation) {
    throw std::invalid_argument("order: expected a permutation of " +
                                std::to_string(orbitals.size()) + " atoms");
  }
  for (const int a : atom) {
    const int n = orbitals[static_cast<std::size_t>(a)];
    if (n < 1) {
      throw std::invalid_argument("orbitals: expected at least 1 per atom, got " +
                                  std::to_string(n));
    }
    size.push_back(n);
    stride.push_back((n + lanes - 1) / lanes * lanes);
    start.push_back(start.back() + n);
  }
}

template <class Real>
BlockSparse<Real>::BlockSparse(std::shared_ptr<const BlockLayout> layout,
                               std::shared_ptr<const BlockLayout> columns,
                               std::vector<BlockRow<Real>> rows)
    : layout_(std::move(layout)), columns_(std::move(columns)) {
  rows_.reserve(rows.size());
  for (BlockRow<Real>& row : rows) {
    rows_.push_back(std::make_shared<const BlockRow<Real>>(std::move(row)));
  }
}

template <class Real>
BlockSparse<Real>::BlockSparse(std::shared_ptr<const BlockLayout> layout,
                               std::shared_ptr<const BlockLayout> columns,
                               std::vector<std::shared_ptr<const BlockRow<Real>>> rows)
    : layout_(std::move(layout)), columns_(std::move(columns)), rows_(std::move(rows)) {}

template <class Real>
std::int64_t BlockSparse<Real>::n_blocks() const {
  std::int64_t n = 0;
  for (const auto& row : rows_) n += static_cast<std::int64_t>(row->column.size());
  return n;
}

template <class Real>
std::int64_t BlockSparse<Real>::bytes() const {
  constexpr std::int64_t per_block = 2 * sizeof(int) + sizeof(std::size_t) + sizeof(double);
  std::int64_t n = per_block * n_blocks();
  for (const auto& row : rows_) {
    n += static_cast<std::int64_t>(sizeof(Real) * row->values.size());
  }
  return n;
}

namespace {

template <class To>
std::shared_ptr<const BlockLayout> converted(const BlockLayout& from) {
  std::vector<int> orbitals(from.n_blocks());
  for (std::size_t r = 0; r < from.n_blocks(); ++r) {
    orbitals[static_cast<std::size_t>(from.atom[r])] = from.size[r];
  }
  return std::make_shared<const BlockLayout>(orbitals, from.atom, detail::Register<To>::lanes);
}

template <class To, class From>
BlockSparse<To> converted(const BlockSparse<From>& M) {
  auto layout = converted<To>(M.layout());
  auto columns = M.shared_layout() == M.shared_columns() ? layout : converted<To>(M.columns());
  const BlockLayout& from = M.columns();
  auto rows = build_rows<To>(M.n_rows(), [&](std::size_t i, BlockRow<To>& row) {
    const BlockRow<From>& source = M.row(i);
    std::vector<To> block;
    for (std::size_t b = 0; b < source.column.size(); ++b) {
      const auto j = static_cast<std::size_t>(source.column[b]);
      const From* values = source.values.data() + source.offset[b];
      block.assign(static_cast<std::size_t>(layout->size[i] * columns->stride[j]), To(0));
      for (int a = 0; a < layout->size[i]; ++a) {
        for (int k = 0; k < from.size[j]; ++k) {
          block[static_cast<std::size_t>(a * columns->stride[j] + k)] =
              static_cast<To>(values[a * from.stride[j] + k]);
        }
      }
      append(row, source.column[b], block.data(), block.size(), 0.0);
    }
  });
  return {std::move(layout), std::move(columns), std::move(rows)};
}

}  // namespace

BlockSparse<float> to_single(const BlockSparse<double>& M) { return converted<float>(M); }
BlockSparse<double> to_double(const BlockSparse<float>& M) { return converted<double>(M); }

template <class Real>
BlockSparse<Real> assemble(std::shared_ptr<const BlockLayout> layout,
                           std::shared_ptr<const BlockLayout> columns, std::span<const int> row,
                           std::span<const int> column, std::span<const double> values) {
  std::vector<BlockRow<Real>> rows(layout->n_blocks());
  std::vector<Real> block;
  const double* source = values.data();
  for (std::size_t b = 0; b < row.size(); ++b) {
    const auto i = static_cast<std::size_t>(row[b]), j = static_cast<std::size_t>(column[b]);
    const auto n = static_cast<std::size_t>(layout->size[i]);
    const auto m = static_cast<std::size_t>(columns->size[j]);
    const auto stride = static_cast<std::size_t>(columns->stride[j]);
    block.assign(n * stride, Real(0));
    for (std::size_t a = 0; a < n; ++a, source += m) {
      for (std::size_t k = 0; k < m; ++k) block[a * stride + k] = static_cast<Real>(source[k]);
    }
    append(rows[i], column[b], block.data(), block.size(), 0.0);
  }
  for (BlockRow<Real>& r : rows) finish(r);
  return {std::move(layout), std::move(columns), std::move(rows)};
}

template <class Real>
BlockSparse<Real> select_blocks(const BlockSparse<Real>& A, const std::vector<Mark<Real>>& marks) {
  for (const Mark<Real>& mark : marks) require_same_layout(A, *mark.matrix);
  auto rows = build_rows<Real>(A.n_rows(), [&](std::size_t i, BlockRow<Real>& row) {
    const BlockRow<Real>& source = A.row(i);
    std::vector<std::size_t> at(marks.size(), 0);
    for (std::size_t b = 0; b < source.column.size(); ++b) {
      const int j = source.column[b];
      bool keep = false;
      for (std::size_t m = 0; m < marks.size(); ++m) {
        const BlockRow<Real>& other = marks[m].matrix->row(i);
        while (at[m] < other.column.size() && other.column[at[m]] < j) ++at[m];
        keep = keep || (at[m] < other.column.size() && other.column[at[m]] == j &&
                        other.norm[at[m]] > marks[m].limit);
      }
      if (!keep) continue;
      append(row, j, source.values.data() + source.offset[b], block_elements(A, i, j), 0.0);
    }
  });
  return {A.shared_layout(), A.shared_columns(), std::move(rows)};
}

template <class Real>
std::shared_ptr<const BlockLayout> block_layout(const Pattern& pattern) {
  return std::make_shared<const BlockLayout>(pattern.n_orbitals, pattern.compact_order,
                                             detail::Register<Real>::lanes);
}

template <class Real>
std::shared_ptr<const BlockLayout> block_layout(const std::vector<int>& sizes) {
  return std::make_shared<const BlockLayout>(sizes, std::vector<int>{},
                                             detail::Register<Real>::lanes);
}

template <class Real>
BlockSparse<Real> fold(std::shared_ptr<const BlockLayout> layout, const Pattern& pattern,
                       std::span<const double> data) {
  require_atoms(*layout, pattern);
  auto rows = build_rows<Real>(pattern.n_atoms(), [&](std::size_t i, BlockRow<Real>& row) {
    const auto n = static_cast<std::size_t>(layout->size[i]);
    std::vector<Real> block;
    // Images of one pair are neighbours in the row.
    for (const auto& [j, first] : pairs_by_column(*layout, pattern, i)) {
      const auto m = static_cast<std::size_t>(layout->size[static_cast<std::size_t>(j)]);
      const auto stride = static_cast<std::size_t>(layout->stride[static_cast<std::size_t>(j)]);
      block.assign(n * stride, Real(0));
      for_images(pattern, first, [&](std::size_t p) {
        const double* source = data.data() + pattern.offset[p];
        for (std::size_t a = 0; a < n; ++a) {
          for (std::size_t b = 0; b < m; ++b) {
            block[a * stride + b] += static_cast<Real>(source[a * m + b]);
          }
        }
      });
      append(row, j, block.data(), block.size(), 0.0);
    }
  });
  return {std::move(layout), std::move(rows)};
}

template <class Real>
std::vector<double> unfold(const BlockSparse<Real>& M, const Pattern& pattern) {
  const BlockLayout& layout = M.layout();
  require_atoms(layout, pattern);
  std::vector<double> data(static_cast<std::size_t>(pattern.nnz()), 0.0);
#pragma omp parallel for schedule(dynamic, 8)
  for (Index r = 0; r < static_cast<Index>(pattern.n_atoms()); ++r) {
    const auto i = static_cast<std::size_t>(r);
    const BlockRow<Real>& row = M.row(i);
    const auto n = static_cast<std::size_t>(layout.size[i]);
    std::size_t at = 0;
    for (const auto& [j, first] : pairs_by_column(layout, pattern, i)) {
      while (at < row.column.size() && row.column[at] < j) ++at;
      if (at == row.column.size() || row.column[at] != j) continue;
      const auto m = static_cast<std::size_t>(layout.size[static_cast<std::size_t>(j)]);
      const auto stride = static_cast<std::size_t>(layout.stride[static_cast<std::size_t>(j)]);
      const Real* source = row.values.data() + row.offset[at];
      for_images(pattern, first, [&](std::size_t p) {
        double* target = data.data() + pattern.offset[p];
        for (std::size_t a = 0; a < n; ++a) {
          std::copy_n(source + a * stride, m, target + a * m);
        }
      });
    }
  }
  return data;
}

template <class Real>
BlockSparse<Real> combine(double a, const BlockSparse<Real>& A, double b,
                          const BlockSparse<Real>& B, double c, double drop) {
  require_same_layout(A, B);
  if (c != 0.0 && !(A.layout() == A.columns())) {
    throw std::invalid_argument("c: expected zero for a matrix that is not square");
  }
  auto rows = build_rows<Real>(A.n_rows(), [&](std::size_t i, BlockRow<Real>& row) {
    std::vector<Real> block;
    const int diagonal = static_cast<int>(i);
    merge(A.row(i), B.row(i), c != 0.0 ? diagonal : -1, [&](int j, Index in_a, Index in_b) {
      block.assign(block_elements(A, i, j), Real(0));
      add_scaled(a, A.row(i), in_a, block);
      add_scaled(b, B.row(i), in_b, block);
      if (j == diagonal) {
        add_diagonal(c, static_cast<std::size_t>(A.layout().size[i]),
                     static_cast<std::size_t>(A.layout().stride[i]), block);
      }
      append(row, j, block.data(), block.size(), drop);
    });
  });
  return {A.shared_layout(), A.shared_columns(), std::move(rows)};
}

namespace {

/// Rows [first, last) of a part.
std::pair<std::size_t, std::size_t> part_rows(std::size_t n, std::size_t part, std::size_t parts) {
  const std::size_t tiles = (n + kTileAtoms - 1) / kTileAtoms;
  return {std::min(n, part * tiles / parts * kTileAtoms),
          std::min(n, (part + 1) * tiles / parts * kTileAtoms)};
}

}  // namespace

template <class Real>
BlockSparse<Real> row_part(const BlockSparse<Real>& A, std::size_t part, std::size_t parts) {
  if (part >= parts) {
    throw std::invalid_argument("part: expected 0 to parts - 1 = " + std::to_string(parts - 1) +
                                ", got " + std::to_string(part));
  }
  const auto [first, last] = part_rows(A.n_rows(), part, parts);
  std::vector rows(A.n_rows(), std::make_shared<const BlockRow<Real>>());
  for (std::size_t i = first; i < last; ++i) rows[i] = A.shared_row(i);
  return {A.shared_layout(), A.shared_columns(), std::move(rows)};
}

template <class Real>
BlockSparse<Real> join_parts(const std::vector<const BlockSparse<Real>*>& parts) {
  if (parts.empty()) throw std::invalid_argument("parts: expected at least 1, got none");
  std::vector<std::shared_ptr<const BlockRow<Real>>> rows;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    require_same_layout(*parts.front(), *parts[part]);
    const auto [first, last] = part_rows(parts[part]->n_rows(), part, parts.size());
    for (std::size_t i = first; i < last; ++i) rows.push_back(parts[part]->shared_row(i));
  }
  return {parts.front()->shared_layout(), parts.front()->shared_columns(), std::move(rows)};
}

template <class Real>
double trace(const BlockSparse<Real>& A) {
  return sum_rows(A.n_rows(), [&](std::size_t i) {
    const BlockRow<Real>& row = A.row(i);
    const auto at = std::lower_bound(row.column.begin(), row.column.end(), static_cast<int>(i));
    if (at == row.column.end() || *at != static_cast<int>(i)) return 0.0;
    const Real* block =
        row.values.data() + row.offset[static_cast<std::size_t>(at - row.column.begin())];
    const auto stride = static_cast<std::size_t>(A.layout().stride[i]);
    double sum = 0.0;
    for (std::size_t a = 0; a < static_cast<std::size_t>(A.layout().size[i]); ++a) {
      sum += static_cast<double>(block[a * stride + a]);
    }
    return sum;
  });
}

template <class Real>
double dot(const BlockSparse<Real>& A, const BlockSparse<Real>& B) {
  require_same_layout(A, B);
  return sum_rows(A.n_rows(), [&](std::size_t i) {
    double sum = 0.0;
    merge(A.row(i), B.row(i), -1, [&](int j, Index in_a, Index in_b) {
      if (in_a < 0 || in_b < 0) return;
      const Real* x = A.row(i).values.data() + A.row(i).offset[static_cast<std::size_t>(in_a)];
      const Real* y = B.row(i).values.data() + B.row(i).offset[static_cast<std::size_t>(in_b)];
      sum += product_sum(x, y, block_elements(A, i, j));
    });
    return sum;
  });
}

template <class Real>
std::vector<double> column_dots(const BlockSparse<Real>& A, const BlockSparse<Real>& B) {
  require_same_layout(A, B);
  std::vector<double> sums(A.columns().n_blocks(), 0.0);
  for (std::size_t i = 0; i < A.n_rows(); ++i) {
    merge(A.row(i), B.row(i), -1, [&](int j, Index in_a, Index in_b) {
      if (in_a < 0 || in_b < 0) return;
      const Real* x = A.row(i).values.data() + A.row(i).offset[static_cast<std::size_t>(in_a)];
      const Real* y = B.row(i).values.data() + B.row(i).offset[static_cast<std::size_t>(in_b)];
      sums[static_cast<std::size_t>(j)] += product_sum(x, y, block_elements(A, i, j));
    });
  }
  return sums;
}

template <class Real>
std::vector<double> apply(const BlockSparse<Real>& A, std::span<const double> x) {
  const BlockLayout& layout = A.layout();
  const BlockLayout& columns = A.columns();
  std::vector<double> y(static_cast<std::size_t>(layout.start.back()), 0.0);
#pragma omp parallel for schedule(dynamic, 8) if (A.n_rows() > detail::kFewLightRows)
  for (Index i = 0; i < static_cast<Index>(A.n_rows()); ++i) {
    const BlockRow<Real>& row = A.row(static_cast<std::size_t>(i));
    double* out = y.data() + layout.start[static_cast<std::size_t>(i)];
    for (std::size_t b = 0; b < row.column.size(); ++b) {
      const auto j = static_cast<std::size_t>(row.column[b]);
      const Real* block = row.values.data() + row.offset[b];
      const double* in = x.data() + columns.start[j];
      for (int a = 0; a < layout.size[static_cast<std::size_t>(i)]; ++a) {
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (int k = 0; k < columns.size[j]; ++k) {
          sum += static_cast<double>(block[a * columns.stride[j] + k]) * in[k];
        }
        out[a] += sum;
      }
    }
  }
  return y;
}

namespace {

/// out (rows x kVectors) += block times in (columns x kVectors), in registers.
template <class Real>
void add_block_times(const Real* block, int rows, int columns, int stride, const double* in,
                     double* out) {
  constexpr int registers = kVectors / detail::kLanes;
  using detail::load;
  for (int a = 0; a < rows; ++a, block += stride, out += kVectors) {
    detail::Vec sum[registers];
    for (int v = 0; v < registers; ++v) sum[v] = load(out + v * detail::kLanes);
    for (int k = 0; k < columns; ++k) {
      const auto factor = static_cast<double>(block[k]);
      for (int v = 0; v < registers; ++v) {
        sum[v] += factor * load(in + k * kVectors + v * detail::kLanes);
      }
    }
    for (int v = 0; v < registers; ++v) detail::store(out + v * detail::kLanes, sum[v]);
  }
}

}  // namespace

template <class Real>
std::vector<double> apply_vectors(const BlockSparse<Real>& A, std::span<const double> x) {
  const BlockLayout &layout = A.layout(), &columns = A.columns();
  std::vector<double> y(static_cast<std::size_t>(layout.start.back() * kVectors), 0.0);
#pragma omp parallel for schedule(dynamic, 8) if (A.n_rows() > detail::kFewRows)
  for (Index i = 0; i < static_cast<Index>(A.n_rows()); ++i) {
    const BlockRow<Real>& row = A.row(static_cast<std::size_t>(i));
    double* out = y.data() + layout.start[static_cast<std::size_t>(i)] * kVectors;
    for (std::size_t b = 0; b < row.column.size(); ++b) {
      const auto j = static_cast<std::size_t>(row.column[b]);
      add_block_times(row.values.data() + row.offset[b], layout.size[static_cast<std::size_t>(i)],
                      columns.size[j], columns.stride[j], x.data() + columns.start[j] * kVectors,
                      out);
    }
  }
  return y;
}

#define MLH_INSTANTIATE(Real)                                                                    \
  template class BlockSparse<Real>;                                                              \
  template std::shared_ptr<const BlockLayout> block_layout<Real>(const std::vector<int>&);       \
  template std::shared_ptr<const BlockLayout> block_layout<Real>(const Pattern&);                \
  template BlockSparse<Real> fold(std::shared_ptr<const BlockLayout>, const Pattern&,            \
                                  std::span<const double>);                                      \
  template std::vector<double> unfold(const BlockSparse<Real>&, const Pattern&);                 \
  template BlockSparse<Real> assemble(std::shared_ptr<const BlockLayout>,                        \
                                      std::shared_ptr<const BlockLayout>, std::span<const int>,  \
                                      std::span<const int>, std::span<const double>);            \
  template BlockSparse<Real> select_blocks(const BlockSparse<Real>&,                             \
                                           const std::vector<Mark<Real>>&);                      \
  template BlockSparse<Real> combine(double, const BlockSparse<Real>&, double,                   \
                                     const BlockSparse<Real>&, double, double);                  \
  template BlockSparse<Real> row_part(const BlockSparse<Real>&, std::size_t, std::size_t);       \
  template BlockSparse<Real> join_parts(const std::vector<const BlockSparse<Real>*>&);           \
  template std::vector<double> apply_vectors(const BlockSparse<Real>&, std::span<const double>); \
  template double trace(const BlockSparse<Real>&);                                               \
  template double dot(const BlockSparse<Real>&, const BlockSparse<Real>&);                       \
  template std::vector<double> column_dots(const BlockSparse<Real>&, const BlockSparse<Real>&);  \
  template std::vector<double> apply(const BlockSparse<Real>&, std::span<const double>);
MLH_INSTANTIATE(float)
MLH_INSTANTIATE(double)
#undef MLH_INSTANTIATE

}  // namespace mlh
