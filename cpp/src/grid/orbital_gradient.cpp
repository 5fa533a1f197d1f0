// Pulay gradients on the points: with X = phi P, G = (g . grad phi) P,
//   dE/dtau_K = -2 sum_p sum_{a in K} { v grad phi_a X_a + sum_j g_j grad d_j phi_a X_a + grad
//   phi_a G_a }
// and, for the points of a sphere, the opposite of the sum to the atom they ride with. Under a
// strain the points of the grid move with the cell, dE/deps = 2 sum_p sum_a v X_a grad phi_a (r_p -
// c_a)^T, and the spheres with their atom, which needs nothing but the sums above
// (Grid::add_parts). Several matrices, each with its potential, share the orbitals of a pass; their
// densities, sum_a phi_a X_a, come with it.

#include "grid/batch_products.hpp"
#include "grid/gathered_matrix.hpp"
#include "grid/orbital_products.hpp"
#include "mlh/grid/field.hpp"

namespace mlh {

namespace {

using detail::Matrix;
using detail::OctetVec;
using Column = Eigen::Array<double, kBatch, 1>;

/// Of the spheres: whole batches.
struct Scratch {
  Matrix phi, X, G, gamma;
  detail::RowMatrix P;
  std::array<Matrix, 3> dphi, hessian;
  std::vector<int> first;
  std::vector<detail::LocalPair> pairs;

  explicit Scratch(int n)
      : phi(kBatch, n), X(kBatch, n), G(kBatch, n), gamma(kBatch, n), P(n, detail::padded(n)) {
    for (auto& d : dphi) d.resize(kBatch, n);
    for (auto& d : hessian) d.resize(kBatch, n);
  }
};

/// t_p = sum of left_pa right_pa over `width` columns from `begin`.
Column row_sums(const Matrix& left, const Matrix& right, int begin, int width) {
  Column t = Column::Zero();
  for (int c = begin; c < begin + width; ++c) t += left.col(c).array() * right.col(c).array();
  return t;
}

/// X = phi P of one term.
void product(const Grid& grid, const Batch& batch, std::span<const double> D, Scratch& s) {
  detail::gather(grid.pattern(), s.pairs, D, s.first, s.P);
  detail::multiply(s.phi.data(), batch.n_orbitals, s.P.data(), s.P.outerStride(), 0,
                   batch.n_orbitals, s.X.data());
}

/// Of the uniform grid: octet by octet, with the orbitals that reach it.
struct OctetScratch {
  std::vector<detail::GatheredMatrix> P;  ///< one per term
  AlignedDoubles phi, Y;
  std::array<AlignedDoubles, 3> dphi;
  std::vector<detail::OctetAtom> atoms;
  std::vector<const ActiveAtom*> which;

  OctetScratch(int n, std::size_t terms)
      : P(terms), phi(static_cast<std::size_t>(n) * kOctet), Y(phi.size()) {
    for (auto& d : dphi) d.resize(phi.size());
  }
};

/// Y = sum over the terms of v X on an octet; the densities that are asked for.
void octet_products(std::span<const OrbitalTerm> terms, std::span<const std::int64_t> index,
                    std::vector<Density>& density, OctetScratch& s, int n) {
  std::fill_n(s.Y.data(), static_cast<std::size_t>(n) * kOctet, 0.0);
  for (std::size_t k = 0; k < terms.size(); ++k) {
    alignas(64) std::array<double, kOctet> v{}, sum{};
    for (std::size_t p = 0; p < index.size(); ++p)
      v[p] = terms[k].potential->uniform[static_cast<std::size_t>(index[p])];
    const OctetVec w = detail::load_octet(v.data());
    OctetVec n_octet{};
    detail::for_columns(s.P[k], s.atoms, s.phi.data(), false, [&](const OctetVec& X, int c) {
      double* y = s.Y.data() + c * kOctet;
      for (int i = 0; i < detail::kOctetVectors; ++i) {
        detail::store(y + i * detail::kLanes, detail::load(y + i * detail::kLanes) + w[i] * X[i]);
      }
      if (terms[k].with_density) detail::add_product(n_octet, X, s.phi.data() + c * kOctet);
    });
    if (!terms[k].with_density) continue;
    for (int i = 0; i < detail::kOctetVectors; ++i)
      detail::store(sum.data() + i * detail::kLanes, n_octet[i]);
    for (std::size_t p = 0; p < index.size(); ++p)
      density[k].uniform[static_cast<std::size_t>(index[p])] = sum[p];
  }
}

void uniform_octet(const Grid& grid, const Batch& batch, const BatchPoints& x, int o,
                   std::span<const OrbitalTerm> terms, std::span<const std::int64_t> index,
                   std::vector<Density>& density, OctetScratch& s, Vec3* part, Mat3& strain) {
  const int n = detail::octet_atoms(grid, batch, o, s.atoms, s.which);
  if (n == 0) return;
  for (std::size_t k = 0; k < s.atoms.size(); ++k) {
    const int at = s.atoms[k].first * kOctet;
    grid.tables(s.which[k]->atom)
        .gradients(x, o, grid.center(*s.which[k]), s.phi.data() + at,
                   {s.dphi[0].data() + at, s.dphi[1].data() + at, s.dphi[2].data() + at}, kOctet);
  }
  octet_products(terms, index, density, s, n);
  for (std::size_t k = 0; k < s.atoms.size(); ++k) {
    const Vec3 center = grid.center(*s.which[k]);
    Vec3& slot = part[s.which[k] - grid.active(batch).data()];
    for (int d = 0; d < 3; ++d) {
      OctetVec sum{};
      for (int c = s.atoms[k].first; c < s.atoms[k].first + s.atoms[k].orbitals; ++c) {
        detail::add_product(sum, detail::load_octet(s.Y.data() + c * kOctet),
                            s.dphi[static_cast<std::size_t>(d)].data() + c * kOctet);
      }
      alignas(64) std::array<double, kOctet> t{};
      for (int i = 0; i < detail::kOctetVectors; ++i)
        detail::store(t.data() + i * detail::kLanes, sum[i]);
      for (std::size_t p = 0; p < index.size(); ++p) {
        slot[d] -= 2.0 * t[p];
        for (int e = 0; e < 3; ++e) {
          strain(d, e) +=
              2.0 * t[p] * (x.x[e][static_cast<std::size_t>(o * kOctet) + p] - center[e]);
        }
      }
    }
  }
}

void uniform_batch(const Grid& grid, const Batch& batch, std::span<const OrbitalTerm> terms,
                   std::vector<Density>& density, OctetScratch& s, Vec3* part, Mat3& strain) {
  const BatchPoints x = grid.points(batch);
  std::array<std::int64_t, kBatch> index{};
  grid.indices(batch, index);
  for (int o = 0; o * kOctet < batch.n_points; ++o) {
    const auto points = static_cast<std::size_t>(std::min(kOctet, batch.n_points - o * kOctet));
    uniform_octet(grid, batch, x, o, terms, {index.data() + o * kOctet, points}, density, s, part,
                  strain);
  }
}

/// One term on a sphere batch, its orbitals and their gradients known: added to `part`.
void sphere_term(const Grid& grid, const Batch& batch, const BatchPoints& x,
                 const OrbitalTerm& term, Density& density, Scratch& s, Vec3* part) {
  const int n = batch.n_orbitals;
  Column v = Column::Zero();
  BatchPoints g{};
  for (int p = 0; p < batch.n_points; ++p) {
    const auto q = static_cast<std::size_t>(batch.first_point + p);
    v[p] = term.potential->sphere[q];
    for (int d = 0; d < 3; ++d) g.x[d][p] = term.potential->sphere_vector[q][d];
  }
  std::size_t a = 0;
  for (const ActiveAtom& atom : grid.active(batch)) {
    const int c = s.first[a++];
    grid.tables(atom.atom).hessian_dot(
        x, grid.center(atom), g,
        {s.hessian[0].col(c).data(), s.hessian[1].col(c).data(), s.hessian[2].col(c).data()});
  }
  s.gamma.leftCols(n).setZero();
  for (int d = 0; d < 3; ++d) {
    const Eigen::Map<const Column> gd(g.x[d].data());
    s.gamma.leftCols(n).array() += s.dphi[d].leftCols(n).array().colwise() * gd;
  }
  product(grid, batch, term.D, s);
  if (term.with_density) {
    const Column value = row_sums(s.phi, s.X, 0, n);
    std::array<Column, 3> slope;
    for (std::size_t d = 0; d < 3; ++d) slope[d] = 2.0 * row_sums(s.dphi[d], s.X, 0, n);
    for (int p = 0; p < batch.n_points; ++p) {
      const auto q = static_cast<std::size_t>(batch.first_point + p);
      density.sphere[q] = value[p];
      density.sphere_gradient[q] = Vec3(slope[0][p], slope[1][p], slope[2][p]);
    }
  }
  detail::multiply(s.gamma.data(), n, s.P.data(), s.P.outerStride(), 0, n, s.G.data());
  s.G.leftCols(n).array() += s.X.leftCols(n).array().colwise() * v;
  for (std::size_t k = 0; k < grid.active(batch).size(); ++k) {
    const int c = s.first[k], width = s.first[k + 1] - c;
    for (int d = 0; d < 3; ++d) {
      part[k][d] -=
          2.0 * (row_sums(s.G, s.dphi[d], c, width) + row_sums(s.X, s.hessian[d], c, width)).sum();
    }
  }
}

void sphere_batch(const Grid& grid, const Batch& batch, std::span<const OrbitalTerm> terms,
                  std::vector<Density>& density, Scratch& s, Vec3* part) {
  detail::local_offsets(grid, batch, s.first);
  detail::local_pairs(grid, batch, s.pairs);
  const BatchPoints x = grid.points(batch);
  detail::orbital_gradients(grid, batch, x, s.first, s.phi, s.dphi);
  for (std::size_t t = 0; t < terms.size(); ++t)
    sphere_term(grid, batch, x, terms[t], density[t], s, part);
}

}  // namespace

OrbitalGradient orbital_gradient(const Grid& grid, std::span<const OrbitalTerm> terms) {
  const auto& batches = grid.batches();
  std::vector<Vec3> part(static_cast<std::size_t>(grid.n_active()), Vec3::Zero());
  std::vector<Mat3> strain(batches.size(), Mat3::Zero());
  OrbitalGradient out;
  out.density.resize(terms.size());
  for (std::size_t k = 0; k < terms.size(); ++k) {
    if (!terms[k].with_density) continue;
    const auto n_sphere = static_cast<std::size_t>(grid.n_sphere_points());
    out.density[k].uniform.assign(grid.uniform().size(), 0.0);
    out.density[k].sphere.assign(n_sphere, 0.0);
    out.density[k].sphere_gradient.assign(n_sphere, Vec3::Zero());
  }
  const auto& groups = grid.groups();
#pragma omp parallel
  {
    Scratch scratch(grid.max_orbitals());
    OctetScratch octets(grid.max_orbitals(), terms.size());
#pragma omp for schedule(dynamic, 1)
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const bool uniform = batches[groups[g].batches_begin].owner < 0;
      for (std::size_t t = 0; uniform && t < terms.size(); ++t)
        octets.P[t].full(grid, groups[g], terms[t].D);
      for (std::size_t k = groups[g].batches_begin; k < groups[g].batches_end; ++k) {
        Vec3* slot = part.data() + batches[k].atoms_begin;
        if (uniform) {
          uniform_batch(grid, batches[k], terms, out.density, octets, slot, strain[k]);
        } else {
          sphere_batch(grid, batches[k], terms, out.density, scratch, slot);
        }
      }
    }
  }
  out.gradient = grid.add_parts(part, strain);
  return out;
}

Gradient orbital_gradient(const Grid& grid, std::span<const double> D, const Potential& potential) {
  const OrbitalTerm term{D, &potential};
  return orbital_gradient(grid, {&term, 1}).gradient;
}

}  // namespace mlh
