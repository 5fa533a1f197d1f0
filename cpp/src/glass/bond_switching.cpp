#include "mlh/glass/bond_switching.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mlh {

namespace {

std::size_t idx(int i) { return static_cast<std::size_t>(i); }

std::vector<int> all_atoms(const Structure& structure) {
  std::vector<int> atoms(structure.size());
  std::iota(atoms.begin(), atoms.end(), 0);
  return atoms;
}

/// Atoms at most `shells` bonds from the atoms of the move, ascending.
std::vector<int> region(const Network& network, const Transposition& move, int shells) {
  std::vector<int> atoms = {move.i, move.j, move.a, move.b};
  for (int shell = 0; shell < shells && atoms.size() < network.size(); ++shell) {
    atoms = centers_around(network, atoms);
  }
  std::sort(atoms.begin(), atoms.end());
  return atoms;
}

double penalty(const Network& network, const SwitchingSettings& settings) {
  if (settings.penalty_three == 0.0 && settings.penalty_four == 0.0) return 0.0;
  const SmallRings rings = count_small_rings(network);
  return rings.three * settings.penalty_three + rings.four * settings.penalty_four;
}

/// Relaxes everything and decides: true and the new energy where it ends at or below `threshold`.
bool relax_all(SwitchingState& state, const Network& network, const NetworkPotential& potential,
               const SwitchingSettings& settings, double threshold) {
  const GiveUp limit{threshold, settings.give_up_factor};
  const RelaxationResult result =
      relax_network(state.structure, network, potential, all_atoms(state.structure),
                    settings.relaxation, settings.relaxation.max_steps, limit);
  if (result.given_up) ++state.given_up;
  if (!result.given_up && !result.converged) ++state.unconverged;
  if (result.given_up || result.energy > threshold) return false;
  state.energy = result.energy;
  return true;
}

/// Relaxes the atoms around the move for a few steps; false where the move cannot be accepted.
bool relax_region(SwitchingState& state, const Network& switched, const Transposition& move,
                  const NetworkPotential& potential, const SwitchingSettings& settings,
                  double threshold) {
  const std::vector<int> atoms = region(switched, move, settings.local_shells);
  if (2 * atoms.size() > state.structure.size()) return true;  // nearly everything: no cheaper
  std::vector<Vec3> gradient;
  const double before = energy_around(state.structure, state.network, potential, atoms,
                                      centers_around(switched, atoms), gradient);
  const GiveUp limit{before + threshold - state.energy, settings.give_up_factor};
  const RelaxationResult result = relax_network(state.structure, switched, potential, atoms,
                                                settings.relaxation, settings.local_steps, limit);
  if (result.given_up) ++state.given_up;
  return !result.given_up;
}

bool try_switch(SwitchingState& state, const NetworkPotential& potential,
                const SwitchingSettings& settings, const std::vector<int>& formers,
                double thermal_energy) {
  const auto move = draw_transposition(state.network, formers, state.random);
  if (!move) {
    ++state.forbidden;
    return false;
  }
  Network switched = state.network;
  apply(*move, switched);
  // Metropolis' decision is drawn before the relaxation, which may then stop early.
  const double threshold = state.energy - thermal_energy * std::log(state.random.uniform()) -
                           (penalty(switched, settings) - penalty(state.network, settings));
  const std::vector<Vec3> before = state.structure.positions;
  if (relax_region(state, switched, *move, potential, settings, threshold) &&
      relax_all(state, switched, potential, settings, threshold)) {
    state.network = std::move(switched);
    return true;
  }
  state.structure.positions = before;
  return false;
}

/// Isotropic change of the volume at constant pressure; the atoms follow the cell and are relaxed.
bool try_volume(SwitchingState& state, const NetworkPotential& potential,
                const SwitchingSettings& settings, double thermal_energy) {
  const double change = settings.volume_step * (2.0 * state.random.uniform() - 1.0);
  const double volume = state.structure.volume();
  const double threshold = state.energy - thermal_energy * std::log(state.random.uniform()) -
                           settings.pressure * volume * std::expm1(change);
  const Structure before = state.structure;
  const double factor = std::exp(change / 3.0);
  state.structure.cell *= factor;
  for (Vec3& position : state.structure.positions) position *= factor;
  if (relax_all(state, state.network, potential, settings, threshold)) return true;
  state.structure = before;
  return false;
}

}  // namespace

void start(SwitchingState& state, const NetworkPotential& potential,
           const SwitchingSettings& settings) {
  const RelaxationResult result =
      relax_network(state.structure, state.network, potential, all_atoms(state.structure),
                    settings.relaxation, settings.relaxation.max_steps, GiveUp{});
  state.energy = result.energy;
}

void run(SwitchingState& state, const NetworkPotential& potential,
         const SwitchingSettings& settings, std::span<const double> thermal_energies,
         std::span<double> energies, std::span<std::uint8_t> accepted) {
  std::vector<int> formers;
  for (int i = 0; i < static_cast<int>(state.network.size()); ++i) {
    if (state.network.is_former[idx(i)]) formers.push_back(i);
  }
  for (std::size_t k = 0; k < thermal_energies.size(); ++k) {
    ++state.moves;
    const bool volume = settings.volume_interval > 0 && state.moves % settings.volume_interval == 0;
    const bool success = volume
                             ? try_volume(state, potential, settings, thermal_energies[k])
                             : try_switch(state, potential, settings, formers, thermal_energies[k]);
    state.accepted += success;
    accepted[k] = success;
    energies[k] = state.energy;
  }
}

}  // namespace mlh
