#pragma once
// Core repulsion of neutral atoms:
//
//   E_scc = 1/2 sum'_{I, J+R} [Z_I Z_J/d - J_IJ(d)] - 1/2 sum_I J_II(0),
//   J_IJ(d) = int int n_I(r) n_J(r' - d)/|r - r'| = 32 pi int_0^inf n_I(k) n_J(k) j_0(kd) dk,
//
// n(k) = int j_0(kr) n(r) r^2 dr. The pair term is exactly zero beyond the sum of the density
// cutoffs (design.md section 2); what is tabulated is F(d) = Z_I Z_J - d J_IJ(d), regular
// everywhere.

#include "mlh/two_center/two_center.hpp"

namespace mlh {

/// Table of one pair of species. Throws when a density does not integrate to its valence (1e-4
/// relative).
CoreTable make_core_table(const SpeciesData& a, const SpeciesTransforms& ta, const SpeciesData& b,
                          const SpeciesTransforms& tb, const WaveMesh& mesh);

struct CoreRepulsion {
  double energy = 0.0;  ///< Hartree
  PairGradient gradient;
};

CoreRepulsion core_repulsion(const CoreTables& tables, const Structure& structure);

}  // namespace mlh
