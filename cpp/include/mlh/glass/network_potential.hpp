#pragma once
// Valence potentials of a fixed network of bonds: bond stretching, bond bending, and a repulsion
// that keeps atoms without a common bond apart. Any consistent units; mlh uses Hartree and Bohr.

#include <vector>

#include "mlh/glass/network.hpp"

namespace mlh {

/// harmonic (Tu, Tersoff, Grinstein, Vanderbilt, Phys. Rev. Lett. 81, 4899 (1998)):
///   E = sum_bonds 1/2 k (r - d)^2 + sum_angles 1/2 k' (cos t - c)^2
/// keating (Keating, Phys. Rev. 145, 637 (1966)):
///   E = sum_bonds 3/16 k/d^2 (r^2 - d^2)^2 + sum_angles 3/8 k'/(d1 d2) (r1.r2 - d1 d2 c)^2
/// both with repulsion
///   E = sum_pairs 1/2 k'' (r^2 - R^2)^2 for r < R, pairs neither bonded nor bonded to the same
///   atom.
enum class NetworkForm { harmonic, keating };

/// Flat tables over species: pairs [s t], angles [end center end], symmetric in the ends.
struct NetworkPotential {
  NetworkForm form = NetworkForm::harmonic;
  int n_species = 0;
  std::vector<double> bond_stiffness, bond_length;
  std::vector<double> angle_stiffness, angle_cosine;
  std::vector<double> repulsion_stiffness, repulsion_range;

  std::size_t pair(int s, int t) const { return static_cast<std::size_t>(s * n_species + t); }
  std::size_t angle(int s, int center, int t) const {
    return static_cast<std::size_t>((s * n_species + center) * n_species + t);
  }
  double largest_range() const;
};

/// Throws std::invalid_argument unless all tables have the size that n_species asks for.
void validate(const NetworkPotential& potential);

struct NonbondedPair {
  int i, j;
  Shift shift;
};

/// The terms that are summed: stretching (half of each bond) and bending at `centers`, repulsion of
/// `pairs`.
struct NetworkTerms {
  std::vector<int> centers;
  std::vector<NonbondedPair> pairs;
};

/// Pairs closer than the largest repulsion range plus `skin` that are neither bonded nor share a
/// neighbor. With `moving` (one flag per atom, empty: all) only pairs of which one atom moves.
std::vector<NonbondedPair> nonbonded_pairs(const Structure& structure, const Network& network,
                                           const NetworkPotential& potential, double skin,
                                           const std::vector<char>& moving);

/// Energy of `terms`; dE/dtau is written to `gradient` (one row per atom, zeroed first).
double network_energy(const Structure& structure, const Network& network,
                      const NetworkPotential& potential, const NetworkTerms& terms,
                      std::vector<Vec3>& gradient);

}  // namespace mlh
