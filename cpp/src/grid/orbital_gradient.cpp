// Pulay gradients on the points: with X = phi P, G = (g . grad phi) P,
//   dE/dtau_K = -2 sum_p sum_{a in K} { v grad phi_a X_a + sum_j g_j grad d_j phi_a X_a + grad
//   phi_a G_a }
// and, for the points of a sphere, the opposite of the sum to the atom they ride with. Under a
// strain the points of the grid move with the cell, dE/deps = 2 sum_p sum_a v X_a grad phi_a (r_p -
// c_a)^T, and the spheres with their atom, which needs nothing but the sums above
// (Grid::add_parts). Several matrices, each with its potential, share the orbitals of a pass; their
// densities, sum_a phi_a X_a, come with it.

#include "grid/batch_products.hpp"
#include "grid/orbital_products.hpp"
#include "mlh/grid/field.hpp"

namespace mlh {

namespace {

using detail::Matrix;
using Column = Eigen::Array<double, kBatch, 1>;

struct Scratch {
  Matrix phi, X, Y, G, gamma;
  detail::RowMatrix P;
  std::array<Matrix, 3> dphi, hessian;
  std::vector<int> first;
  std::vector<detail::LocalPair> pairs;

  explicit Scratch(int n)
      : phi(kBatch, n),
        X(kBatch, n),
        Y(kBatch, n),
        G(kBatch, n),
        gamma(kBatch, n),
        P(n, detail::padded(n)) {
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

void uniform_part(const Grid& grid, const Batch& batch, std::span<const OrbitalTerm> terms,
                  std::vector<Density>& density, Scratch& s, Vec3* part, Mat3& strain) {
  const int n = batch.n_orbitals;
  const BatchPoints x = grid.points(batch);
  detail::orbital_gradients(grid, batch, x, s.first, s.phi, s.dphi);
  std::array<std::int64_t, kBatch> index{};
  grid.indices(batch, index);
  s.Y.leftCols(n).setZero();
  for (std::size_t k = 0; k < terms.size(); ++k) {
    product(grid, batch, terms[k].D, s);
    if (terms[k].with_density) {
      const Column value = row_sums(s.phi, s.X, 0, n);
      for (int p = 0; p < batch.n_points; ++p)
        density[k].uniform[static_cast<std::size_t>(index[p])] = value[p];
    }
    Column v = Column::Zero();
    for (int p = 0; p < batch.n_points; ++p)
      v[p] = terms[k].potential->uniform[static_cast<std::size_t>(index[p])];
    s.Y.leftCols(n).array() += s.X.leftCols(n).array().colwise() * v;
  }
  strain.setZero();
  std::size_t a = 0;
  for (const ActiveAtom& atom : grid.active(batch)) {
    const Vec3 center = grid.center(atom);
    for (int d = 0; d < 3; ++d) {
      const Column t = row_sums(s.Y, s.dphi[d], s.first[a], s.first[a + 1] - s.first[a]);
      part[a][d] = -2.0 * t.sum();
      for (int e = 0; e < 3; ++e) {
        strain(d, e) += 2.0 * (t * (Eigen::Map<const Column>(x.x[e].data()) - center[e])).sum();
      }
    }
    ++a;
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

}  // namespace

OrbitalGradient orbital_gradient(const Grid& grid, std::span<const OrbitalTerm> terms) {
  const auto& batches = grid.batches();
  std::vector<Vec3> part(static_cast<std::size_t>(grid.n_active()), Vec3::Zero());
  std::vector<Mat3> strain(batches.size());
  OrbitalGradient out;
  out.density.resize(terms.size());
  for (std::size_t k = 0; k < terms.size(); ++k) {
    if (!terms[k].with_density) continue;
    const auto n_sphere = static_cast<std::size_t>(grid.n_sphere_points());
    out.density[k].uniform.assign(grid.uniform().size(), 0.0);
    out.density[k].sphere.assign(n_sphere, 0.0);
    out.density[k].sphere_gradient.assign(n_sphere, Vec3::Zero());
  }
#pragma omp parallel
  {
    Scratch scratch(grid.max_orbitals());
#pragma omp for schedule(dynamic, 4)
    for (std::size_t k = 0; k < batches.size(); ++k) {
      detail::local_offsets(grid, batches[k], scratch.first);
      detail::local_pairs(grid, batches[k], scratch.pairs);
      Vec3* slot = part.data() + batches[k].atoms_begin;
      if (batches[k].owner < 0) {
        uniform_part(grid, batches[k], terms, out.density, scratch, slot, strain[k]);
        continue;
      }
      const BatchPoints x = grid.points(batches[k]);
      detail::orbital_gradients(grid, batches[k], x, scratch.first, scratch.phi, scratch.dphi);
      for (std::size_t t = 0; t < terms.size(); ++t)
        sphere_term(grid, batches[k], x, terms[t], out.density[t], scratch, slot);
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
