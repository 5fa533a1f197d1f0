#pragma once
// One centre K of a projector expansion and all orbitals that meet its projectors.

#include <Eigen/Dense>
#include <span>
#include <vector>

#include "mlh/openmx/projector_expansion.hpp"
#include "mlh/two_center/nonlocal.hpp"

namespace mlh::detail {

class ExpansionCluster {
 public:
  /// Computes <phi_m | V chi_K> for every neighbour m of K.
  ExpansionCluster(const ProjectorExpansion& tables, const Structure& structure, int centre,
                   const std::vector<Neighbour>& neighbours);

  /// Adds B_m E B_n^T to the undamped off-site blocks p < reverse[p] of the pattern.
  void add_matrix(const Pattern& pattern, std::vector<double>& matrix) const;

  /// Adds the gradient through B; `density` holds q (D_p + D_reverse^T), zero in the self pairs.
  void add_gradient(const Pattern& pattern, const std::vector<double>& density,
                    Gradient& gradient) const;

 private:
  using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  int rows(std::size_t m) const { return first_[m + 1] - first_[m]; }
  /// First neighbour of every home atom: the list is sorted by atom.
  std::vector<std::size_t> atom_ranges(std::size_t n_atoms) const;
  void add_row(const Pattern& pattern, std::size_t m, std::size_t from,
               std::vector<double>& matrix) const;
  /// dE/dB_m of the orbitals of neighbour m.
  RowMajor derivative(const Pattern& pattern, std::size_t m,
                      const std::vector<double>& density) const;

  const ProjectorExpansion& tables_;
  const Structure& structure_;
  int centre_;
  const std::vector<Neighbour>& neighbours_;
  std::vector<int> first_;  ///< row of B where each neighbour begins, and the end
  const Eigen::VectorXd& energy_;
  RowMajor B_;
};

}  // namespace mlh::detail
