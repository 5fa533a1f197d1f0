#pragma once
// Everything the core knows about a chemical species: orbitals, projectors, neutral-atom functions.

#include <optional>
#include <string>
#include <vector>

#include "mlh/basis/radial.hpp"
#include "mlh/basis/wave_table.hpp"

namespace mlh {

/// Separable nonlocal potential |beta> E <beta| (sum over m), E in Hartree.
struct ProjectorData {
  RadialTable radial;
  double energy = 0.0;
};

/// Partition of unity around hard atoms: w(r) = erfc((r - center)/sigma)/2, 0 beyond radius (Bohr).
struct SphereData {
  double center = 0.0;
  double sigma = 0.0;
  double radius = 0.0;
};

struct SpeciesData {
  std::string symbol;
  double valence = 0.0;
  std::vector<RadialTable> orbitals;  ///< l ascending, zeta ascending within l
  std::vector<ProjectorData> projectors;
  RadialTable neutral_potential;  ///< V_na = V_loc + V_H[n_I], l = 0
  RadialTable density;            ///< n_I(r), integral 4 pi r^2 n dr = valence
  std::optional<RadialTable> core_density;
  std::optional<SphereData> sphere;
  std::optional<WaveTable> wave_table;

  int n_orbitals() const;
  double orbital_cutoff() const;    ///< largest orbital cutoff
  double projector_cutoff() const;  ///< largest projector cutoff, 0 without projectors
};

struct BasisData {
  std::vector<SpeciesData> species;
};

/// Throws std::invalid_argument naming what is wrong (order of shells, l > 3, empty tables).
void validate(const SpeciesData& species);

}  // namespace mlh
