#pragma once
// A periodic arrangement of atoms: the geometry every other part starts from.

#include <Eigen/Dense>
#include <vector>

namespace mlh {

using Vec3 = Eigen::Vector3d;
using Mat3 = Eigen::Matrix3d;

/// Cell vectors are the ROWS of `cell`; positions in Bohr, never wrapped into the cell.
struct Structure {
  Mat3 cell;
  std::vector<Vec3> positions;
  std::vector<int> species;  ///< index into BasisData::species, one per atom

  std::size_t size() const { return positions.size(); }
  double volume() const { return std::abs(cell.determinant()); }
  /// Cartesian vector of the lattice translation n1 a1 + n2 a2 + n3 a3.
  Vec3 translation(int n1, int n2, int n3) const {
    return n1 * cell.row(0).transpose() + n2 * cell.row(1).transpose() +
           n3 * cell.row(2).transpose();
  }
};

}  // namespace mlh
