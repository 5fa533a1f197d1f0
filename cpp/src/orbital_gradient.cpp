// Pulay gradients on the points: with X = phi P, G = (g . grad phi) P,
//   dE/dtau_K = -2 sum_p sum_{a in K} { v grad phi_a X_a + sum_j g_j grad d_j phi_a X_a + grad phi_a G_a }
// and, for the points of a sphere, the opposite of the sum to the atom they ride with.

#include "batch_products.hpp"
#include "mlh/field.hpp"
#include "orbital_products.hpp"

namespace mlh {

namespace {

using detail::Matrix;
using Column = Eigen::Array<double, kBatch, 1>;

struct Scratch {
  Matrix phi, X, G, gamma;
  detail::RowMatrix P;
  std::array<Matrix, 3> dphi, hessian;
  std::vector<int> first;

  explicit Scratch(int n) : phi(kBatch, n), X(kBatch, n), G(kBatch, n), gamma(kBatch, n), P(n, detail::padded(n)) {
    for (auto& d : dphi) d.resize(kBatch, n);
    for (auto& d : hessian) d.resize(kBatch, n);
  }
};

/// Sum over the columns of every atom of coefficient_p * sum_a left_pa right_pa.
template <class Add>
void per_atom(const Grid& grid, const Batch& batch, const std::vector<int>& first, Add&& add) {
  for (std::size_t a = 0; a < grid.active(batch).size(); ++a) {
    add(a, first[a], first[a + 1] - first[a]);
  }
}

void uniform_part(const Grid& grid, const Batch& batch, std::span<const double> D,
                  const Potential& potential, Scratch& s, Vec3* part) {
  const int n = batch.n_orbitals;
  detail::orbital_gradients(grid, batch, grid.points(batch), s.first, s.phi, s.dphi);
  detail::gather(grid, batch, D, s.first, true, s.P);
  Column v = Column::Zero();
  std::array<std::int64_t, kBatch> index{};
  grid.indices(batch, index);
  for (int p = 0; p < batch.n_points; ++p) v[p] = potential.uniform[static_cast<std::size_t>(index[p])];
  detail::multiply(s.phi.data(), n, s.P.data(), s.P.outerStride(), 0, n, s.X.data());
  s.X.leftCols(n).array().colwise() *= v;
  per_atom(grid, batch, s.first, [&](std::size_t a, int c, int width) {
    for (int d = 0; d < 3; ++d) {
      part[a][d] = -2.0 * s.X.middleCols(c, width).cwiseProduct(s.dphi[d].middleCols(c, width)).sum();
    }
  });
}

void sphere_part(const Grid& grid, const Batch& batch, std::span<const double> D,
                 const Potential& potential, Scratch& s, Vec3* part) {
  const int n = batch.n_orbitals;
  const BatchPoints x = grid.points(batch);
  detail::orbital_gradients(grid, batch, x, s.first, s.phi, s.dphi);
  detail::gather(grid, batch, D, s.first, true, s.P);
  Column v = Column::Zero();
  BatchPoints g{};
  for (int p = 0; p < batch.n_points; ++p) {
    const auto q = static_cast<std::size_t>(batch.first_point + p);
    v[p] = potential.sphere[q];
    for (int d = 0; d < 3; ++d) g.x[d][p] = potential.sphere_vector[q][d];
  }
  std::size_t a = 0;
  for (const ActiveAtom& atom : grid.active(batch)) {
    const int c = s.first[a++];
    grid.tables(atom.atom).hessian_dot(x, grid.center(atom), g,
                                       {s.hessian[0].col(c).data(), s.hessian[1].col(c).data(),
                                        s.hessian[2].col(c).data()});
  }
  s.gamma.leftCols(n).setZero();
  for (int d = 0; d < 3; ++d) {
    const Eigen::Map<const Column> gd(g.x[d].data());
    s.gamma.leftCols(n).array() += s.dphi[d].leftCols(n).array().colwise() * gd;
  }
  detail::multiply(s.phi.data(), n, s.P.data(), s.P.outerStride(), 0, n, s.X.data());
  detail::multiply(s.gamma.data(), n, s.P.data(), s.P.outerStride(), 0, n, s.G.data());
  s.G.leftCols(n).array() += s.X.leftCols(n).array().colwise() * v;
  per_atom(grid, batch, s.first, [&](std::size_t k, int c, int width) {
    for (int d = 0; d < 3; ++d) {
      part[k][d] =
          -2.0 * (s.G.middleCols(c, width).cwiseProduct(s.dphi[d].middleCols(c, width)).sum() +
                  s.X.middleCols(c, width).cwiseProduct(s.hessian[d].middleCols(c, width)).sum());
    }
  });
}

}  // namespace

void add_orbital_gradient(const Grid& grid, std::span<const double> D, const Potential& potential,
                          std::vector<Vec3>& gradient) {
  const auto& batches = grid.batches();
  std::vector<Vec3> part(static_cast<std::size_t>(grid.n_active()), Vec3::Zero());
#pragma omp parallel
  {
    Scratch scratch(grid.max_orbitals());
#pragma omp for schedule(dynamic, 4)
    for (std::size_t k = 0; k < batches.size(); ++k) {
      detail::local_offsets(grid, batches[k], scratch.first);
      Vec3* slot = part.data() + batches[k].atoms_begin;
      if (batches[k].owner < 0) {
        uniform_part(grid, batches[k], D, potential, scratch, slot);
      } else {
        sphere_part(grid, batches[k], D, potential, scratch, slot);
      }
    }
  }
  grid.add_parts(part, gradient);
}

}  // namespace mlh
