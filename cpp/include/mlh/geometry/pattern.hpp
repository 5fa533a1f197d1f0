#pragma once
// Pattern: which blocks (i, j, R) a matrix has, and where each block lies in one contiguous array.

#include <array>
#include <cstdint>
#include <vector>

#include "mlh/basis/basis.hpp"
#include "mlh/geometry/structure.hpp"

namespace mlh {

using Cell = std::array<int, 3>;

/// Atoms of a tile of a block-sparse matrix (block_sparse.hpp).
inline constexpr int kTileAtoms = 8;

/// Ordered pairs (i, j, R) with |tau_j + R - tau_i| < rc_i + rc_j, CSR by i, each row sorted by (j,
/// R). Contains the self pair (i, i, 0) and both directions of every pair.
struct Pattern {
  std::vector<std::int64_t> row_start;  ///< n_atoms + 1
  std::vector<int> atom_i, atom_j;      ///< n_pairs
  std::vector<Cell> cell;               ///< n_pairs: R in lattice units
  std::vector<std::int64_t> offset;     ///< n_pairs + 1, in doubles; block is n_i x n_j row-major
  std::vector<int> n_orbitals;          ///< n_atoms
  std::vector<int> reverse;             ///< n_pairs: index of (j, i, -R)
  /// Atoms in an order in which each kTileAtoms in a row are near each other; empty: no such order.
  std::vector<int> compact_order;

  std::size_t n_atoms() const { return n_orbitals.size(); }
  std::size_t n_pairs() const { return atom_j.size(); }
  std::int64_t nnz() const { return offset.empty() ? 0 : offset.back(); }
  /// Index of pair (i, j, R) or -1 when it is not stored.
  int find(int i, int j, const Cell& R) const;
};

/// Atoms nearer than this (Bohr) are a mistake of the structure.
inline constexpr double kNearest = 0.1;

/// Linear-scaling construction by cell binning. Throws for atoms nearer than `nearest`: 0 for the
/// orbitals of two geometries in one cell.
Pattern make_pattern(const Structure& structure, const BasisData& basis, double nearest = kNearest);

/// All (j, R) within `range(species_i, species_j)` of atom i, for every i: the neighbour search
/// behind the Pattern, reused for projectors and neutral-atom functions.
struct Neighbour {
  int atom;
  Cell cell;
  Vec3 vector;  ///< tau_j + R - tau_i
  double distance;
};
/// neighbours[i] holds every (j, R) with distance < range_i(i) + range_j(j), sorted by (j, R); the
/// self entry (distance 0, R = 0) included.
std::vector<std::vector<Neighbour>> find_neighbours(const Structure& structure,
                                                    const std::vector<double>& range_i,
                                                    const std::vector<double>& range_j);

}  // namespace mlh
