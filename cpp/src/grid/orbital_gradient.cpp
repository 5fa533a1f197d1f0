// Pulay gradients on the points: with X = phi P, G = (g . grad phi) P,
//   dE/dtau_K = -2 sum_p sum_{a in K} { v grad phi_a X_a + sum_j g_j grad d_j phi_a X_a + grad
//   phi_a G_a }
// and, for the points of a sphere, the opposite of the sum to the atom they ride with. Under a
// strain the points of the grid move with the cell, dE/deps = 2 sum_p sum_a v X_a grad phi_a (r_p -
// c_a)^T, and the spheres with their atom, which needs nothing but the sums above
// (Grid::add_parts). Several matrices, each with its potential, share the orbitals of a pass; their
// densities, sum_a phi_a X_a, come with it.

#include "grid/gathered_matrix.hpp"
#include "mlh/grid/field.hpp"

namespace mlh {

namespace {

using detail::kPack;
using detail::PackVec;

/// Orbitals of a pack, orbital by orbital.
template <class Real>
struct Scratch {
  std::vector<detail::GatheredMatrix<Real>> P;  ///< one per term
  AlignedVector<Real> phi, X, Y;
  AlignedVector<Real> psi;  ///< v phi + g . grad phi, on spheres
  std::array<AlignedVector<Real>, 3> dphi, hessian;
  std::vector<detail::PackAtom> atoms;
  std::vector<const ActiveAtom*> which;
  std::vector<std::array<PackVec<Real>, 3>> sum;  ///< per atom: what its part takes off

  Scratch(int n, std::size_t terms)
      : P(terms),
        phi(static_cast<std::size_t>(n) * kPack<Real>),
        X(phi.size()),
        Y(phi.size()),
        psi(phi.size()) {
    for (auto& d : dphi) d.resize(phi.size());
    for (auto& d : hessian) d.resize(phi.size());
  }

  /// Orbitals and their gradients.
  void evaluate(const Grid& grid, const BatchPoints& x, int pack) {
    sum.assign(atoms.size(), {});
    for (std::size_t k = 0; k < atoms.size(); ++k) {
      detail::for_octets<Real>(pack, [&](int o, int p) {
        const int at = atoms[k].first * kPack<Real> + p;
        grid.tables(which[k]->atom)
            .gradients(x, o, grid.center(*which[k]), phi.data() + at,
                       {dphi[0].data() + at, dphi[1].data() + at, dphi[2].data() + at},
                       kPack<Real>);
      });
    }
  }

  /// sum += a b over the orbitals of every atom, for each of the three b.
  void add_products(const AlignedVector<Real>& a, const std::array<AlignedVector<Real>, 3>& b) {
    for (std::size_t k = 0; k < atoms.size(); ++k) {
      for (int c = atoms[k].first; c < atoms[k].first + atoms[k].orbitals; ++c) {
        const PackVec<Real> f = detail::load_pack(a.data() + c * kPack<Real>);
        for (std::size_t d = 0; d < 3; ++d)
          detail::add_product<Real>(sum[k][d], f, b[d].data() + c * kPack<Real>);
      }
    }
  }
};

template <class Real>
std::array<Real, kPack<Real>> numbers(const PackVec<Real>& v) {
  std::array<Real, kPack<Real>> out;
  detail::store_pack(out.data(), v);
  return out;
}

/// Y = sum over the terms of v X; the densities that are asked for.
template <class Real>
void uniform_products(std::span<const OrbitalTerm> terms, std::span<const std::int64_t> index,
                      std::vector<Density>& density, Scratch<Real>& s, int n) {
  std::fill_n(s.Y.data(), static_cast<std::size_t>(n) * kPack<Real>, Real{});
  for (std::size_t k = 0; k < terms.size(); ++k) {
    alignas(64) std::array<Real, kPack<Real>> v{};
    for (std::size_t p = 0; p < index.size(); ++p) {
      v[p] = static_cast<Real>(terms[k].potential->uniform[static_cast<std::size_t>(index[p])]);
    }
    PackVec<Real> value{};
    detail::for_columns(s.P[k], s.atoms, s.phi.data(), false, [&](const PackVec<Real>& X, int c) {
      Real* y = s.Y.data() + c * kPack<Real>;
      PackVec<Real> sum = detail::load_pack(y);
      detail::add_product<Real>(sum, X, v.data());
      detail::store_pack(y, sum);
      if (terms[k].with_density)
        detail::add_product<Real>(value, X, s.phi.data() + c * kPack<Real>);
    });
    if (!terms[k].with_density) continue;
    const auto found = numbers<Real>(value);
    for (std::size_t p = 0; p < index.size(); ++p)
      density[k].uniform[static_cast<std::size_t>(index[p])] = found[p];
  }
}

template <class Real>
void uniform_pack(const Grid& grid, const Batch& batch, const BatchPoints& x, int pack,
                  std::span<const OrbitalTerm> terms, std::span<const std::int64_t> index,
                  std::vector<Density>& density, Scratch<Real>& s, Vec3* part, Mat3& strain) {
  const int n = detail::pack_atoms<Real>(grid, batch, pack, s.atoms, s.which);
  if (n == 0) return;
  s.evaluate(grid, x, pack);
  uniform_products(terms, index, density, s, n);
  s.add_products(s.Y, s.dphi);
  const auto first = static_cast<std::size_t>(pack * kPack<Real>);
  for (std::size_t k = 0; k < s.atoms.size(); ++k) {
    const Vec3 center = grid.center(*s.which[k]);
    Vec3& slot = part[s.which[k] - grid.active(batch).data()];
    for (int d = 0; d < 3; ++d) {
      const auto t = numbers<Real>(s.sum[k][static_cast<std::size_t>(d)]);
      for (std::size_t p = 0; p < index.size(); ++p) {
        slot[d] -= 2.0 * t[p];
        for (int e = 0; e < 3; ++e)
          strain(d, e) += 2.0 * t[p] * (x.x[static_cast<std::size_t>(e)][first + p] - center[e]);
      }
    }
  }
}

/// v and g of a term on the points of a pack of a sphere, octet by octet.
template <class Real>
using SpherePotential = std::array<std::array<double, 4 * kOctet>, detail::kPackOctets<Real>>;

template <class Real>
SpherePotential<Real> sphere_potential(const Potential& potential,
                                       std::span<const std::int64_t> index) {
  SpherePotential<Real> out{};
  for (std::size_t p = 0; p < index.size(); ++p) {
    const auto q = static_cast<std::size_t>(index[p]);
    auto& v = out[p / kOctet];
    v[p % kOctet] = potential.sphere[q];
    for (std::size_t d = 0; d < 3; ++d)
      v[(d + 1) * kOctet + p % kOctet] = potential.sphere_vector[q][static_cast<int>(d)];
  }
  return out;
}

/// psi = v phi + g . grad phi of all orbitals of a pack.
template <class Real>
void weigh(const SpherePotential<Real>& potential, int n, Scratch<Real>& s) {
  std::array<PackVec<Real>, 4> v;
  for (std::size_t d = 0; d < 4; ++d) {
    alignas(64) std::array<Real, kPack<Real>> w;
    for (std::size_t p = 0; p < w.size(); ++p)
      w[p] = static_cast<Real>(potential[p / kOctet][d * kOctet + p % kOctet]);
    v[d] = detail::load_pack(w.data());
  }
  for (int c = 0; c < n; ++c) {
    PackVec<Real> sum{};
    detail::add_product<Real>(sum, v[0], s.phi.data() + c * kPack<Real>);
    for (std::size_t d = 0; d < 3; ++d)
      detail::add_product<Real>(sum, v[d + 1], s.dphi[d].data() + c * kPack<Real>);
    detail::store_pack(s.psi.data() + c * kPack<Real>, sum);
  }
}

/// X = phi P of a term, with the density where it is asked for.
template <class Real>
void sphere_density(const OrbitalTerm& term, const detail::GatheredMatrix<Real>& P,
                    std::span<const std::int64_t> index, Density& density, Scratch<Real>& s) {
  std::array<PackVec<Real>, 4> sum{};
  detail::for_columns(P, s.atoms, s.phi.data(), false, [&](const PackVec<Real>& X, int c) {
    detail::store_pack(s.X.data() + c * kPack<Real>, X);
    if (!term.with_density) return;
    detail::add_product<Real>(sum[0], X, s.phi.data() + c * kPack<Real>);
    for (std::size_t d = 0; d < 3; ++d)
      detail::add_product<Real>(sum[d + 1], X, s.dphi[d].data() + c * kPack<Real>);
  });
  if (!term.with_density) return;
  std::array<std::array<Real, kPack<Real>>, 4> n;
  for (std::size_t d = 0; d < 4; ++d) n[d] = numbers<Real>(sum[d]);
  for (std::size_t p = 0; p < index.size(); ++p) {
    const auto q = static_cast<std::size_t>(index[p]);
    density.sphere[q] = n[0][p];
    density.sphere_gradient[q] = 2.0 * Vec3(n[1][p], n[2][p], n[3][p]);
  }
}

template <class Real>
void sphere_pack(const Grid& grid, const Batch& batch, const BatchPoints& x, int pack,
                 std::span<const OrbitalTerm> terms, std::span<const std::int64_t> index,
                 std::vector<Density>& density, Scratch<Real>& s, Vec3* part) {
  const int n = detail::pack_atoms<Real>(grid, batch, pack, s.atoms, s.which);
  if (n == 0) return;
  s.evaluate(grid, x, pack);
  for (std::size_t t = 0; t < terms.size(); ++t) {
    const auto potential = sphere_potential<Real>(*terms[t].potential, index);
    for (std::size_t k = 0; k < s.atoms.size(); ++k) {
      detail::for_octets<Real>(pack, [&](int o, int p) {
        const int at = s.atoms[k].first * kPack<Real> + p;
        const std::array<Real*, 3> h = {s.hessian[0].data() + at, s.hessian[1].data() + at,
                                        s.hessian[2].data() + at};
        const double* g = potential[static_cast<std::size_t>(p / kOctet)].data() + kOctet;
        grid.tables(s.which[k]->atom)
            .hessian_dot(x, o, grid.center(*s.which[k]), g, h, kPack<Real>);
      });
    }
    weigh(potential, n, s);
    sphere_density(terms[t], s.P[t], index, density[t], s);
    detail::for_columns(s.P[t], s.atoms, s.psi.data(), false, [&](const PackVec<Real>& G, int c) {
      detail::store_pack(s.Y.data() + c * kPack<Real>, G);
    });
    s.add_products(s.X, s.hessian);
    s.add_products(s.Y, s.dphi);
  }
  for (std::size_t k = 0; k < s.atoms.size(); ++k) {
    Vec3& slot = part[s.which[k] - grid.active(batch).data()];
    for (int d = 0; d < 3; ++d) {
      const auto t = numbers<Real>(s.sum[k][static_cast<std::size_t>(d)]);
      for (std::size_t p = 0; p < index.size(); ++p) slot[d] -= 2.0 * t[p];
    }
  }
}

template <class Real>
void add_batch(const Grid& grid, const Batch& batch, std::span<const OrbitalTerm> terms,
               std::vector<Density>& density, Scratch<Real>& s, Vec3* part, Mat3& strain) {
  const BatchPoints x = grid.points(batch);
  std::array<std::int64_t, kBatch> all{};
  grid.indices(batch, all);
  for (int k = 0; k * kPack<Real> < batch.n_points; ++k) {
    const int first = k * kPack<Real>, count = std::min(kPack<Real>, batch.n_points - first);
    const std::span<const std::int64_t> index{all.data() + first, static_cast<std::size_t>(count)};
    if (batch.owner < 0) {
      uniform_pack(grid, batch, x, k, terms, index, density, s, part, strain);
    } else {
      sphere_pack(grid, batch, x, k, terms, index, density, s, part);
    }
  }
}

template <class Real>
void add_groups(const Grid& grid, std::span<const OrbitalTerm> terms, std::vector<Density>& density,
                std::vector<Vec3>& part, std::vector<Mat3>& strain) {
  const auto& batches = grid.batches();
  const auto& groups = grid.groups();
#pragma omp parallel
  {
    Scratch<Real> scratch(grid.max_orbitals(), terms.size());
#pragma omp for schedule(dynamic, 1)
    for (std::size_t g = 0; g < groups.size(); ++g) {
      for (std::size_t t = 0; t < terms.size(); ++t) scratch.P[t].full(grid, groups[g], terms[t].D);
      for (std::size_t k = groups[g].batches_begin; k < groups[g].batches_end; ++k) {
        add_batch(grid, batches[k], terms, density, scratch, part.data() + batches[k].atoms_begin,
                  strain[k]);
      }
    }
  }
}

}  // namespace

OrbitalGradient orbital_gradient(const Grid& grid, std::span<const OrbitalTerm> terms,
                                 Precision precision) {
  std::vector<Vec3> part(static_cast<std::size_t>(grid.n_active()), Vec3::Zero());
  std::vector<Mat3> strain(grid.batches().size(), Mat3::Zero());
  OrbitalGradient out;
  out.density.resize(terms.size());
  for (std::size_t k = 0; k < terms.size(); ++k) {
    if (!terms[k].with_density) continue;
    const auto n_sphere = static_cast<std::size_t>(grid.n_sphere_points());
    out.density[k].uniform.assign(grid.uniform().size(), 0.0);
    out.density[k].sphere.assign(n_sphere, 0.0);
    out.density[k].sphere_gradient.assign(n_sphere, Vec3::Zero());
  }
  precision == Precision::single ? add_groups<float>(grid, terms, out.density, part, strain)
                                 : add_groups<double>(grid, terms, out.density, part, strain);
  out.gradient = grid.add_parts(part, strain);
  return out;
}

Gradient orbital_gradient(const Grid& grid, std::span<const double> D, const Potential& potential) {
  const OrbitalTerm term{D, &potential};
  return orbital_gradient(grid, {&term, 1}).gradient;
}

}  // namespace mlh
