#pragma once
// Relaxation of the atoms of a network by L-BFGS, given up early where it cannot end low enough.

#include <limits>
#include <vector>

#include "mlh/glass/network_potential.hpp"

namespace mlh {

struct RelaxationSettings {
  double force_tolerance = 1e-4;  ///< largest force component at the end
  int max_steps = 1000;           ///< steps of the minimiser
  double max_displacement = 0.4;  ///< of one atom in one step
  double skin = 0.8;              ///< of the list of nonbonded pairs
};

/// When a relaxation may be given up. In a harmonic well E - E_min <= |F|^2 / (2 lambda), lambda
/// the smallest curvature that still matters: E - factor |F|^2 > energy says that the end lies
/// above `energy` (Barkema, Mousseau, Phys. Rev. B 62, 4985 (2000), where it is called c_f).
struct GiveUp {
  double energy = std::numeric_limits<double>::infinity();
  double factor = 0.0;
  int first_step = 5;  ///< before it the atoms are far from harmonic
};

struct RelaxationResult {
  double energy = 0.0;
  double largest_force = 0.0;
  int steps = 0;
  bool converged = false;
  bool given_up = false;
};

/// Moves `atoms` (indices; others stay) of `structure` downhill in the energy of all terms that
/// contain one of them; the energy returned is that of these terms (of everything when `atoms` are
/// all).
RelaxationResult relax_network(Structure& structure, const Network& network,
                               const NetworkPotential& potential, const std::vector<int>& atoms,
                               const RelaxationSettings& settings, int max_steps,
                               const GiveUp& give_up);

/// Energy of all terms that contain one of `atoms`, each bond whole where both its ends are
/// centers.
double energy_around(const Structure& structure, const Network& network,
                     const NetworkPotential& potential, const std::vector<int>& atoms,
                     const std::vector<int>& centers, std::vector<Vec3>& gradient);

/// `atoms` and their neighbors, ascending: the centers of all terms that contain one of `atoms`.
std::vector<int> centers_around(const Network& network, const std::vector<int>& atoms);

}  // namespace mlh
