#pragma once
// The reference functional of OpenMX: the local density approximation in the parametrisation of
// Perdew and Zunger (PRB 23, 5048 (1981)), unpolarised, and its integral over superposed atomic
// densities on fine atom-centred meshes,
//
//   E_0 = sum_I int rho_I eps(rho),   rho = sum_J rho_J .
//
// No partition function: rho_I is the partition. The mesh rides with its atom.

#include <array>
#include <span>
#include <vector>

#include "mlh/geometry/gradient.hpp"
#include "mlh/grid/quadrature.hpp"
#include "mlh/openmx/log_table.hpp"

namespace mlh {

/// {eps, d eps/dn} of the density n, Hartree; zeros up to 1e-15 electrons/Bohr^3.
std::array<double, 2> perdew_zunger(double n);

/// Mesh and density of one species. Atoms within the sum of their cutoffs (Bohr) see each other, at
/// any distance: beyond its last node a table that holds its last value adds a little (OpenMX: 4e-8
/// Hartree per silicon atom). Radial weights without r^2 and 4 pi.
struct FineSpecies {
  LogTable density;
  double cutoff;
  std::vector<std::array<double, 2>> radii;
};

struct FineEnergy {
  double energy = 0.0;
  Gradient gradient;
};

/// E_0 and its gradient; `directions` with weights that sum to 1.
FineEnergy fine_reference_energy(const std::vector<FineSpecies>& species,
                                 std::span<const WeightedPoint> directions,
                                 const Structure& structure);

}  // namespace mlh
