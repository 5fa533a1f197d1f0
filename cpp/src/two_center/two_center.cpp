#include "mlh/two_center/two_center.hpp"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <string>

#include "mlh/basis/bessel.hpp"
#include "mlh/two_center/core_repulsion.hpp"

namespace mlh {

namespace {

ShellSet orbital_shells(const SpeciesData& s, const SpeciesTransforms& t) {
  ShellSet set{{}, &t.orbitals, {}};
  for (const auto& orbital : s.orbitals) {
    set.l.push_back(orbital.l());
    set.cutoff.push_back(orbital.cutoff());
  }
  return set;
}

ShellSet projector_shells(const SpeciesData& s, const SpeciesTransforms& t) {
  ShellSet set{{}, &t.projectors, {}};
  for (const auto& projector : s.projectors) {
    set.l.push_back(projector.radial.l());
    set.cutoff.push_back(projector.radial.cutoff());
  }
  return set;
}

TwoCenterSpecies summarise(const SpeciesData& s) {
  TwoCenterSpecies result;
  result.n_orbitals = s.n_orbitals();
  result.orbital_cutoff = s.orbital_cutoff();
  result.projector_cutoff = s.projector_cutoff();
  for (const auto& projector : s.projectors) {
    result.projector_energy.insert(result.projector_energy.end(),
                                   static_cast<std::size_t>(2 * projector.radial.l() + 1),
                                   projector.energy);
  }
  return result;
}

}  // namespace

TwoCenterTables::TwoCenterTables(const BasisData& basis, double wave_cutoff) {
  if (basis.species.empty()) throw std::invalid_argument("TwoCenterTables: basis has no species");
  for (const auto& s : basis.species) {
    validate(s);
    species_.push_back(summarise(s));
  }
  const BasisTransforms transforms = make_transforms(basis, wave_cutoff);
  const WaveQuadrature waves = quadrature(transforms.mesh);
  const std::size_t n = basis.species.size();
  overlap_.resize(n * n);
  kinetic_.resize(n * n);
  projector_.resize(n * n);
  core_.pair.resize(n * n);
  for (const auto& s : basis.species) core_.cutoff.push_back(s.density.cutoff());
  std::exception_ptr failure;
  // Independent tables: one writer each, a thrown exception is carried out of the parallel region.
#pragma omp parallel for schedule(dynamic, 1)
  for (std::size_t ab = 0; ab < n * n; ++ab) {
    try {
      const std::size_t a = ab / n, b = ab % n;
      const auto& ta = transforms.species[a];
      const auto& tb = transforms.species[b];
      const ShellSet rows = orbital_shells(basis.species[a], ta);
      const ShellSet beta = projector_shells(basis.species[b], tb);
      projector_[ab] = PairTable(rows, beta, waves, make_bessel_matrices(rows, beta, waves),
                                 PairOperator::overlap);
      if (a > b) continue;
      const ShellSet columns = orbital_shells(basis.species[b], tb);
      const BesselMatrices bessel = make_bessel_matrices(rows, columns, waves);
      overlap_[ab] = PairTable(rows, columns, waves, bessel, PairOperator::overlap);
      kinetic_[ab] = PairTable(rows, columns, waves, bessel, PairOperator::kinetic);
      core_.pair[ab] = core_.pair[b * n + a] =
          make_core_table(basis.species[a], ta, basis.species[b], tb, transforms.mesh);
    } catch (...) {
#pragma omp critical
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

void accumulate(PairGradient& gradient, int i, int j, const Vec3& f, const Vec3& r) {
  gradient.atoms[static_cast<std::size_t>(j)] += f;
  gradient.atoms[static_cast<std::size_t>(i)] -= f;
  const Mat3 outer = f * r.transpose();
  gradient.strain += 0.5 * (outer + outer.transpose());
}

Vec3 pair_vector(const Structure& structure, const Pattern& pattern, std::size_t p) {
  const auto& R = pattern.cell[p];
  return structure.positions[static_cast<std::size_t>(pattern.atom_j[p])] +
         structure.translation(R[0], R[1], R[2]) -
         structure.positions[static_cast<std::size_t>(pattern.atom_i[p])];
}

void check_species(std::size_t n_species, const Structure& structure) {
  if (structure.species.size() != structure.size()) {
    throw std::invalid_argument("structure: expected one species index per atom (" +
                                std::to_string(structure.size()) + "), got " +
                                std::to_string(structure.species.size()));
  }
  for (const int s : structure.species) {
    if (s < 0 || s >= static_cast<int>(n_species)) {
      throw std::invalid_argument("structure: expected species below " + std::to_string(n_species) +
                                  ", got " + std::to_string(s));
    }
  }
}

void check_consistent(const TwoCenterTables& tables, const Structure& structure) {
  check_species(tables.n_species(), structure);
}

void check_consistent(const TwoCenterTables& tables, const Structure& structure,
                      const Pattern& pattern) {
  check_consistent(tables, structure);
  if (pattern.n_atoms() != structure.size()) {
    throw std::invalid_argument("pattern: expected " + std::to_string(structure.size()) +
                                " atoms, got " + std::to_string(pattern.n_atoms()));
  }
  for (std::size_t i = 0; i < structure.size(); ++i) {
    const int expected = tables.species(structure.species[i]).n_orbitals;
    if (pattern.n_orbitals[i] != expected) {
      throw std::invalid_argument("pattern: atom " + std::to_string(i) + " expected " +
                                  std::to_string(expected) + " orbitals, got " +
                                  std::to_string(pattern.n_orbitals[i]));
    }
  }
}

void check_matrix(const char* name, std::span<const double> matrix, const Pattern& pattern) {
  if (static_cast<std::int64_t>(matrix.size()) != pattern.nnz()) {
    throw std::invalid_argument(std::string(name) + ": expected " + std::to_string(pattern.nnz()) +
                                " elements, got " + std::to_string(matrix.size()));
  }
}

namespace {

/// The direction of a pair that is computed: by species, then by index. The other is its transpose.
bool is_canonical(const Structure& s, const Pattern& pattern, std::size_t p) {
  const int a = s.species[static_cast<std::size_t>(pattern.atom_i[p])];
  const int b = s.species[static_cast<std::size_t>(pattern.atom_j[p])];
  return a != b ? a < b : static_cast<int>(p) <= pattern.reverse[p];
}

/// Calls table(a, b) -> const PairTable&.
template <class Table>
std::vector<double> assemble(const TwoCenterTables& tables, const Structure& structure,
                             const Pattern& pattern, Table&& table) {
  check_consistent(tables, structure, pattern);
  std::vector<double> matrix(static_cast<std::size_t>(pattern.nnz()));
  // Whoever computes the canonical pair writes both directions: one writer per block.
#pragma omp parallel for schedule(dynamic, 64)
  for (std::size_t p = 0; p < pattern.n_pairs(); ++p) {
    if (!is_canonical(structure, pattern, p)) continue;
    const auto i = static_cast<std::size_t>(pattern.atom_i[p]);
    const auto j = static_cast<std::size_t>(pattern.atom_j[p]);
    const auto q = static_cast<std::size_t>(pattern.reverse[p]);
    double* block = matrix.data() + pattern.offset[p];
    table(structure.species[i], structure.species[j])
        .block(pair_vector(structure, pattern, p), block);
    if (p == q) continue;
    double* reverse = matrix.data() + pattern.offset[q];
    const int rows = pattern.n_orbitals[i], columns = pattern.n_orbitals[j];
    for (int a = 0; a < rows; ++a) {
      for (int b = 0; b < columns; ++b) reverse[b * rows + a] = block[a * columns + b];
    }
  }
  return matrix;
}

template <class Table>
PairGradient contract(const TwoCenterTables& tables, const Structure& structure,
                      const Pattern& pattern, std::span<const double> W, Table&& table) {
  check_consistent(tables, structure, pattern);
  check_matrix("W", W, pattern);
  std::vector<Vec3> force(pattern.n_pairs(), Vec3::Zero());
#pragma omp parallel
  {
    std::vector<double> weight;
#pragma omp for schedule(dynamic, 64)
    for (std::size_t p = 0; p < pattern.n_pairs(); ++p) {
      const auto q = static_cast<std::size_t>(pattern.reverse[p]);
      if (p == q || !is_canonical(structure, pattern, p)) continue;
      const auto i = static_cast<std::size_t>(pattern.atom_i[p]);
      const auto j = static_cast<std::size_t>(pattern.atom_j[p]);
      const int rows = pattern.n_orbitals[i], columns = pattern.n_orbitals[j];
      weight.resize(static_cast<std::size_t>(rows * columns));
      const double* forward = W.data() + pattern.offset[p];
      const double* backward = W.data() + pattern.offset[q];
      for (int a = 0; a < rows; ++a) {
        for (int b = 0; b < columns; ++b) {
          weight[static_cast<std::size_t>(a * columns + b)] =
              forward[a * columns + b] + backward[b * rows + a];
        }
      }
      force[p] = table(structure.species[i], structure.species[j])
                     .contract_gradient(pair_vector(structure, pattern, p), weight.data());
    }
  }
  PairGradient gradient{std::vector<Vec3>(structure.size(), Vec3::Zero()), Mat3::Zero()};
  for (std::size_t p = 0; p < pattern.n_pairs(); ++p) {
    accumulate(gradient, pattern.atom_i[p], pattern.atom_j[p], force[p],
               pair_vector(structure, pattern, p));
  }
  return gradient;
}

}  // namespace

std::vector<double> overlap_matrix(const TwoCenterTables& tables, const Structure& structure,
                                   const Pattern& pattern) {
  return assemble(tables, structure, pattern,
                  [&](int a, int b) -> const PairTable& { return tables.overlap(a, b); });
}

std::vector<double> kinetic_matrix(const TwoCenterTables& tables, const Structure& structure,
                                   const Pattern& pattern) {
  return assemble(tables, structure, pattern,
                  [&](int a, int b) -> const PairTable& { return tables.kinetic(a, b); });
}

PairGradient overlap_gradient(const TwoCenterTables& tables, const Structure& structure,
                              const Pattern& pattern, std::span<const double> W) {
  return contract(tables, structure, pattern, W,
                  [&](int a, int b) -> const PairTable& { return tables.overlap(a, b); });
}

PairGradient kinetic_gradient(const TwoCenterTables& tables, const Structure& structure,
                              const Pattern& pattern, std::span<const double> W) {
  return contract(tables, structure, pattern, W,
                  [&](int a, int b) -> const PairTable& { return tables.kinetic(a, b); });
}

}  // namespace mlh
