#include "mlh/two_center/nonlocal.hpp"

#include <algorithm>

namespace mlh {

std::array<double, 2> nonlocal_damping(double distance, double cutoff_sum) {
  const double t = cutoff_sum - distance;
  if (t >= 1.0) return {1.0, 0.0};
  if (t <= 0.0) return {0.0, 0.0};
  return {t * t * t * (10.0 - 15.0 * t + 6.0 * t * t), -30.0 * t * t * (1.0 - t) * (1.0 - t)};
}

namespace {

/// B_iK of one orbital atom i (home cell) and one projector centre K (cell R), stored by projector:
/// b[k * n_i + a] = <phi_a | beta_k>.
struct Projection {
  int orbital_atom;
  int centre;
  Cell cell;  ///< of the centre, seen from the orbital atom
  Vec3 vector;
  std::size_t offset;
};

struct Projections {
  std::vector<std::vector<Projection>> of_atom;    ///< by orbital atom, sorted by (K, R)
  std::vector<std::vector<Projection>> of_centre;  ///< the same by centre
  std::vector<std::size_t> start;  ///< n_atoms + 1: where the blocks of atom i begin
  std::vector<double> b;
};

/// out[k * n_i + a] from the table's row-major block.
void evaluate_projection(const PairTable& table, const Vec3& r, std::vector<double>& scratch,
                         double* out) {
  scratch.resize(static_cast<std::size_t>(table.rows() * table.columns()));
  table.block(r, scratch.data());
  for (int a = 0; a < table.rows(); ++a) {
    for (int k = 0; k < table.columns(); ++k) {
      out[k * table.rows() + a] = scratch[static_cast<std::size_t>(a * table.columns() + k)];
    }
  }
}

Projections make_projections(const TwoCenterTables& tables, const Structure& structure) {
  const std::size_t n_atoms = structure.size();
  std::vector<double> orbital_range, projector_range;
  for (const int s : structure.species) {
    orbital_range.push_back(tables.species(s).orbital_cutoff);
    projector_range.push_back(tables.species(s).projector_cutoff);
  }
  const auto neighbours = find_neighbours(structure, orbital_range, projector_range);
  Projections result;
  result.of_atom.resize(n_atoms);
  result.of_centre.resize(n_atoms);
  result.start.push_back(0);
  std::size_t offset = 0;
  for (std::size_t i = 0; i < n_atoms; ++i) {
    for (const auto& n : neighbours[i]) {
      const auto centre = static_cast<std::size_t>(n.atom);
      const auto n_projectors = tables.species(structure.species[centre]).projector_energy.size();
      if (n_projectors == 0) continue;
      const Projection p{static_cast<int>(i), n.atom, n.cell, n.vector, offset};
      result.of_atom[i].push_back(p);
      result.of_centre[centre].push_back(p);
      offset +=
          n_projectors * static_cast<std::size_t>(tables.species(structure.species[i]).n_orbitals);
    }
    result.start.push_back(offset);
  }
  result.b.resize(offset);
#pragma omp parallel
  {
    std::vector<double> scratch;
#pragma omp for schedule(dynamic, 4)
    for (std::size_t i = 0; i < n_atoms; ++i) {
      for (const auto& p : result.of_atom[i]) {
        const auto& table = tables.projector(structure.species[i],
                                             structure.species[static_cast<std::size_t>(p.centre)]);
        evaluate_projection(table, p.vector, scratch, result.b.data() + p.offset);
      }
    }
  }
  return result;
}

/// Calls visit(pair, Projection of i, Projection of j) for every centre that i shares with a stored
/// pair.
template <class Visit>
void for_shared_centres(const Pattern& pattern, const Projections& projections, std::size_t i,
                        Visit&& visit) {
  for (const auto& left : projections.of_atom[i]) {
    for (const auto& right : projections.of_centre[static_cast<std::size_t>(left.centre)]) {
      Cell R;
      for (std::size_t d = 0; d < 3; ++d) R[d] = left.cell[d] - right.cell[d];
      const int p = pattern.find(static_cast<int>(i), right.orbital_atom, R);
      if (p >= 0) visit(static_cast<std::size_t>(p), left, right);
    }
  }
}

double damping_of(const TwoCenterTables& tables, const Structure& s, const Pattern& pattern,
                  std::size_t p, double distance, int derivative) {
  const auto i = static_cast<std::size_t>(pattern.atom_i[p]);
  const auto j = static_cast<std::size_t>(pattern.atom_j[p]);
  const double sum =
      tables.species(s.species[i]).orbital_cutoff + tables.species(s.species[j]).orbital_cutoff;
  return nonlocal_damping(distance, sum)[static_cast<std::size_t>(derivative)];
}

/// block[a, b] += sum_k left[k, a] energy[k] right[k, b].
void add_product(const std::vector<double>& energy, const double* left, int rows,
                 const double* right, int columns, double* block) {
  for (const double e : energy) {
    for (int a = 0; a < rows; ++a) {
      const double scaled = e * left[a];
      double* out = block + a * columns;
      for (int b = 0; b < columns; ++b) out[b] += scaled * right[b];
    }
    left += rows;
    right += columns;
  }
}

}  // namespace

std::vector<double> nonlocal_matrix(const TwoCenterTables& tables, const Structure& structure,
                                    const Pattern& pattern) {
  check_consistent(tables, structure, pattern);
  const Projections projections = make_projections(tables, structure);
  std::vector<double> matrix(static_cast<std::size_t>(pattern.nnz()), 0.0);
  // Every pair p <= reverse[p] is summed by its row i alone; the transposes follow.
#pragma omp parallel for schedule(dynamic, 1)
  for (std::size_t i = 0; i < structure.size(); ++i) {
    for_shared_centres(pattern, projections, i,
                       [&](std::size_t p, const Projection& left, const Projection& right) {
                         if (static_cast<int>(p) > pattern.reverse[p]) return;
                         const auto K = static_cast<std::size_t>(left.centre);
                         const auto j = static_cast<std::size_t>(right.orbital_atom);
                         add_product(tables.species(structure.species[K]).projector_energy,
                                     projections.b.data() + left.offset, pattern.n_orbitals[i],
                                     projections.b.data() + right.offset, pattern.n_orbitals[j],
                                     matrix.data() + pattern.offset[p]);
                       });
  }
#pragma omp parallel for schedule(dynamic, 64)
  for (std::size_t p = 0; p < pattern.n_pairs(); ++p) {
    const auto q = static_cast<std::size_t>(pattern.reverse[p]);
    if (p > q) continue;
    const int rows = pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_i[p])];
    const int columns = pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_j[p])];
    const double distance = pair_vector(structure, pattern, p).norm();
    const double damping = damping_of(tables, structure, pattern, p, distance, 0);
    double* block = matrix.data() + pattern.offset[p];
    double* reverse = matrix.data() + pattern.offset[q];
    for (int n = 0; n < rows * columns; ++n) block[n] *= damping;
    if (p == q) continue;
    for (int a = 0; a < rows; ++a) {
      for (int b = 0; b < columns; ++b) reverse[b * rows + a] = block[a * columns + b];
    }
  }
  return matrix;
}

namespace {

/// Density of one pair as B_iK sees it, D_p + D_reverse^T, with q and dq/dr.
struct PairWeight {
  std::vector<double> density;
  double damping = 0.0;
  double damping_slope = 0.0;
};

PairWeight pair_weight(const TwoCenterTables& tables, const Structure& structure,
                       const Pattern& pattern, std::span<const double> D, std::size_t p) {
  const auto q = static_cast<std::size_t>(pattern.reverse[p]);
  const int rows = pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_i[p])];
  const int columns = pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_j[p])];
  PairWeight w;
  w.density.resize(static_cast<std::size_t>(rows * columns));
  const double* forward = D.data() + pattern.offset[p];
  const double* backward = D.data() + pattern.offset[q];
  for (int a = 0; a < rows; ++a) {
    for (int b = 0; b < columns; ++b) {
      w.density[static_cast<std::size_t>(a * columns + b)] =
          forward[a * columns + b] + backward[b * rows + a];
    }
  }
  const double distance = pair_vector(structure, pattern, p).norm();
  w.damping = damping_of(tables, structure, pattern, p, distance, 0);
  w.damping_slope = damping_of(tables, structure, pattern, p, distance, 1);
  return w;
}

/// What the orbitals of one atom contribute.
struct RowScratch {
  std::vector<PairWeight> pairs;
  std::vector<double> db;  ///< dE/dB_iK, laid out as B from the row's first projection on
  std::vector<double> dq;  ///< dE/dq of each pair of the row
  std::vector<double> transposed;
};

/// g[k, a] += q e_k sum_b density[a, b] right[k, b]; returns 1/2 sum density[a, b] left[k, a] e_k
/// right[k, b] (the other half comes from the reverse pair).
double add_derivative(const std::vector<double>& energy, const PairWeight& w, const double* left,
                      int rows, const double* right, int columns, double* g) {
  double total = 0.0;
  for (const double e : energy) {
    for (int a = 0; a < rows; ++a) {
      const double* density = w.density.data() + a * columns;
      double sum = 0.0;
      for (int b = 0; b < columns; ++b) sum += density[b] * right[b];
      g[a] += w.damping * e * sum;
      total += left[a] * e * sum;
    }
    left += rows;
    right += columns;
    g += rows;
  }
  return 0.5 * total;
}

/// Fills dE/dB_iK and dE/dq of row i.
void row_derivatives(const TwoCenterTables& tables, const Structure& structure,
                     const Pattern& pattern, std::span<const double> D,
                     const Projections& projections, std::size_t i, RowScratch& scratch) {
  const auto first = static_cast<std::size_t>(pattern.row_start[i]);
  const auto last = static_cast<std::size_t>(pattern.row_start[i + 1]);
  scratch.pairs.clear();
  for (std::size_t p = first; p < last; ++p) {
    scratch.pairs.push_back(pair_weight(tables, structure, pattern, D, p));
  }
  scratch.dq.assign(last - first, 0.0);
  const std::size_t base = projections.start[i];
  scratch.db.assign(projections.start[i + 1] - base, 0.0);
  for_shared_centres(
      pattern, projections, i, [&](std::size_t p, const Projection& left, const Projection& right) {
        const auto K = static_cast<std::size_t>(left.centre);
        const auto j = static_cast<std::size_t>(right.orbital_atom);
        scratch.dq[p - first] +=
            add_derivative(tables.species(structure.species[K]).projector_energy,
                           scratch.pairs[p - first], projections.b.data() + left.offset,
                           pattern.n_orbitals[i], projections.b.data() + right.offset,
                           pattern.n_orbitals[j], scratch.db.data() + (left.offset - base));
      });
}

/// dE/dr of one projection from dE/dB (stored by projector).
Vec3 projection_force(const PairTable& table, const Vec3& r, const double* db,
                      std::vector<double>& transposed) {
  transposed.resize(static_cast<std::size_t>(table.rows() * table.columns()));
  for (int a = 0; a < table.rows(); ++a) {
    for (int k = 0; k < table.columns(); ++k) {
      transposed[static_cast<std::size_t>(a * table.columns() + k)] = db[k * table.rows() + a];
    }
  }
  return table.contract_gradient(r, transposed.data());
}

}  // namespace

PairGradient nonlocal_gradient(const TwoCenterTables& tables, const Structure& structure,
                               const Pattern& pattern, std::span<const double> D,
                               double damping_slope) {
  check_consistent(tables, structure, pattern);
  check_matrix("D", D, pattern);
  const Projections projections = make_projections(tables, structure);
  std::vector<std::vector<Vec3>> projection_forces(structure.size());
  std::vector<Vec3> pair_forces(pattern.n_pairs(), Vec3::Zero());
#pragma omp parallel
  {
    RowScratch scratch;
#pragma omp for schedule(dynamic, 1)
    for (std::size_t i = 0; i < structure.size(); ++i) {
      row_derivatives(tables, structure, pattern, D, projections, i, scratch);
      for (const auto& b : projections.of_atom[i]) {
        const auto& table = tables.projector(structure.species[i],
                                             structure.species[static_cast<std::size_t>(b.centre)]);
        const double* db = scratch.db.data() + (b.offset - projections.start[i]);
        projection_forces[i].push_back(projection_force(table, b.vector, db, scratch.transposed));
      }
      const auto first = static_cast<std::size_t>(pattern.row_start[i]);
      for (std::size_t n = 0; n < scratch.pairs.size(); ++n) {
        if (scratch.pairs[n].damping_slope == 0.0) continue;
        const Vec3 r = pair_vector(structure, pattern, first + n);
        pair_forces[first + n] =
            damping_slope * scratch.dq[n] * scratch.pairs[n].damping_slope / r.norm() * r;
      }
    }
  }
  PairGradient gradient{std::vector<Vec3>(structure.size(), Vec3::Zero()), Mat3::Zero()};
  for (std::size_t i = 0; i < structure.size(); ++i) {
    for (std::size_t n = 0; n < projections.of_atom[i].size(); ++n) {
      const auto& b = projections.of_atom[i][n];
      accumulate(gradient, b.orbital_atom, b.centre, projection_forces[i][n], b.vector);
    }
  }
  for (std::size_t p = 0; p < pattern.n_pairs(); ++p) {
    accumulate(gradient, pattern.atom_i[p], pattern.atom_j[p], pair_forces[p],
               pair_vector(structure, pattern, p));
  }
  return gradient;
}

}  // namespace mlh
