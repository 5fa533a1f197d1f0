#pragma once
// One two-centre operator between all functions of two species: radial tables and angular sums.

#include <Eigen/Dense>
#include <vector>

#include "mlh/basis/bessel.hpp"
#include "mlh/geometry/structure.hpp"

namespace mlh {

/// Functions f_n(r) = u_n(r)/r^L' of the distance on a uniform mesh, quintic Hermite: values, first
/// and second derivatives are exact at the nodes, all three are 0 at the end, and the derivative
/// returned is the derivative of the value returned.
class DistanceTable {
 public:
  DistanceTable() = default;
  /// Rows are nodes, columns are functions; the last row is ignored and set to zero.
  DistanceTable(double range, const Eigen::MatrixXd& value, const Eigen::MatrixXd& first,
                const Eigen::MatrixXd& second);

  /// Number of nodes for a range: a whole number of steps no longer than kDistanceStep.
  static Eigen::Index nodes(double range);

  double range() const { return range_; }

  /// Hermite weights of one distance; reusable for all functions.
  struct Point {
    const double* node = nullptr;  ///< null beyond the range
    double value[6];
    double slope[6];
  };
  Point locate(double r) const;
  double value(const Point& p, Eigen::Index f) const { return combine(p.value, p.node, f); }
  double slope(const Point& p, Eigen::Index f) const { return combine(p.slope, p.node, f); }

 private:
  double combine(const double* w, const double* node, Eigen::Index f) const {
    const double* a = node + 3 * f;
    const double* b = a + stride_;
    return w[0] * a[0] + w[1] * a[1] + w[2] * a[2] + w[3] * b[0] + w[4] * b[1] + w[5] * b[2];
  }

  double range_ = 0.0, inverse_step_ = 0.0;
  Eigen::Index intervals_ = 0, stride_ = 0;
  std::vector<double> data_;  ///< [node][function][value, h slope, h^2 second derivative]
};

/// Mesh step of DistanceTable, Bohr.
inline constexpr double kDistanceStep = 0.025;

/// Radial functions of one side of a pair: l and Bessel transform of each shell.
struct ShellSet {
  std::vector<int> l;
  const Eigen::MatrixXd* transforms = nullptr;  ///< k x shells
  std::vector<double> cutoff;                   ///< Bohr, per shell
};

enum class PairOperator { overlap, kinetic };

/// u_l(k R) at all nodes R of a DistanceTable and all k of the mesh: the dense factor that every
/// operator between two species shares. u[l] is nodes x k.
struct BesselMatrices {
  double range = 0.0;
  std::vector<Eigen::MatrixXd> u;
};
/// Orders 0..lmax+2 for the largest product of the two sets, on [0, sum of the largest cutoffs].
BesselMatrices make_bessel_matrices(const ShellSet& a, const ShellSet& b,
                                    const WaveQuadrature& waves);

/// <A_a(r) | O | B_b(r - R)> for all functions a of species A and b of species B:
///   sum_L t_L(R) sum_M G(l_a m_a, l_b m_b, L M) R^L Y_LM(R-hat),
///   t_L(R) = 8 (-1)^((l_b-l_a+L)/2) int_0^inf k^2 A(k) B(k) j_L(kR)/R^L dk        (O = 1)
/// and 4 ... k^4 for O = -nabla^2/2.
class PairTable {
 public:
  PairTable() = default;
  /// `bessel` must come from the same sets and nodes. Without shells on one side the blocks are
  /// empty.
  PairTable(const ShellSet& a, const ShellSet& b, const WaveQuadrature& waves,
            const BesselMatrices& bessel, PairOperator op);

  int rows() const { return rows_; }
  int columns() const { return columns_; }
  double range() const { return radial_.range(); }

  /// out[a * columns + b], overwritten; zeros at and beyond the range.
  void block(const Vec3& R, double* out) const;
  /// sum_ab weight[a * columns + b] dM_ab/dR.
  Vec3 contract_gradient(const Vec3& R, const double* weight) const;

 private:
  /// coefficient * t_function(R) * R^L Y_LM contributes to one element of the block.
  struct Term {
    int element;
    int harmonic;
    double coefficient;
  };
  /// Terms first..last of one radial function (one pair of shells, one L).
  struct Channel {
    std::size_t first, last;
  };
  void add_channel(int row, int column, int la, int lb, int L);

  int rows_ = 0, columns_ = 0, lmax_ = 0;
  std::vector<Channel> channels_;  ///< one per column of the radial table
  std::vector<Term> terms_;
  DistanceTable radial_;
};

}  // namespace mlh
