#pragma once
// A sum of atomic potentials V_K, between orbitals of different atoms expanded in projectors (Ozaki
// and Kino, PRB 72, 045121 (2005)) and exact within an atom:
//
//   H_ij(R) = q(|r_ij|) sum_K sum_p <phi_i|V chi_Kp> E_p <chi_Kp V|phi_j>,   (i, 0) != (j, R)
//   H_ii(0) = sum_K <phi_i phi_i | V_K>,
//
// K over the atoms and images within reach of both i and j, the two themselves included; q as in
// nonlocal.hpp.

#include <span>
#include <vector>

#include "mlh/geometry/gradient.hpp"
#include "mlh/geometry/pattern.hpp"
#include "mlh/two_center/pair_table.hpp"

namespace mlh {

/// Bessel transforms int j_l(kr) f(r) r^2 dr of the functions of one species, rows are k.
struct ExpansionSpecies {
  double cutoff = 0.0;           ///< Bohr: of all its functions
  std::vector<int> orbital_l;    ///< per shell
  Eigen::MatrixXd orbitals;      ///< k x shells
  std::vector<int> projector_l;  ///< per radial projector
  Eigen::MatrixXd projectors;    ///< V chi; k x radial projectors
  std::vector<double> energy;    ///< per radial projector, Hartree
  Eigen::MatrixXd products;      ///< R_a R_b; k x `product_channels(orbital_l)`
  Eigen::VectorXd potential;     ///< V(r)
};

/// One radial product R_a R_b seen with angular momentum L.
struct ProductChannel {
  std::size_t a, b;
  int L;
};
/// Shells a <= b, for each |l_a - l_b| <= L <= l_a + l_b in steps of 2.
std::vector<ProductChannel> product_channels(const std::vector<int>& orbital_l);

/// Tables of all pairs of species; built once per basis. Immutable.
class ProjectorExpansion {
 public:
  /// Throws std::invalid_argument when the arrays do not fit together.
  ProjectorExpansion(const std::vector<ExpansionSpecies>& species, const WaveQuadrature& waves);

  /// One term of H_ii: coefficient times an entry of <V_K | products of i>.
  struct OnSiteTerm {
    int element, column;
    double coefficient;
  };
  struct Species {
    double cutoff = 0.0;
    int n_orbitals = 0, n_projectors = 0, n_products = 0;
    Eigen::VectorXd energy;  ///< one per projector and m
    std::vector<OnSiteTerm> on_site;
  };

  std::size_t n_species() const { return species_.size(); }
  const Species& species(int a) const { return species_[static_cast<std::size_t>(a)]; }
  /// <orbitals of a | projectors of b>.
  const PairTable& projector(int a, int b) const { return projector_[index(a, b)]; }
  /// <potential of a | products of b>, one row.
  const PairTable& on_site(int a, int b) const { return on_site_[index(a, b)]; }

 private:
  std::size_t index(int a, int b) const {
    return static_cast<std::size_t>(a) * species_.size() + static_cast<std::size_t>(b);
  }
  std::vector<Species> species_;
  std::vector<PairTable> projector_, on_site_;
};

/// H on every block of the pattern (nnz doubles).
std::vector<double> expansion_matrix(const ProjectorExpansion& tables, const Structure& structure,
                                     const Pattern& pattern);

/// Gradient of sum_p sum_ab D_p[ab] H_p[ab] at fixed D; `matrix` is `expansion_matrix`.
/// `damping_slope` as in nonlocal_gradient.
Gradient expansion_gradient(const ProjectorExpansion& tables, const Structure& structure,
                            const Pattern& pattern, std::span<const double> D,
                            std::span<const double> matrix, double damping_slope = 1.0);

}  // namespace mlh
