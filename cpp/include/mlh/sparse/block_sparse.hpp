#pragma once
// Block-sparse matrices of one unit cell at Gamma, for solvers whose cost is linear in the atoms:
// one block per pair of atoms, whatever the distance. Which blocks are stored follows from their
// size, not from a Pattern: a block whose Frobenius norm is not above a threshold is dropped.
// Real: double, or float where thresholds are far above its rounding; both are instantiated.
//
// Values are immutable. Every row of blocks has one writer and sums run in a fixed order, so that
// results are bitwise independent of the number of threads.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
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

  BlockSparse(std::shared_ptr<const BlockLayout> layout, std::vector<Row> rows);
  /// Rows that other matrices have too.
  BlockSparse(std::shared_ptr<const BlockLayout> layout,
              std::vector<std::shared_ptr<const Row>> rows);

  const BlockLayout& layout() const { return *layout_; }
  const std::shared_ptr<const BlockLayout>& shared_layout() const { return layout_; }
  const Row& row(std::size_t i) const { return *rows_[i]; }
  const std::shared_ptr<const Row>& shared_row(std::size_t i) const { return rows_[i]; }
  std::size_t n_rows() const { return rows_.size(); }
  /// Stored blocks.
  std::int64_t n_blocks() const;
  /// Bytes of the stored blocks, padding and indices included.
  std::int64_t bytes() const;

 private:
  std::shared_ptr<const BlockLayout> layout_;
  std::vector<std::shared_ptr<const Row>> rows_;
};

/// The blocks of matrices on a Pattern, in its compact order.
template <class Real>
std::shared_ptr<const BlockLayout> block_layout(const Pattern& pattern);
/// M(Gamma)_ij = sum_R M_ij(R) of a matrix on a Pattern (`nnz` numbers); zero blocks are dropped.
template <class Real>
BlockSparse<Real> fold(std::shared_ptr<const BlockLayout> layout, const Pattern& pattern,
                       std::span<const double> data);
/// Blocks of a matrix on a Pattern: every image of a pair gets the same block; absent ones are
/// zero.
template <class Real>
std::vector<double> unfold(const BlockSparse<Real>& M, const Pattern& pattern);

/// M in single precision.
BlockSparse<float> to_single(const BlockSparse<double>& M);
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

/// A B; with a Pattern only its blocks.
template <class Real>
BlockSparse<Real> multiply(const BlockSparse<Real>& A, const BlockSparse<Real>& B,
                           const Truncation& truncation, const Pattern* pattern = nullptr);
/// A B where the product is known to be symmetric: only blocks j >= i are computed.
template <class Real>
BlockSparse<Real> multiply_symmetric(const BlockSparse<Real>& A, const BlockSparse<Real>& B,
                                     const Truncation& truncation,
                                     const Pattern* pattern = nullptr);

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
/// A x, x of length n_orbitals in the order of the layout.
template <class Real>
std::vector<double> apply(const BlockSparse<Real>& A, std::span<const double> x);

}  // namespace mlh
