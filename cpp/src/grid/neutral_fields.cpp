// Superpositions of the spherical functions of the atoms, and their gradients.

#include <algorithm>
#include <cmath>

#include "mlh/grid/field.hpp"

namespace mlh {

namespace {

/// Distance and unit vector from an atom to a point.
struct Ray {
  double r;
  Vec3 direction;
};

Ray ray(const BatchPoints& x, int p, const Vec3& center) {
  const Vec3 d(x.x[0][p] - center[0], x.x[1][p] - center[1], x.x[2][p] - center[2]);
  const double r = d.norm();
  return {r, r > 1e-10 ? Vec3(d / r) : Vec3::Zero()};
}

/// (q . grad) grad n of a spherical n with slope and curvature at `to`.
Vec3 hessian_dot(double slope, double curvature, const Ray& to, const Vec3& q) {
  const double over_r = to.r > 1e-10 ? slope / to.r : curvature;
  return over_r * q + ((curvature - over_r) * q.dot(to.direction)) * to.direction;
}

/// A density of a species with what multiplies it on all points; a null table where there is none.
using WithCoefficients = std::pair<const RadialTable*, const Potential*>;

std::array<WithCoefficients, 2> densities_with_coefficients(const SpeciesData& s,
                                                            const SphericalCoefficients& c) {
  return {WithCoefficients{c.core && s.core_density ? &*s.core_density : nullptr, c.core},
          WithCoefficients{c.neutral ? &s.density : nullptr, c.neutral}};
}

bool has_core(const BasisData& basis) {
  return std::any_of(basis.species.begin(), basis.species.end(),
                     [](const SpeciesData& s) { return s.core_density.has_value(); });
}

}  // namespace

NeutralFields neutral_fields(const Grid& grid) {
  NeutralFields f;
  f.density.assign(grid.uniform().size(), 0.0);
  f.potential.assign(grid.uniform().size(), 0.0);
  f.weight.assign(grid.uniform().size(), 1.0);
  const auto n_sphere = static_cast<std::size_t>(grid.n_sphere_points());
  f.sphere_density.assign(n_sphere, 0.0);
  f.sphere_potential.assign(n_sphere, 0.0);
  f.sphere_gradient.assign(n_sphere, Vec3::Zero());
  f.sphere_weight.assign(n_sphere, 0.0);
  if (has_core(grid.basis())) {
    f.core.uniform.assign(grid.uniform().size(), 0.0);
    f.core.sphere.assign(n_sphere, 0.0);
    f.core.sphere_gradient.assign(n_sphere, Vec3::Zero());
  }
  const auto& batches = grid.batches();
#pragma omp parallel for schedule(dynamic, 16)
  for (std::size_t k = 0; k < batches.size(); ++k) {
    const Batch& batch = batches[k];
    const BatchPoints x = grid.points(batch);
    std::array<std::int64_t, kBatch> index{};
    grid.indices(batch, index);
    for (int p = 0; p < batch.n_points; ++p) {
      const auto g = static_cast<std::size_t>(index[p]);
      for (const ActiveAtom& atom : grid.active(batch)) {
        const SpeciesData& s = grid.species(atom.atom);
        const Ray to = ray(x, p, grid.center(atom));
        if (batch.owner < 0) {
          f.density[g] += s.density.value(to.r);
          if (s.core_density) f.core.uniform[g] += s.core_density->value(to.r);
          f.potential[g] += s.neutral_potential.value(to.r);
          if (s.sphere) f.weight[g] -= partition_weight(*s.sphere, to.r)[0];
        } else {
          const auto n = s.density.derivatives(to.r);
          f.sphere_density[g] += n[0];
          f.sphere_gradient[g] += n[1] * to.direction;
          f.sphere_potential[g] += s.neutral_potential.value(to.r);
          if (s.core_density) {
            const auto core = s.core_density->derivatives(to.r);
            f.core.sphere[g] += core[0];
            f.core.sphere_gradient[g] += core[1] * to.direction;
          }
        }
      }
      if (batch.owner >= 0) f.sphere_weight[g] = grid.sphere_weight(batch, p);
    }
  }
  return f;
}

Density neutral_density(const NeutralFields& neutral) {
  return {neutral.density, neutral.sphere_density, neutral.sphere_gradient};
}

Potential uniform_potential(const Grid& grid, std::span<const double> values) {
  Potential v;
  const double dv = grid.uniform().volume_element();
  v.uniform.reserve(values.size());
  for (const double value : values) v.uniform.push_back(dv * value);
  v.sphere.assign(static_cast<std::size_t>(grid.n_sphere_points()), 0.0);
  v.sphere_vector.assign(v.sphere.size(), Vec3::Zero());
  return v;
}

Potential neutral_potential(const Grid& grid, const NeutralFields& neutral) {
  Potential v = uniform_potential(grid, neutral.potential);
  for (std::size_t g = 0; g < v.uniform.size(); ++g) v.uniform[g] *= neutral.weight[g];
  for (std::size_t p = 0; p < v.sphere.size(); ++p) {
    v.sphere[p] = neutral.sphere_weight[p] * neutral.sphere_potential[p];
  }
  return v;
}

void add(Potential& a, const Potential& b) {
  for (std::size_t g = 0; g < a.uniform.size(); ++g) a.uniform[g] += b.uniform[g];
  for (std::size_t p = 0; p < a.sphere.size(); ++p) {
    a.sphere[p] += b.sphere[p];
    a.sphere_vector[p] += b.sphere_vector[p];
  }
}

double neutral_energy(const Grid& grid, const NeutralFields& neutral, const Density& density) {
  double uniform = 0.0, sphere = 0.0;
  for (std::size_t g = 0; g < density.uniform.size(); ++g) {
    uniform += neutral.weight[g] * neutral.potential[g] * density.uniform[g];
  }
  for (std::size_t p = 0; p < density.sphere.size(); ++p) {
    sphere += neutral.sphere_weight[p] * neutral.sphere_potential[p] * density.sphere[p];
  }
  return uniform * grid.uniform().volume_element() + sphere;
}

Gradient spherical_gradient(const Grid& grid, const SphericalCoefficients& c) {
  const auto& batches = grid.batches();
  // One slot per (batch, active atom), summed in order afterwards: independent of the threads.
  std::vector<Vec3> part(static_cast<std::size_t>(grid.n_active()), Vec3::Zero());
  std::vector<Mat3> strain(batches.size(), Mat3::Zero());
#pragma omp parallel for schedule(dynamic, 16)
  for (std::size_t k = 0; k < batches.size(); ++k) {
    const Batch& batch = batches[k];
    const BatchPoints x = grid.points(batch);
    std::array<std::int64_t, kBatch> index{};
    grid.indices(batch, index);
    auto slot = static_cast<std::size_t>(batch.atoms_begin);
    for (const ActiveAtom& atom : grid.active(batch)) {
      const SpeciesData& s = grid.species(atom.atom);
      const Vec3 center = grid.center(atom);
      const auto everywhere = densities_with_coefficients(s, c);
      Vec3 sum = Vec3::Zero();
      for (int p = 0; p < batch.n_points; ++p) {
        const auto g = static_cast<std::size_t>(index[p]);
        const Ray to = ray(x, p, center);
        double slope = 0.0;
        if (batch.owner < 0) {
          slope = c.potential[g] * s.neutral_potential.derivatives(to.r)[1] +
                  c.density[g] * s.density.derivatives(to.r)[1];
          if (s.sphere) slope += c.weight[g] * partition_weight(*s.sphere, to.r)[1];
          for (const auto& [table, v] : everywhere) {
            if (table) slope += v->uniform[g] * table->derivatives(to.r)[1];
          }
          strain[k] += (slope * to.r) * to.direction * to.direction.transpose();
        } else {
          slope = c.sphere_potential[g] * s.neutral_potential.derivatives(to.r)[1];
          for (const auto& [table, v] : everywhere) {
            if (!table) continue;
            const auto n = table->derivatives(to.r);
            slope += v->sphere[g] * n[1];
            sum -= hessian_dot(n[1], n[2], to, v->sphere_vector[g]);
          }
        }
        sum -= slope * to.direction;  // d|r - tau|/dtau = -direction
      }
      part[slot++] = sum;
    }
  }
  return grid.add_parts(part, strain);
}

}  // namespace mlh
