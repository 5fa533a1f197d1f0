#include "mlh/basis/basis.hpp"

#include <algorithm>
#include <stdexcept>

namespace mlh {

int SpeciesData::n_orbitals() const {
  int n = 0;
  for (const auto& orbital : orbitals) n += 2 * orbital.l() + 1;
  return n;
}

double SpeciesData::orbital_cutoff() const {
  double cutoff = 0.0;
  for (const auto& orbital : orbitals) cutoff = std::max(cutoff, orbital.cutoff());
  return cutoff;
}

double SpeciesData::projector_cutoff() const {
  double cutoff = 0.0;
  for (const auto& projector : projectors) cutoff = std::max(cutoff, projector.radial.cutoff());
  return cutoff;
}

void validate(const SpeciesData& species) {
  const std::string where = "SpeciesData(" + species.symbol + "): ";
  if (species.orbitals.empty()) throw std::invalid_argument(where + "no orbitals");
  int last_l = 0;
  for (const auto& orbital : species.orbitals) {
    if (orbital.l() < last_l || orbital.l() > 3) {
      throw std::invalid_argument(
          where + "orbitals must have l ascending from 0 to at most 3, got l=" +
          std::to_string(orbital.l()) + " after l=" + std::to_string(last_l));
    }
    last_l = orbital.l();
  }
  for (const auto& projector : species.projectors) {
    if (projector.radial.l() > 3) {
      throw std::invalid_argument(where + "projectors must have l <= 3, got " +
                                  std::to_string(projector.radial.l()));
    }
  }
  if (species.neutral_potential.empty() || species.density.empty()) {
    throw std::invalid_argument(where + "neutral_potential and density must be given");
  }
  if (!(species.valence >= 0.0)) throw std::invalid_argument(where + "valence must be >= 0");
  for (const auto& orbital : species.orbitals) {
    if (orbital.step() != species.orbitals.front().step()) {
      throw std::invalid_argument(where + "orbitals must have one mesh step");
    }
  }
  if (species.wave_table) {
    const auto& [mesh, t] = *species.wave_table;
    const bool fits = mesh.size > 1 && mesh.step > 0.0 && mesh.start >= 0.0 &&
                      mesh.start < 0.5 * mesh.step && t.orbitals.rows() == mesh.size &&
                      t.projectors.rows() == mesh.size && t.density.size() == mesh.size &&
                      t.orbitals.cols() == std::ssize(species.orbitals) &&
                      t.projectors.cols() == std::ssize(species.projectors);
    if (!fits) {
      throw std::invalid_argument(where +
                                  "wave_table: expected one column per radial function and one row "
                                  "per wave number start + i * step, 0 <= start < step / 2");
    }
    if (!t.orbitals.allFinite() || !t.projectors.allFinite() || !t.density.allFinite()) {
      throw std::invalid_argument(where + "wave_table: value not finite");
    }
  }
  if (species.sphere && !(species.sphere->sigma > 0.0 && species.sphere->radius > 0.0)) {
    throw std::invalid_argument(where + "sphere: sigma and radius must be positive");
  }
}

}  // namespace mlh
