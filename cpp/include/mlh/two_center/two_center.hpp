#pragma once
// Two-centre integrals: overlap, kinetic energy, projector overlaps, and what they share.

#include <array>
#include <span>
#include <vector>

#include "mlh/basis/basis.hpp"
#include "mlh/geometry/gradient.hpp"
#include "mlh/geometry/pattern.hpp"
#include "mlh/geometry/structure.hpp"
#include "mlh/two_center/pair_table.hpp"

namespace mlh {

/// Of a sum over pairs.
using PairGradient = Gradient;

/// Adds the pair forces f = dE/dr, r = tau_j + R - tau_i, to a gradient; always in the caller's
/// order, so that results do not depend on the number of threads.
void accumulate(PairGradient& gradient, int i, int j, const Vec3& f, const Vec3& r);

/// Pair term of the core repulsion of two species, Z_a Z_b/R - J_ab(R), as F(R)/R, F = Z_a Z_b - R
/// J.
struct CoreTable {
  DistanceTable function;
  double on_site = 0.0;  ///< J_ab(0); used for a = b
};

/// Core tables of all ordered pairs of species.
struct CoreTables {
  std::vector<CoreTable> pair;  ///< n_species^2, symmetric
  std::vector<double> cutoff;   ///< per species, Bohr: the pair term vanishes beyond the sum
  std::size_t n_species() const { return cutoff.size(); }
  const CoreTable& operator()(int a, int b) const {
    return pair[static_cast<std::size_t>(a) * n_species() + static_cast<std::size_t>(b)];
  }
};

/// What the two-centre terms need of one species.
struct TwoCenterSpecies {
  int n_orbitals = 0;
  double orbital_cutoff = 0.0;
  double projector_cutoff = 0.0;
  std::vector<double> projector_energy;  ///< one per projector and m
};

/// Tables of all species pairs; built once per basis and reused for every geometry. Immutable.
class TwoCenterTables {
 public:
  /// `wave_cutoff` (Bohr^-1) truncates the reciprocal sums; the default is converged for GTH
  /// oxygen.
  explicit TwoCenterTables(const BasisData& basis, double wave_cutoff = kWaveCutoff);

  std::size_t n_species() const { return species_.size(); }
  const TwoCenterSpecies& species(int a) const { return species_[static_cast<std::size_t>(a)]; }

  /// Tables for a <= b, rows belonging to species a.
  const PairTable& overlap(int a, int b) const { return overlap_[unordered(a, b)]; }
  const PairTable& kinetic(int a, int b) const { return kinetic_[unordered(a, b)]; }
  /// <orbitals of a | projectors of b>.
  const PairTable& projector(int a, int b) const {
    return projector_[static_cast<std::size_t>(a) * species_.size() + static_cast<std::size_t>(b)];
  }
  const CoreTables& core() const { return core_; }

 private:
  std::size_t unordered(int a, int b) const {
    const auto low = static_cast<std::size_t>(a < b ? a : b);
    const auto high = static_cast<std::size_t>(a < b ? b : a);
    return low * species_.size() + high;
  }

  std::vector<TwoCenterSpecies> species_;
  std::vector<PairTable> overlap_, kinetic_, projector_;  ///< n_species^2; only a <= b filled
  CoreTables core_;
};

/// S and T on every block of the pattern (nnz doubles).
std::vector<double> overlap_matrix(const TwoCenterTables& tables, const Structure& structure,
                                   const Pattern& pattern);
std::vector<double> kinetic_matrix(const TwoCenterTables& tables, const Structure& structure,
                                   const Pattern& pattern);

/// Gradient of sum_p sum_ab W_p[ab] S_p[ab] (T_p[ab]) at fixed W; W need not be symmetric.
PairGradient overlap_gradient(const TwoCenterTables& tables, const Structure& structure,
                              const Pattern& pattern, std::span<const double> W);
PairGradient kinetic_gradient(const TwoCenterTables& tables, const Structure& structure,
                              const Pattern& pattern, std::span<const double> W);

/// Throws std::invalid_argument unless every atom has one of n_species species.
void check_species(std::size_t n_species, const Structure& structure);

/// Throws std::invalid_argument unless structure, pattern and tables belong together (and, when
/// given, the matrix has nnz elements).
void check_consistent(const TwoCenterTables& tables, const Structure& structure);
void check_consistent(const TwoCenterTables& tables, const Structure& structure,
                      const Pattern& pattern);
void check_matrix(const char* name, std::span<const double> matrix, const Pattern& pattern);

/// tau_j + R - tau_i of pair p.
Vec3 pair_vector(const Structure& structure, const Pattern& pattern, std::size_t p);

}  // namespace mlh
