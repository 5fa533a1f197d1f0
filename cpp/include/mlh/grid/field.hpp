#pragma once
// Fields on the integration points (uniform grid and spheres): neutral-atom superpositions, density
// from a density matrix, matrix elements of a potential, and gradients of all of it.
//
// Arrays over the uniform grid have grid.uniform().size() entries, arrays over sphere points
// grid.n_sphere_points() (vectors: x, y, z per point). Spin-resolved quantities: one entry per
// spin.

#include <span>
#include <vector>

#include "mlh/grid/grid.hpp"
#include "mlh/xc/xc.hpp"

namespace mlh {

/// Of the products of orbitals on the points; sums over points beyond a few hundred are in double
/// precision always. Single: relative errors of a number per point of 1e-7, of matrix elements of
/// 1e-8.
enum class Precision { full, single };

/// One spin component of a density on all points.
struct Density {
  std::vector<double> uniform;
  std::vector<double> sphere;
  std::vector<Vec3> sphere_gradient;
};

/// Superposed neutral atoms.
struct NeutralFields {
  std::vector<double> density;                           ///< n_a on the uniform grid
  std::vector<double> potential;                         ///< V_na on the uniform grid
  std::vector<double> weight;                            ///< W = 1 - sum_I w on the uniform grid
  std::vector<double> sphere_density, sphere_potential;  ///< on the sphere points
  std::vector<Vec3> sphere_gradient;                     ///< grad n_a on the sphere points
  std::vector<double> sphere_weight;                     ///< omega_p w(r_p)
  Density core;  ///< partial core n_core on all points; empty where no species has one
};
NeutralFields neutral_fields(const Grid& grid);

/// n(r) = sum_p sum_ab D_p[a,b] phi_ia(r) phi_jb(r - R); `D` has pattern.nnz() entries.
Density density(const Grid& grid, std::span<const double> D, Precision precision = Precision::full);

/// One spin component of a potential, quadrature weights included: the energy changes by
/// sum_g uniform_g dn_g + sum_p (sphere_p dn_p + sphere_vector_p . d grad n_p).
struct Potential {
  std::vector<double> uniform;
  std::vector<double> sphere;
  std::vector<Vec3> sphere_vector;
};
/// H_ab = sum_g v phi_a phi_b + sum_p [v phi_a phi_b + g . grad(phi_a phi_b)], pattern.nnz()
/// entries.
std::vector<double> potential_matrix(const Grid& grid, const Potential& potential,
                                     Precision precision = Precision::full);

/// Exchange and correlation of n + n_core (1 or 2 spin components, which share the core equally);
/// `stencil`: of the gradient on the uniform grid.
struct ExchangeCorrelation {
  double energy = 0.0;
  std::vector<Potential> potential;    ///< per spin, weights included
  std::vector<double> energy_density;  ///< e_xc on the uniform grid, without weight
  Mat3 strain =
      Mat3::Zero();  ///< dE/deps through grad n = sum_d b_d D_d n alone: the metric of the stencil
};
ExchangeCorrelation exchange_correlation(const Grid& grid, const NeutralFields& neutral,
                                         Functional functional, const std::vector<Density>& density,
                                         Stencil stencil = Stencil::eighth);

/// First-order change of all of it (energy, potential with weights, energy density, strain) when
/// the density changes by `change`: d/dl of exchange_correlation at density + l change.
ExchangeCorrelation exchange_correlation_change(const Grid& grid, const NeutralFields& neutral,
                                                Functional functional,
                                                const std::vector<Density>& density,
                                                const std::vector<Density>& change,
                                                Stencil stencil = Stencil::eighth);

/// dE_xc/dn_core on the points: the mean of the potentials of the spins.
Potential core_potential(const ExchangeCorrelation& xc);

/// Superposed neutral atoms as a density: the input of the Harris Hamiltonian.
Density neutral_density(const NeutralFields& neutral);

/// V_na on the points with its quadrature weights, and `values` on the uniform grid times dv.
Potential neutral_potential(const Grid& grid, const NeutralFields& neutral);
Potential uniform_potential(const Grid& grid, std::span<const double> values);

/// a += b.
void add(Potential& a, const Potential& b);

/// int n V_na over all points for one density component.
double neutral_energy(const Grid& grid, const NeutralFields& neutral, const Density& density);

/// Gradient of sum_g v n + sum_p (v n + g . grad n) through the orbitals at fixed D (Pulay part of
/// one spin): they move with the atoms, the grid strains with the cell, the spheres ride with their
/// atoms and do not strain.
Gradient orbital_gradient(const Grid& grid, std::span<const double> D, const Potential& potential);

/// The sum over several matrices, each with its potential, in one pass over the orbitals; and the
/// densities of those that ask for it.
struct OrbitalTerm {
  std::span<const double> D;
  const Potential* potential = nullptr;
  bool with_density = false;
};
struct OrbitalGradient {
  Gradient gradient;
  std::vector<Density> density;  ///< one per term, empty where it was not asked for
};
OrbitalGradient orbital_gradient(const Grid& grid, std::span<const OrbitalTerm> terms,
                                 Precision precision = Precision::full);

/// Gradient through the spherical functions of the atoms, sum over all points of
/// a V_na + b n_a + c w  (uniform) and  sphere V_na (spheres, riding with their atom), and, where
/// given, of `core` over n_core and of `neutral` over n_a on all points.
struct SphericalCoefficients {
  std::span<const double> potential, density, weight;  ///< uniform grid: a, b, c
  std::span<const double> sphere_potential;
  const Potential* core = nullptr;
  const Potential* neutral = nullptr;
};
Gradient spherical_gradient(const Grid& grid, const SphericalCoefficients& coefficients);

}  // namespace mlh
