#pragma once
// Bond-switching Monte Carlo (Wooten, Winer, Weaire, Phys. Rev. Lett. 54, 1392 (1985)): walks from
// one relaxed network to the next by bond transpositions, with early rejection (Barkema, Mousseau,
// Phys. Rev. B 62, 4985 (2000)).

#include <cstdint>
#include <span>
#include <vector>

#include "mlh/glass/network_relaxation.hpp"

namespace mlh {

struct SwitchingSettings {
  RelaxationSettings relaxation;
  double give_up_factor = 0.0;  ///< see GiveUp
  int local_shells = 5;  ///< bonds from the four switched atoms to the end of the local region
  int local_steps = 10;  ///< minimiser steps of the local relaxation
  double penalty_three = 0.0;  ///< energy of every ring of three formers
  double penalty_four = 0.0;   ///< energy of every ring of four formers
  int volume_interval = 0;     ///< every so many moves the volume is tried instead; 0: fixed cell
  double volume_step = 0.0;    ///< largest change of ln V
  double pressure = 0.0;
};

/// Everything a run is made of: from the same state the same moves follow, bit for bit.
struct SwitchingState {
  Structure structure;
  Network network;
  Random random;
  double energy = 0.0;     ///< of the potential, without penalties
  std::int64_t moves = 0;  ///< moves tried
  std::int64_t accepted = 0;
  std::int64_t forbidden = 0;    ///< drawn, but not allowed by the network
  std::int64_t given_up = 0;     ///< rejected before the relaxation had ended
  std::int64_t unconverged = 0;  ///< relaxations that ran into max_steps
};

/// Relaxes the starting structure (which must be a valid network) and sets its energy.
void start(SwitchingState& state, const NetworkPotential& potential,
           const SwitchingSettings& settings);

/// One move for each entry of `thermal_energies` (k_B T). `energies` and `accepted` have the same
/// length: the energy after each move, and whether it was accepted.
void run(SwitchingState& state, const NetworkPotential& potential,
         const SwitchingSettings& settings, std::span<const double> thermal_energies,
         std::span<double> energies, std::span<std::uint8_t> accepted);

}  // namespace mlh
