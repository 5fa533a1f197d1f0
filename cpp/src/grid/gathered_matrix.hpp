#pragma once
// Internal: the density matrix of the orbitals of a group of batches, dense, in panels of few
// columns.

#include <span>
#include <vector>

#include "grid/octet_products.hpp"

namespace mlh::detail {

/// Columns of atom b in panels of at most kPanelColumns, each panel row-major over the orbitals of
/// the group. Upper: rows up to the end of atom b, blocks above the diagonal doubled and the
/// diagonal block folded to its upper triangle, for sum_ab P_ab phi_a phi_b. Full: all rows.
struct GatheredMatrix {
  std::vector<int> first;             ///< first orbital of each atom of the group, and their number
  std::vector<std::ptrdiff_t> start;  ///< where the panels of each atom start
  std::vector<int> rows;              ///< rows of the panels of each atom
  std::vector<double> data;

  void upper(const Grid& grid, const Group& group, std::span<const double> D);
  void full(const Grid& grid, const Group& group, std::span<const double> D);

 private:
  void lay_out(const Grid& grid, const Group& group, bool full);
};

}  // namespace mlh::detail
