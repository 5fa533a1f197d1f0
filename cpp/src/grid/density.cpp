// n(r) = sum_ab D_ab phi_a phi_b on the uniform grid and, with its gradient, on the spheres.

#include "grid/gathered_matrix.hpp"
#include "grid/octet_products.hpp"
#include "mlh/grid/field.hpp"

namespace mlh {

namespace {

using detail::kPack;
using detail::PackVec;

template <class Real>
struct Scratch {
  detail::GatheredMatrix<Real> P;
  AlignedVector<Real> phi;
  std::array<AlignedVector<Real>, 3> dphi;
  std::vector<detail::PackAtom> atoms;
  std::vector<const ActiveAtom*> which;

  explicit Scratch(int n) : phi(static_cast<std::size_t>(n) * kPack<Real>) {
    for (auto& d : dphi) d.resize(phi.size());
  }
};

template <class Real>
void uniform_pack(const Grid& grid, const BatchPoints& x, int pack, Scratch<Real>& s, Real* n) {
  for (std::size_t k = 0; k < s.atoms.size(); ++k) {
    const ActiveAtom& a = *s.which[k];
    Real* phi = s.phi.data() + s.atoms[k].first * kPack<Real>;
    detail::for_octets<Real>(pack, [&](int o, int p) {
      grid.tables(a.atom).values(x, o, grid.center(a), phi + p, kPack<Real>);
    });
  }
  PackVec<Real> sum{};
  detail::for_columns(s.P, s.atoms, s.phi.data(), true, [&](const PackVec<Real>& X, int c) {
    detail::add_product<Real>(sum, X, s.phi.data() + c * kPack<Real>);
  });
  detail::store_pack(n, sum);
}

/// value and three slopes, kPack each, one after the other
template <class Real>
void sphere_pack(const Grid& grid, const BatchPoints& x, int pack, Scratch<Real>& s, Real* n) {
  for (std::size_t k = 0; k < s.atoms.size(); ++k) {
    const ActiveAtom& a = *s.which[k];
    const int first = s.atoms[k].first * kPack<Real>;
    detail::for_octets<Real>(pack, [&](int o, int p) {
      const int at = first + p;
      grid.tables(a.atom).gradients(
          x, o, grid.center(a), s.phi.data() + at,
          {s.dphi[0].data() + at, s.dphi[1].data() + at, s.dphi[2].data() + at}, kPack<Real>);
    });
  }
  std::array<PackVec<Real>, 4> sum{};
  detail::for_columns(s.P, s.atoms, s.phi.data(), false, [&](const PackVec<Real>& X, int c) {
    detail::add_product<Real>(sum[0], X, s.phi.data() + c * kPack<Real>);
    for (std::size_t d = 0; d < 3; ++d)
      detail::add_product<Real>(sum[d + 1], X, s.dphi[d].data() + c * kPack<Real>);
  });
  for (std::size_t d = 0; d < 4; ++d) {
    for (auto& v : sum[d]) v *= static_cast<Real>(d == 0 ? 1 : 2);
    detail::store_pack(n + d * kPack<Real>, sum[d]);
  }
}

template <class Real>
void batch_density(const Grid& grid, const Batch& batch, Scratch<Real>& s, Density& out) {
  const BatchPoints x = grid.points(batch);
  std::array<std::int64_t, kBatch> index{};
  grid.indices(batch, index);
  constexpr int size = kPack<Real>;
  alignas(64) std::array<Real, 4 * size> n{};
  for (int k = 0; k * size < batch.n_points; ++k) {
    if (detail::pack_atoms<Real>(grid, batch, k, s.atoms, s.which) == 0) continue;
    const int points = std::min(size, batch.n_points - k * size);
    const bool sphere = batch.owner >= 0;
    sphere ? sphere_pack(grid, x, k, s, n.data()) : uniform_pack(grid, x, k, s, n.data());
    for (int p = 0; p < points; ++p) {
      const auto g = static_cast<std::size_t>(index[static_cast<std::size_t>(k * size + p)]);
      const auto q = static_cast<std::size_t>(p);
      (sphere ? out.sphere : out.uniform)[g] = n[q];
      if (sphere) out.sphere_gradient[g] = Vec3(n[size + q], n[2 * size + q], n[3 * size + q]);
    }
  }
}

template <class Real>
void add_density(const Grid& grid, std::span<const double> D, Density& out) {
  const auto& groups = grid.groups();
#pragma omp parallel
  {
    Scratch<Real> scratch(grid.max_orbitals());
#pragma omp for schedule(dynamic, 1)
    for (std::size_t k = 0; k < groups.size(); ++k) {
      const auto batches = grid.batches(groups[k]);
      if (batches.front().owner < 0) {
        scratch.P.upper(grid, groups[k], D);
      } else {
        scratch.P.full(grid, groups[k], D);
      }
      for (const Batch& batch : batches) batch_density(grid, batch, scratch, out);
    }
  }
}

}  // namespace

Density density(const Grid& grid, std::span<const double> D, Precision precision) {
  Density out;
  out.uniform.assign(grid.uniform().size(), 0.0);
  out.sphere.assign(static_cast<std::size_t>(grid.n_sphere_points()), 0.0);
  out.sphere_gradient.assign(static_cast<std::size_t>(grid.n_sphere_points()), Vec3::Zero());
  precision == Precision::single ? add_density<float>(grid, D, out)
                                 : add_density<double>(grid, D, out);
  return out;
}

}  // namespace mlh
