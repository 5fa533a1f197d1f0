#pragma once
// Block-sparse matrices of one unit cell at Gamma, for solvers whose cost is linear in the atoms:
// one block per pair of atoms, whatever the distance. Rows or columns may also be other things than
// atoms, such as groups of localized functions: each side has a layout of its own. Which blocks are
// stored follows from their size, not from a Pattern: a block whose Frobenius norm is not above a
// threshold is dropped. Real: double, or float where thresholds are far above its rounding; both
// are instantiated.
//
// Values are immutable. Every row of blocks has one writer and sums run in a fixed order, so that
// results are bitwise independent of the number of threads.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "mlh/common/aligned.hpp"
#include "mlh/geometry/pattern.hpp"

namespace mlh {

/// Order and sizes of the blocks. In memory the columns of a block are padded with zeros to
/// `stride`.
struct BlockLayout {
  /// orbitals: of every atom. order: a permutation of the atoms; products go by tiles of kTileAtoms
  /// atoms in a row and are fast when those are near each other. lanes: numbers in a register.
  BlockLayout(const std::vector<int>& orbitals, std::vector<int> order, int lanes);

  std::vector<int> atom;            ///< atom of each row of blocks
  std::vector<int> row;             ///< row of blocks of each atom
  std::vector<int> size;            ///< orbitals of each row
  std::vector<int> stride;          ///< size rounded up to whole vector registers
  std::vector<std::int64_t> start;  ///< n_blocks + 1: first orbital of each row

  std::size_t n_blocks() const { return size.size(); }
  bool operator==(const BlockLayout& other) const {
    return this == &other || (atom == other.atom && size == other.size);
  }
};

/// One row of blocks, columns ascending; block b is size_i x stride_j row-major at
/// values[offset[b]].
template <class Real>
struct BlockRow {
  std::vector<int> column;
  std::vector<std::size_t> offset;
  std::vector<double> norm;  ///< Frobenius norms
  AlignedVector<Real> values;
};

/// Which products and which blocks of a result are left out.
struct Truncation {
  /// Products of two blocks are skipped when the product of their norms is not above this.
  double product = 0.0;
  /// Blocks of the result are dropped when their norm is not above this.
  double block = 0.0;
};

template <class Real>
class BlockSparse {
 public:
  using Row = BlockRow<Real>;

  /// Square.
  BlockSparse(std::shared_ptr<const BlockLayout> layout, std::vector<Row> rows)
      : BlockSparse(layout, layout, std::move(rows)) {}
  BlockSparse(std::shared_ptr<const BlockLayout> layout, std::shared_ptr<const BlockLayout> columns,
              std::vector<Row> rows);
  /// Rows that other matrices have too.
  BlockSparse(std::shared_ptr<const BlockLayout> layout, std::shared_ptr<const BlockLayout> columns,
              std::vector<std::shared_ptr<const Row>> rows);

  /// Of the rows, and of the columns too in a square matrix.
  const BlockLayout& layout() const { return *layout_; }
  const std::shared_ptr<const BlockLayout>& shared_layout() const { return layout_; }
  const BlockLayout& columns() const { return *columns_; }
  const std::shared_ptr<const BlockLayout>& shared_columns() const { return columns_; }
  const Row& row(std::size_t i) const { return *rows_[i]; }
  const std::shared_ptr<const Row>& shared_row(std::size_t i) const { return rows_[i]; }
  std::size_t n_rows() const { return rows_.size(); }
  /// Stored blocks.
  std::int64_t n_blocks() const;
  /// Bytes of the stored blocks, padding and indices included.
  std::int64_t bytes() const;

 private:
  std::shared_ptr<const BlockLayout> layout_, columns_;
  std::vector<std::shared_ptr<const Row>> rows_;
};

/// The blocks of matrices on a Pattern, in its compact order.
template <class Real>
std::shared_ptr<const BlockLayout> block_layout(const Pattern& pattern);
/// Blocks of these sizes in their order, which are no atoms.
template <class Real>
std::shared_ptr<const BlockLayout> block_layout(const std::vector<int>& sizes);
/// M(Gamma)_ij = sum_R M_ij(R) of a matrix on a Pattern (`nnz` numbers); zero blocks are dropped.
template <class Real>
BlockSparse<Real> fold(std::shared_ptr<const BlockLayout> layout, const Pattern& pattern,
                       std::span<const double> data);
/// Blocks of a matrix on a Pattern: every image of a pair gets the same block; absent ones are
/// zero.
template <class Real>
std::vector<double> unfold(const BlockSparse<Real>& M, const Pattern& pattern);

/// Dense blocks at (row, column), in ascending order of the rows, then of the columns; each of
/// size_row x size_column numbers, row-major, one after the other. Zero blocks are dropped.
template <class Real>
BlockSparse<Real> assemble(std::shared_ptr<const BlockLayout> layout,
                           std::shared_ptr<const BlockLayout> columns, std::span<const int> row,
                           std::span<const int> column, std::span<const double> values);

/// M in single precision.
BlockSparse<float> to_single(const BlockSparse<double>& M);
/// M in double precision.
BlockSparse<double> to_double(const BlockSparse<float>& M);
/// a A + b B + c 1; blocks with a norm of at most `drop` are dropped.
template <class Real>
BlockSparse<Real> combine(double a, const BlockSparse<Real>& A, double b,
                          const BlockSparse<Real>& B, double c, double drop);
template <class Real>
BlockSparse<Real> transpose(const BlockSparse<Real>& A);
/// The atoms of one part of `parts`: A with the other rows empty. Parts are whole tiles.
template <class Real>
BlockSparse<Real> row_part(const BlockSparse<Real>& A, std::size_t part, std::size_t parts);
/// The matrix whose parts these are, in their order.
template <class Real>
BlockSparse<Real> join_parts(const std::vector<const BlockSparse<Real>*>& parts);

/// The blocks of A that some of `marks` has with a norm above its limit.
template <class Real>
struct Mark {
  const BlockSparse<Real>* matrix;
  double limit;
};
template <class Real>
BlockSparse<Real> select_blocks(const BlockSparse<Real>& A, const std::vector<Mark<Real>>& marks);

/// Which blocks of a product are wanted: those of a Pattern, those that a matrix has, or all.
template <class Real>
struct Wanted {
  const Pattern* pattern = nullptr;
  const BlockSparse<Real>* matrix = nullptr;

  bool all() const { return pattern == nullptr && matrix == nullptr; }
};

/// A B, or the wanted blocks of it.
template <class Real>
BlockSparse<Real> multiply(const BlockSparse<Real>& A, const BlockSparse<Real>& B,
                           const Truncation& truncation,
                           std::type_identity_t<Wanted<Real>> wanted = {});
/// A B where the product is known to be symmetric: only blocks j >= i are computed.
template <class Real>
BlockSparse<Real> multiply_symmetric(const BlockSparse<Real>& A, const BlockSparse<Real>& B,
                                     const Truncation& truncation,
                                     std::type_identity_t<Wanted<Real>> wanted = {});

/// Lower triangular G with G S G^T = 1 up to what the neighbourhoods leave out: the rows of a tile
/// have the blocks j <= i that any of these rows of `reach` has, and those of the tile. Throws when
/// S is not positive definite.
template <class Real>
BlockSparse<Real> local_inverse_factor(const BlockSparse<Real>& S, const BlockSparse<Real>& reach);

/// Tr A.
template <class Real>
double trace(const BlockSparse<Real>& A);
/// Tr A^T B.
template <class Real>
double dot(const BlockSparse<Real>& A, const BlockSparse<Real>& B);
/// Tr A^T B of every column of blocks.
template <class Real>
std::vector<double> column_dots(const BlockSparse<Real>& A, const BlockSparse<Real>& B);
/// A x, x in the order of the columns, A x in that of the rows.
template <class Real>
std::vector<double> apply(const BlockSparse<Real>& A, std::span<const double> x);
/// The same of kVectors vectors at a time, which takes little longer: x has them one beside the
/// other, [orbital][vector].
inline constexpr int kVectors = 8;
template <class Real>
std::vector<double> apply_vectors(const BlockSparse<Real>& A, std::span<const double> x);

}  // namespace mlh
