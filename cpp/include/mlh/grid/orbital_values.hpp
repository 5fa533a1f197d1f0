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
  /// first. Real: double or float, to which the values are rounded.
  template <class Real>
  void values(const BatchPoints& points, int octet, const Vec3& center, Real* phi,
              std::ptrdiff_t stride) const;
  /// Also the three Cartesian derivatives with respect to r, each laid out as phi.
  template <class Real>
  void gradients(const BatchPoints& points, int octet, const Vec3& center, Real* phi,
                 const std::array<Real*, 3>& dphi, std::ptrdiff_t stride) const;
  /// phi and psi = v phi, laid out alike; v [kOctet].
  template <class Real>
  void potential(const BatchPoints& points, int octet, const Vec3& center, const double* v,
                 Real* phi, Real* psi, std::ptrdiff_t stride) const;
  /// phi and psi = v_0 phi + (v_1, v_2, v_3) . grad phi; v [4][kOctet].
  template <class Real>
  void vector_potential(const BatchPoints& points, int octet, const Vec3& center, const double* v,
                        Real* phi, Real* psi, std::ptrdiff_t stride) const;
  /// h_i = sum_j q_j(p) d_i d_j phi: the second derivatives contracted with a vector field q
  /// [3][kOctet].
  template <class Real>
  void hessian_dot(const BatchPoints& points, int octet, const Vec3& center, const double* q,
                   const std::array<Real*, 3>& h, std::ptrdiff_t stride) const;
  /// phi[orbital * kBatch + p] for an atom at `center`.
  void values(const BatchPoints& points, const Vec3& center, double* phi) const;

 private:
  struct Radial;
  template <int order, class Vector>
  void radial(const Vector& r2, Radial& out) const;
  template <int order, class Emit>
  void for_lanes(const BatchPoints& points, int octet, const Vec3& center, Emit&& emit) const;
  /// visit(shell, harmonic, place) for every orbital in order, places `stride` apart.
  template <class Visit>
  void for_orbitals(std::ptrdiff_t start, std::ptrdiff_t stride, Visit&& visit) const;
  template <int lmax, class Real>
  void octet_values(const BatchPoints& points, int octet, const Vec3& center, Real* phi,
                    std::ptrdiff_t stride) const;
  template <int lmax, class Real>
  void octet_gradients(const BatchPoints& points, int octet, const Vec3& center, Real* phi,
                       const std::array<Real*, 3>& dphi, std::ptrdiff_t stride) const;
  template <int lmax, class Real>
  void octet_potential(const BatchPoints& points, int octet, const Vec3& center, const double* v,
                       Real* phi, Real* psi, std::ptrdiff_t stride) const;
  template <int lmax, class Real>
  void octet_vector_potential(const BatchPoints& points, int octet, const Vec3& center,
                              const double* v, Real* phi, Real* psi, std::ptrdiff_t stride) const;
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
