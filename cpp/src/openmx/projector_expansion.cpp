#include "mlh/openmx/projector_expansion.hpp"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <string>

#include "mlh/basis/harmonics.hpp"
#include "mlh/two_center/two_center.hpp"
#include "openmx/expansion_cluster.hpp"

namespace mlh {

namespace {

int functions(const std::vector<int>& shells) {
  int n = 0;
  for (const int l : shells) n += 2 * l + 1;
  return n;
}

void check(const ExpansionSpecies& s, Eigen::Index waves) {
  const auto fits = [waves](const Eigen::MatrixXd& m, std::size_t columns) {
    return m.rows() == waves && m.cols() == static_cast<Eigen::Index>(columns) && m.allFinite();
  };
  const bool good = s.cutoff > 0.0 && !s.orbital_l.empty() && !s.projector_l.empty() &&
                    fits(s.orbitals, s.orbital_l.size()) &&
                    fits(s.projectors, s.projector_l.size()) &&
                    s.energy.size() == s.projector_l.size() &&
                    fits(s.products, product_channels(s.orbital_l).size()) &&
                    s.potential.size() == waves && s.potential.allFinite();
  if (!good) {
    throw std::invalid_argument(
        "ExpansionSpecies: expected finite transforms with one row per wave number and one column "
        "per function");
  }
}

/// H_ab += G(l_a m_a, l_b m_b, L M) <V_K | R_a R_b Y_LM> for both orders of a and b.
std::vector<ProjectorExpansion::OnSiteTerm> on_site_terms(const std::vector<int>& shells) {
  std::vector<int> first(shells.size());
  int n_orbitals = 0;
  for (std::size_t a = 0; a < shells.size(); ++a) {
    first[a] = n_orbitals;
    n_orbitals += 2 * shells[a] + 1;
  }
  std::vector<ProjectorExpansion::OnSiteTerm> terms;
  int column = 0;
  for (const auto& [a, b, L] : product_channels(shells)) {
    for (const auto& g : gaunt_terms(shells[a], shells[b], L)) {
      const int row = first[a] + g.m1, col = first[b] + g.m2;
      terms.push_back({row * n_orbitals + col, column + g.m, g.value});
      if (a != b) terms.push_back({col * n_orbitals + row, column + g.m, g.value});
    }
    column += 2 * L + 1;
  }
  return terms;
}

ProjectorExpansion::Species summarise(const ExpansionSpecies& s) {
  ProjectorExpansion::Species out;
  out.cutoff = s.cutoff;
  out.n_orbitals = functions(s.orbital_l);
  out.n_projectors = functions(s.projector_l);
  for (const auto& channel : product_channels(s.orbital_l)) out.n_products += 2 * channel.L + 1;
  out.energy.resize(out.n_projectors);
  Eigen::Index at = 0;
  for (std::size_t p = 0; p < s.energy.size(); ++p) {
    for (int m = 0; m < 2 * s.projector_l[p] + 1; ++m) out.energy[at++] = s.energy[p];
  }
  out.on_site = on_site_terms(s.orbital_l);
  return out;
}

}  // namespace

std::vector<ProductChannel> product_channels(const std::vector<int>& orbital_l) {
  std::vector<ProductChannel> channels;
  for (std::size_t a = 0; a < orbital_l.size(); ++a) {
    for (std::size_t b = a; b < orbital_l.size(); ++b) {
      for (int L = std::abs(orbital_l[a] - orbital_l[b]); L <= orbital_l[a] + orbital_l[b];
           L += 2) {
        channels.push_back({a, b, L});
      }
    }
  }
  return channels;
}

ProjectorExpansion::ProjectorExpansion(const std::vector<ExpansionSpecies>& species,
                                       const WaveQuadrature& waves) {
  for (const auto& s : species) {
    check(s, waves.k.size());
    species_.push_back(summarise(s));
  }
  const std::size_t n = species.size();
  projector_.resize(n * n);
  on_site_.resize(n * n);
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic, 1)
  for (std::size_t ab = 0; ab < n * n; ++ab) {
    try {
      const ExpansionSpecies &a = species[ab / n], &b = species[ab % n];
      const auto set = [](const std::vector<int>& l, const Eigen::MatrixXd& t, double cutoff) {
        return ShellSet{l, &t, std::vector<double>(l.size(), cutoff)};
      };
      const ShellSet orbitals = set(a.orbital_l, a.orbitals, a.cutoff);
      const ShellSet projectors = set(b.projector_l, b.projectors, b.cutoff);
      projector_[ab] =
          PairTable(orbitals, projectors, waves, make_bessel_matrices(orbitals, projectors, waves),
                    PairOperator::overlap);
      // V(r) = sqrt(4 pi) V(r) Y_00.
      const Eigen::MatrixXd v = std::sqrt(4.0 * std::numbers::pi) * a.potential;
      std::vector<int> product_l;
      for (const auto& channel : product_channels(b.orbital_l)) product_l.push_back(channel.L);
      const ShellSet potential = set({0}, v, a.cutoff);
      const ShellSet products = set(product_l, b.products, b.cutoff);
      on_site_[ab] =
          PairTable(potential, products, waves, make_bessel_matrices(potential, products, waves),
                    PairOperator::overlap);
    } catch (...) {
#pragma omp critical
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

namespace {

void check_pattern(const ProjectorExpansion& tables, const Structure& structure,
                   const Pattern& pattern) {
  check_species(tables.n_species(), structure);
  bool fits = pattern.n_atoms() == structure.size();
  for (std::size_t i = 0; fits && i < structure.size(); ++i) {
    fits = pattern.n_orbitals[i] == tables.species(structure.species[i]).n_orbitals;
  }
  if (!fits) throw std::invalid_argument("pattern: expected that of the structure and basis");
}

double damping(const ProjectorExpansion& tables, const Structure& s, const Pattern& pattern,
               std::size_t p, double distance, std::size_t derivative) {
  const auto cutoff = [&](int atom) {
    return tables.species(s.species[static_cast<std::size_t>(atom)]).cutoff;
  };
  const double sum = cutoff(pattern.atom_i[p]) + cutoff(pattern.atom_j[p]);
  return nonlocal_damping(distance, sum)[derivative];
}

/// Atoms whose orbitals meet the potential of each atom; the same for the products.
std::vector<std::vector<Neighbour>> neighbours_of(const ProjectorExpansion& tables,
                                                  const Structure& structure) {
  std::vector<double> range;
  for (const int s : structure.species) range.push_back(tables.species(s).cutoff);
  return find_neighbours(structure, range, range);
}

void add_on_site(const ProjectorExpansion& tables, const Structure& structure,
                 const Pattern& pattern, const std::vector<std::vector<Neighbour>>& neighbours,
                 std::vector<double>& matrix) {
#pragma omp parallel for schedule(dynamic, 4)
  for (std::size_t i = 0; i < structure.size(); ++i) {
    const auto& own = tables.species(structure.species[i]);
    std::vector<double> block(static_cast<std::size_t>(own.n_products));
    std::vector<double> sum(block.size(), 0.0);
    for (const Neighbour& n : neighbours[i]) {
      const int k = structure.species[static_cast<std::size_t>(n.atom)];
      tables.on_site(k, structure.species[i]).block(-n.vector, block.data());
      for (std::size_t c = 0; c < sum.size(); ++c) sum[c] += block[c];
    }
    const auto p =
        static_cast<std::size_t>(pattern.find(static_cast<int>(i), static_cast<int>(i), {0, 0, 0}));
    double* out = matrix.data() + pattern.offset[p];
    for (const auto& t : own.on_site) {
      out[t.element] += t.coefficient * sum[static_cast<std::size_t>(t.column)];
    }
  }
}

}  // namespace

std::vector<double> expansion_matrix(const ProjectorExpansion& tables, const Structure& structure,
                                     const Pattern& pattern) {
  check_pattern(tables, structure, pattern);
  const auto neighbours = neighbours_of(tables, structure);
  std::vector<double> matrix(static_cast<std::size_t>(pattern.nnz()), 0.0);
  for (std::size_t K = 0; K < structure.size(); ++K) {
    detail::ExpansionCluster(tables, structure, static_cast<int>(K), neighbours[K])
        .add_matrix(pattern, matrix);
  }
#pragma omp parallel for schedule(dynamic, 64)
  for (std::size_t p = 0; p < pattern.n_pairs(); ++p) {
    const auto q = static_cast<std::size_t>(pattern.reverse[p]);
    if (p >= q) continue;
    const int rows = pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_i[p])];
    const int columns = pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_j[p])];
    const double distance = pair_vector(structure, pattern, p).norm();
    const double q_p = damping(tables, structure, pattern, p, distance, 0);
    double* block = matrix.data() + pattern.offset[p];
    double* reverse = matrix.data() + pattern.offset[q];
    for (int a = 0; a < rows; ++a) {
      for (int b = 0; b < columns; ++b) {
        block[a * columns + b] *= q_p;
        reverse[b * rows + a] = block[a * columns + b];
      }
    }
  }
  add_on_site(tables, structure, pattern, neighbours, matrix);
  return matrix;
}

namespace {

/// D_p + D_reverse^T times q of every off-site block; the self pair's is zero.
std::vector<double> damped_density(const ProjectorExpansion& tables, const Structure& structure,
                                   const Pattern& pattern, std::span<const double> D) {
  std::vector<double> out(D.size(), 0.0);
#pragma omp parallel for schedule(dynamic, 64)
  for (std::size_t p = 0; p < pattern.n_pairs(); ++p) {
    const auto q = static_cast<std::size_t>(pattern.reverse[p]);
    if (p == q) continue;
    const int rows = pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_i[p])];
    const int columns = pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_j[p])];
    const double distance = pair_vector(structure, pattern, p).norm();
    const double q_p = damping(tables, structure, pattern, p, distance, 0);
    const double* forward = D.data() + pattern.offset[p];
    const double* backward = D.data() + pattern.offset[q];
    double* block = out.data() + pattern.offset[p];
    for (int a = 0; a < rows; ++a) {
      for (int b = 0; b < columns; ++b) {
        block[a * columns + b] = q_p * (forward[a * columns + b] + backward[b * rows + a]);
      }
    }
  }
  return out;
}

/// Pair forces of dq/dr: (D . H) q'/q along the pair; in the order of the pattern.
void add_damping(const ProjectorExpansion& tables, const Structure& structure,
                 const Pattern& pattern, std::span<const double> D, std::span<const double> matrix,
                 double factor, Gradient& gradient) {
  for (std::size_t p = 0; p < pattern.n_pairs(); ++p) {
    if (p == static_cast<std::size_t>(pattern.reverse[p])) continue;
    const Vec3 r = pair_vector(structure, pattern, p);
    const double distance = r.norm(), slope = damping(tables, structure, pattern, p, distance, 1);
    const double q = damping(tables, structure, pattern, p, distance, 0);
    // Where q vanishes so does H, as the cube of the distance to the limit.
    if (slope == 0.0 || q < 1e-100) continue;
    double energy = 0.0;
    for (std::int64_t n = pattern.offset[p]; n < pattern.offset[p + 1]; ++n) {
      energy += D[static_cast<std::size_t>(n)] * matrix[static_cast<std::size_t>(n)];
    }
    const Vec3 f = factor * energy * slope / (q * distance) * r;
    accumulate(gradient, pattern.atom_i[p], pattern.atom_j[p], f, r);
  }
}

void add_on_site_gradient(const ProjectorExpansion& tables, const Structure& structure,
                          const Pattern& pattern,
                          const std::vector<std::vector<Neighbour>>& neighbours,
                          std::span<const double> D, Gradient& gradient) {
  std::vector<std::vector<Vec3>> force(structure.size());
#pragma omp parallel for schedule(dynamic, 4)
  for (std::size_t i = 0; i < structure.size(); ++i) {
    const auto& own = tables.species(structure.species[i]);
    const auto p =
        static_cast<std::size_t>(pattern.find(static_cast<int>(i), static_cast<int>(i), {0, 0, 0}));
    const double* block = D.data() + pattern.offset[p];
    std::vector<double> weight(static_cast<std::size_t>(own.n_products), 0.0);
    for (const auto& t : own.on_site) {
      weight[static_cast<std::size_t>(t.column)] += t.coefficient * block[t.element];
    }
    for (const Neighbour& n : neighbours[i]) {
      const int k = structure.species[static_cast<std::size_t>(n.atom)];
      // The table's R points from the potential to the orbitals: dE/d(n.vector) = -dE/dR.
      force[i].push_back(
          -tables.on_site(k, structure.species[i]).contract_gradient(-n.vector, weight.data()));
    }
  }
  for (std::size_t i = 0; i < structure.size(); ++i) {
    for (std::size_t n = 0; n < neighbours[i].size(); ++n) {
      accumulate(gradient, static_cast<int>(i), neighbours[i][n].atom, force[i][n],
                 neighbours[i][n].vector);
    }
  }
}

}  // namespace

Gradient expansion_gradient(const ProjectorExpansion& tables, const Structure& structure,
                            const Pattern& pattern, std::span<const double> D,
                            std::span<const double> matrix, double damping_slope) {
  check_pattern(tables, structure, pattern);
  check_matrix("D", D, pattern);
  check_matrix("matrix", matrix, pattern);
  const auto neighbours = neighbours_of(tables, structure);
  const std::vector<double> damped = damped_density(tables, structure, pattern, D);
  Gradient gradient{std::vector<Vec3>(structure.size(), Vec3::Zero()), Mat3::Zero()};
  for (std::size_t K = 0; K < structure.size(); ++K) {
    detail::ExpansionCluster(tables, structure, static_cast<int>(K), neighbours[K])
        .add_gradient(pattern, damped, gradient);
  }
  add_damping(tables, structure, pattern, D, matrix, damping_slope, gradient);
  add_on_site_gradient(tables, structure, pattern, neighbours, D, gradient);
  return gradient;
}

}  // namespace mlh
