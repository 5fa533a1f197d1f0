// n(r) = sum_ab D_ab phi_a phi_b on the uniform grid and, with its gradient, on the spheres.

#include "grid/gathered_matrix.hpp"
#include "grid/octet_products.hpp"
#include "mlh/grid/field.hpp"

namespace mlh {

namespace {

using detail::OctetAtom;
using detail::OctetVec;

struct Scratch {
  detail::GatheredMatrix P;
  AlignedDoubles phi;
  std::array<AlignedDoubles, 3> dphi;
  std::vector<OctetAtom> atoms;
  std::vector<const ActiveAtom*> which;

  explicit Scratch(int n) : phi(static_cast<std::size_t>(n) * kOctet) {
    for (auto& d : dphi) d.resize(phi.size());
  }
};

void uniform_octet(const Grid& grid, const BatchPoints& x, int o, Scratch& s, double* n) {
  for (std::size_t k = 0; k < s.atoms.size(); ++k) {
    const ActiveAtom& a = *s.which[k];
    grid.tables(a.atom).values(x, o, grid.center(a), s.phi.data() + s.atoms[k].first * kOctet,
                               kOctet);
  }
  OctetVec sum{};
  detail::for_columns(s.P, s.atoms, s.phi.data(), true, [&](const OctetVec& X, int c) {
    detail::add_product(sum, X, s.phi.data() + c * kOctet);
  });
  for (int i = 0; i < detail::kOctetVectors; ++i) detail::store(n + i * detail::kLanes, sum[i]);
}

/// value and three slopes, kOctet each, one after the other
void sphere_octet(const Grid& grid, const BatchPoints& x, int o, Scratch& s, double* n) {
  for (std::size_t k = 0; k < s.atoms.size(); ++k) {
    const ActiveAtom& a = *s.which[k];
    const int at = s.atoms[k].first * kOctet;
    grid.tables(a.atom).gradients(
        x, o, grid.center(a), s.phi.data() + at,
        {s.dphi[0].data() + at, s.dphi[1].data() + at, s.dphi[2].data() + at}, kOctet);
  }
  std::array<OctetVec, 4> sum{};
  detail::for_columns(s.P, s.atoms, s.phi.data(), false, [&](const OctetVec& X, int c) {
    detail::add_product(sum[0], X, s.phi.data() + c * kOctet);
    for (std::size_t d = 0; d < 3; ++d)
      detail::add_product(sum[d + 1], X, s.dphi[d].data() + c * kOctet);
  });
  for (std::size_t d = 0; d < 4; ++d) {
    for (int i = 0; i < detail::kOctetVectors; ++i) {
      detail::store(n + d * kOctet + i * detail::kLanes, (d == 0 ? 1.0 : 2.0) * sum[d][i]);
    }
  }
}

void batch_density(const Grid& grid, const Batch& batch, Scratch& s, Density& out) {
  const BatchPoints x = grid.points(batch);
  std::array<std::int64_t, kBatch> index{};
  grid.indices(batch, index);
  alignas(64) std::array<double, 4 * kOctet> n{};
  for (int o = 0; o * kOctet < batch.n_points; ++o) {
    if (detail::octet_atoms(grid, batch, o, s.atoms, s.which) == 0) continue;
    const int points = std::min(kOctet, batch.n_points - o * kOctet);
    const bool sphere = batch.owner >= 0;
    sphere ? sphere_octet(grid, x, o, s, n.data()) : uniform_octet(grid, x, o, s, n.data());
    for (int p = 0; p < points; ++p) {
      const auto g = static_cast<std::size_t>(index[static_cast<std::size_t>(o * kOctet + p)]);
      const auto q = static_cast<std::size_t>(p);
      (sphere ? out.sphere : out.uniform)[g] = n[q];
      if (sphere)
        out.sphere_gradient[g] = Vec3(n[kOctet + q], n[2 * kOctet + q], n[3 * kOctet + q]);
    }
  }
}

}  // namespace

Density density(const Grid& grid, std::span<const double> D) {
  Density out;
  out.uniform.assign(grid.uniform().size(), 0.0);
  out.sphere.assign(static_cast<std::size_t>(grid.n_sphere_points()), 0.0);
  out.sphere_gradient.assign(static_cast<std::size_t>(grid.n_sphere_points()), Vec3::Zero());
  const auto& groups = grid.groups();
#pragma omp parallel
  {
    Scratch scratch(grid.max_orbitals());
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
  return out;
}

}  // namespace mlh
