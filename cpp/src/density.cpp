// n(r) = sum_ab D_ab phi_a phi_b on the uniform grid and, with its gradient, on the spheres.

#include "batch_products.hpp"
#include "mlh/field.hpp"
#include "orbital_products.hpp"

namespace mlh {

namespace {

using detail::Matrix;
using detail::RowMatrix;

struct Scratch {
  Matrix phi, X;
  RowMatrix P;
  std::array<Matrix, 3> dphi;
  std::vector<int> first;

  explicit Scratch(int n_orbitals)
      : phi(kBatch, n_orbitals),
        X(kBatch, n_orbitals),
        P(n_orbitals, detail::padded(n_orbitals)) {
    for (auto& d : dphi) d.resize(kBatch, n_orbitals);
  }
};

void uniform_density(const Grid& grid, const Batch& batch, std::span<const double> D, Scratch& s,
                     Density& out) {
  const BatchPoints x = grid.points(batch);
  detail::orbital_values(grid, batch, x, s.first, s.phi);
  detail::gather(grid, batch, D, s.first, false, s.P);
  Eigen::Array<double, kBatch, 1> n = Eigen::Array<double, kBatch, 1>::Zero();
  // Upper blocks only: the columns of one atom need the rows up to its own end.
  for (std::size_t b = 0; b + 1 < s.first.size(); ++b) {
    detail::multiply(s.phi.data(), s.first[b + 1], s.P.data(), s.P.outerStride(), s.first[b],
                     s.first[b + 1], s.X.data());
  }
  for (int c = 0; c < batch.n_orbitals; ++c) n += s.X.col(c).array() * s.phi.col(c).array();
  std::array<std::int64_t, kBatch> index{};
  grid.indices(batch, index);
  for (int p = 0; p < batch.n_points; ++p) out.uniform[static_cast<std::size_t>(index[p])] = n[p];
}

void sphere_density(const Grid& grid, const Batch& batch, std::span<const double> D, Scratch& s,
                    Density& out) {
  const BatchPoints x = grid.points(batch);
  detail::orbital_gradients(grid, batch, x, s.first, s.phi, s.dphi);
  detail::gather(grid, batch, D, s.first, true, s.P);
  const int n = batch.n_orbitals;
  detail::multiply(s.phi.data(), n, s.P.data(), s.P.outerStride(), 0, n, s.X.data());
  const auto X = s.X.leftCols(n).array();
  const Eigen::ArrayXd value = (X * s.phi.leftCols(n).array()).rowwise().sum();
  for (int p = 0; p < batch.n_points; ++p) {
    out.sphere[static_cast<std::size_t>(batch.first_point + p)] = value[p];
  }
  for (int a = 0; a < 3; ++a) {
    const Eigen::ArrayXd slope = 2.0 * (X * s.dphi[a].leftCols(n).array()).rowwise().sum();
    for (int p = 0; p < batch.n_points; ++p) {
      out.sphere_gradient[static_cast<std::size_t>(batch.first_point + p)][a] = slope[p];
    }
  }
}

}  // namespace

Density density(const Grid& grid, std::span<const double> D) {
  Density out;
  out.uniform.assign(grid.uniform().size(), 0.0);
  out.sphere.assign(static_cast<std::size_t>(grid.n_sphere_points()), 0.0);
  out.sphere_gradient.assign(static_cast<std::size_t>(grid.n_sphere_points()), Vec3::Zero());
  const auto& batches = grid.batches();
#pragma omp parallel
  {
    Scratch scratch(grid.max_orbitals());
#pragma omp for schedule(dynamic, 4)
    for (std::size_t k = 0; k < batches.size(); ++k) {
      detail::local_offsets(grid, batches[k], scratch.first);
      if (batches[k].owner < 0) {
        uniform_density(grid, batches[k], D, scratch, out);
      } else {
        sphere_density(grid, batches[k], D, scratch, out);
      }
    }
  }
  return out;
}

}  // namespace mlh
