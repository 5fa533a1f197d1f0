// E_xc = dv sum_g W e(n, sigma) + sum_p omega w e(n, sigma), and its exact derivative: on the grid
// the gradient is a central difference D, so v = W de/dn - D . (2 W de/dsigma D n) (White and Bird,
// PRB 50, 4954 (1994)); on the spheres the gradient is analytic and the derivative keeps both
// parts.

#include <stdexcept>
#include <string>

#include "grid/xc_points.hpp"
#include "mlh/grid/field.hpp"

namespace mlh {

namespace {

using detail::evaluate_points;
using detail::gradient_factor;
using detail::Pointwise;
using detail::XcEvaluator;

void uniform_part(const Grid& grid, const NeutralFields& neutral, Functional functional,
                  Stencil stencil, const std::vector<Density>& density, ExchangeCorrelation& out) {
  const std::size_t n_spin = density.size(), size = grid.uniform().size();
  const bool gga = needs_gradient(functional);
  const double dv = grid.uniform().volume_element();
  std::vector<std::array<std::vector<double>, 3>> slope(n_spin);
  for (std::size_t s = 0; s < n_spin; ++s) {
    if (gga) slope[s] = gradient(grid.uniform(), density[s].uniform, stencil);
  }
  out.energy_density.resize(size);
  std::vector<Mat3> strain((size + XcEvaluator::kChunk - 1) / XcEvaluator::kChunk, Mat3::Zero());
  const auto fill = [&](Pointwise& x, std::size_t q, std::size_t p) {
    for (std::size_t s = 0; s < n_spin; ++s) x.n[q * n_spin + s] = density[s].uniform[p];
    for (std::size_t s = 0, k = 0; gga && s < n_spin; ++s) {
      for (std::size_t t = s; t < n_spin; ++t, ++k) {
        double dot = 0.0;
        for (int a = 0; a < 3; ++a) dot += slope[s][a][p] * slope[t][a][p];
        x.sigma[q * (2 * n_spin - 1) + k] = dot;
      }
    }
    detail::add_least_sigma(x, q, n_spin);
  };
  // The slope of a point makes way for its vector f.
  const auto use = [&](const Pointwise& x, std::size_t q, std::size_t p) {
    const double w = dv * neutral.weight[p];
    out.energy_density[p] = x.e[q];
    for (std::size_t s = 0; s < n_spin; ++s) out.potential[s].uniform[p] = w * x.v[q * n_spin + s];
    if (!gga) return w * x.e[q];
    std::array<Vec3, 2> f;
    for (std::size_t s = 0; s < n_spin; ++s) {
      Vec3 slope_s;
      for (int a = 0; a < 3; ++a) {
        slope_s[a] = slope[s][a][p];
        f[s][a] = w * gradient_factor(x, n_spin, q, s, slope_s[a], slope[n_spin - 1 - s][a][p]);
      }
      // d(grad n) = -eps grad n at fixed n
      strain[p / XcEvaluator::kChunk] -= f[s] * slope_s.transpose();
    }
    for (std::size_t s = 0; s < n_spin; ++s) {
      for (int a = 0; a < 3; ++a) slope[s][a][p] = f[s][a];
    }
    return w * x.e[q];
  };
  out.energy += evaluate_points<Pointwise>(functional, n_spin, size, fill, use);
  for (const Mat3& part : strain) out.strain += symmetric_part(part);
  for (std::size_t s = 0; s < n_spin; ++s) {
    if (gga) subtract_divergence(grid.uniform(), slope[s], out.potential[s].uniform, stencil);
  }
}

void sphere_part(const NeutralFields& neutral, Functional functional,
                 const std::vector<Density>& density, ExchangeCorrelation& out) {
  const std::size_t n_spin = density.size();
  const bool gga = needs_gradient(functional);
  const auto fill = [&](Pointwise& x, std::size_t q, std::size_t p) {
    for (std::size_t s = 0, k = 0; s < n_spin; ++s) {
      x.n[q * n_spin + s] = density[s].sphere[p];
      for (std::size_t t = s; gga && t < n_spin; ++t, ++k) {
        x.sigma[q * (2 * n_spin - 1) + k] =
            density[s].sphere_gradient[p].dot(density[t].sphere_gradient[p]);
      }
    }
  };
  const auto use = [&](const Pointwise& x, std::size_t q, std::size_t p) {
    const double w = neutral.sphere_weight[p];
    for (std::size_t s = 0; s < n_spin; ++s) {
      out.potential[s].sphere[p] = w * x.v[q * n_spin + s];
      for (int a = 0; gga && a < 3; ++a) {
        out.potential[s].sphere_vector[p][a] =
            w * gradient_factor(x, n_spin, q, s, density[s].sphere_gradient[p][a],
                                density[n_spin - 1 - s].sphere_gradient[p][a]);
      }
    }
    return w * x.e[q];
  };
  out.energy +=
      evaluate_points<Pointwise>(functional, n_spin, neutral.sphere_weight.size(), fill, use);
}

}  // namespace

ExchangeCorrelation exchange_correlation(const Grid& grid, const NeutralFields& neutral,
                                         Functional functional, const std::vector<Density>& density,
                                         Stencil stencil) {
  if (density.empty() || density.size() > 2) {
    throw std::invalid_argument("exchange_correlation: expected 1 or 2 spin components, got " +
                                std::to_string(density.size()));
  }
  ExchangeCorrelation out;
  out.potential = detail::empty_potentials(grid, density.size());
  const auto add_parts = [&](const std::vector<Density>& n) {
    uniform_part(grid, neutral, functional, stencil, n, out);
    sphere_part(neutral, functional, n, out);
  };
  if (neutral.core.uniform.empty()) {
    add_parts(density);
  } else {
    add_parts(detail::with_core(neutral, density));
  }
  return out;
}

Potential core_potential(const ExchangeCorrelation& xc) {
  Potential mean = xc.potential.front();
  if (xc.potential.size() == 1) return mean;
  add(mean, xc.potential.back());
  for (double& v : mean.uniform) v *= 0.5;
  for (double& v : mean.sphere) v *= 0.5;
  for (Vec3& v : mean.sphere_vector) v *= 0.5;
  return mean;
}

}  // namespace mlh
