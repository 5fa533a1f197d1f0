#pragma once
// Values and derivatives of all orbitals of one atom on a batch of points: the innermost kernel of
// the grid part. Radial tables are interleaved over the shells of a species, so that one point
// costs four vector loads; angular parts are polynomials evaluated for all points of the batch at
// once.

#include <array>
#include <cstddef>
#include <vector>

#include "mlh/basis/basis.hpp"
#include "mlh/common/aligned.hpp"
#include "mlh/geometry/structure.hpp"

namespace mlh {

/// Points per batch; arrays over points are padded to it with points far away.
inline constexpr int kBatch = 64;
/// Points that the kernels take at once: a batch is kBatch / kOctet compact octets.
inline constexpr int kOctet = 8;
/// Coordinate of padding points: beyond every cutoff.
inline constexpr double kFarAway = 1.0e6;

using PointArray = std::array<double, kBatch>;
struct BatchPoints {
  alignas(64) std::array<PointArray, 3> x;
};

/// Interleaved spline tables of one species.
class OrbitalTables {
 public:
  explicit OrbitalTables(const SpeciesData& species);

  int n_orbitals() const { return n_orbitals_; }
  double cutoff() const { return cutoff_; }

  /// phi[orbital * stride + p] on the points [8 octet, 8 octet + 8) of a batch, p counted from the
  /// first.
  void values(const BatchPoints& points, int octet, const Vec3& center, double* phi,
              std::ptrdiff_t stride) const;
  /// Also the three Cartesian derivatives with respect to r, each laid out as phi.
  void gradients(const BatchPoints& points, int octet, const Vec3& center, double* phi,
                 const std::array<double*, 3>& dphi, std::ptrdiff_t stride) const;
  /// phi and psi = v phi, both [orbital * kOctet + p] on one octet; v [kOctet].
  void potential(const BatchPoints& points, int octet, const Vec3& center, const double* v,
                 double* phi, double* psi) const;
  /// phi and psi = v_0 phi + (v_1, v_2, v_3) . grad phi; v [4][kOctet].
  void vector_potential(const BatchPoints& points, int octet, const Vec3& center, const double* v,
                        double* phi, double* psi) const;
  /// phi[orbital * kBatch + p] for an atom at `center`.
  void values(const BatchPoints& points, const Vec3& center, double* phi) const;
  /// Also the three Cartesian derivatives with respect to r, each laid out as phi.
  void gradients(const BatchPoints& points, const Vec3& center, double* phi,
                 const std::array<double*, 3>& dphi) const;
  /// h_i = sum_j q_j(p) d_i d_j phi: the second derivatives contracted with a vector field q.
  void hessian_dot(const BatchPoints& points, const Vec3& center, const BatchPoints& q,
                   const std::array<double*, 3>& h) const;

 private:
  struct Radial;
  template <int order, class Vector>
  void radial(const Vector& r2, Radial& out) const;
  template <int order, class Emit>
  void for_lanes(const BatchPoints& points, int octet, const Vec3& center, Emit&& emit) const;
  /// visit(shell, harmonic, place) for every orbital in order, places `stride` apart.
  template <class Visit>
  void for_orbitals(std::ptrdiff_t start, std::ptrdiff_t stride, Visit&& visit) const;
  template <int lmax>
  void octet_values(const BatchPoints& points, int octet, const Vec3& center, double* phi,
                    std::ptrdiff_t stride) const;
  template <int lmax>
  void octet_gradients(const BatchPoints& points, int octet, const Vec3& center, double* phi,
                       const std::array<double*, 3>& dphi, std::ptrdiff_t stride) const;
  template <int lmax>
  void octet_potential(const BatchPoints& points, int octet, const Vec3& center, const double* v,
                       double* phi, double* psi) const;
  template <int lmax>
  void octet_vector_potential(const BatchPoints& points, int octet, const Vec3& center,
                              const double* v, double* phi, double* psi) const;
  template <class Call>
  void with_lmax(Call&& call) const;

  static constexpr int kPadding = 8;  ///< shells of one interval, a whole number of vectors
  int n_shells_ = 0, n_orbitals_ = 0, lmax_ = 0, padded_ = 0;
  std::size_t intervals_ = 0;
  double cutoff_ = 0.0, step_ = kRadialStep;
  std::vector<int> shell_l_;
  AlignedDoubles table_;  ///< [interval][coefficient][shell padded to kPadding]
};

}  // namespace mlh
