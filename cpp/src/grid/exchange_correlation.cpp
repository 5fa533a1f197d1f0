// E_xc = dv sum_g W e(n, sigma) + sum_p omega w e(n, sigma), and its exact derivative: on the grid
// the gradient is a central difference D, so v = W de/dn - D . (2 W de/dsigma D n) (White and Bird,
// PRB 50, 4954 (1994)); on the spheres the gradient is analytic and the derivative keeps both
// parts.

#include <algorithm>
#include <stdexcept>
#include <string>

#include "mlh/grid/field.hpp"
#include "xc/xc_evaluator.hpp"

namespace mlh {

namespace {

using detail::XcEvaluator;

/// e, de/dn_s, de/dsigma on a chunk of points; arrays point-major as libxc wants them.
struct Pointwise {
  std::vector<double> n, sigma, e, v, v_sigma;

  Pointwise(Functional functional, std::size_t n_spin)
      : n(n_spin * XcEvaluator::kChunk),
        sigma(needs_gradient(functional) ? (2 * n_spin - 1) * XcEvaluator::kChunk : 0),
        e(XcEvaluator::kChunk),
        v(n.size()),
        v_sigma(sigma.size()) {}

  void evaluate(const XcEvaluator& functional, std::size_t size) {
    functional(size, n.data(), sigma.empty() ? nullptr : sigma.data(), e.data(), v.data(),
               v_sigma.empty() ? nullptr : v_sigma.data());
  }
};

/// Vector that multiplies d(grad n_s) in de: 2 e_ss grad n_s + e_ud grad n_other.
double gradient_factor(const Pointwise& x, std::size_t n_spin, std::size_t q, std::size_t s,
                       double own, double other) {
  if (n_spin == 1) return 2.0 * x.v_sigma[q] * own;
  return 2.0 * x.v_sigma[3 * q + 2 * s] * own + x.v_sigma[3 * q + 1] * other;
}

/// The functional on `size` points, chunk by chunk: fill(x, q, p) sets n and sigma of place q of
/// the chunk from point p, use(x, q, p) takes the results from there and returns the energy of the
/// point. The sum of the energies does not depend on the number of threads.
template <class Fill, class Use>
double evaluate_points(Functional functional, std::size_t n_spin, std::size_t size, Fill&& fill,
                       Use&& use) {
  constexpr std::size_t kChunk = XcEvaluator::kChunk;
  const XcEvaluator evaluator(functional, static_cast<int>(n_spin));
  std::vector<double> energy((size + kChunk - 1) / kChunk, 0.0);
#pragma omp parallel
  {
    Pointwise x(functional, n_spin);
#pragma omp for schedule(static)
    for (std::size_t chunk = 0; chunk < energy.size(); ++chunk) {
      const std::size_t first = chunk * kChunk, count = std::min(kChunk, size - first);
      for (std::size_t q = 0; q < count; ++q) fill(x, q, first + q);
      x.evaluate(evaluator, count);
      for (std::size_t q = 0; q < count; ++q) energy[chunk] += use(x, q, first + q);
    }
  }
  double sum = 0.0;
  for (const double part : energy) sum += part;
  return sum;
}

/// Bohr^-8, added to grad n_s . grad n_s' of every two spins on the grid, and four times to that of
/// the sum: one and two equal spins stay the same. A grid point on the nucleus of a soft
/// pseudo-atom has a density of 1e-7 and, by symmetry, no gradient: e_sigma ~ n^(-4/3) there makes
/// 1e-4 Ha in H of a change of 1e-9 in D, and self-consistency never ends. The energy of all other
/// points changes by less than 1e-9 Ha.
constexpr double kLeastSigma = 1e-14;

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
    if (gga && n_spin == 1) x.sigma[q] += 4.0 * kLeastSigma;
    if (gga && n_spin == 2) {
      for (std::size_t k = 0; k < 3; ++k) x.sigma[3 * q + k] += kLeastSigma;
    }
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
  out.energy += evaluate_points(functional, n_spin, size, fill, use);
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
  out.energy += evaluate_points(functional, n_spin, neutral.sphere_weight.size(), fill, use);
}

/// n + n_core, every spin with its share of the core.
std::vector<Density> with_core(const NeutralFields& neutral, std::vector<Density> density) {
  const double share = 1.0 / static_cast<double>(density.size());
  const Density& core = neutral.core;
  for (Density& n : density) {
    for (std::size_t g = 0; g < n.uniform.size(); ++g) n.uniform[g] += share * core.uniform[g];
    for (std::size_t p = 0; p < n.sphere.size(); ++p) {
      n.sphere[p] += share * core.sphere[p];
      n.sphere_gradient[p] += share * core.sphere_gradient[p];
    }
  }
  return density;
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
  out.potential.resize(density.size());
  for (auto& v : out.potential) {
    v.uniform.assign(grid.uniform().size(), 0.0);
    v.sphere.assign(neutral.sphere_weight.size(), 0.0);
    v.sphere_vector.assign(neutral.sphere_weight.size(), Vec3::Zero());
  }
  const auto add_parts = [&](const std::vector<Density>& n) {
    uniform_part(grid, neutral, functional, stencil, n, out);
    sphere_part(neutral, functional, n, out);
  };
  if (neutral.core.uniform.empty()) {
    add_parts(density);
  } else {
    add_parts(with_core(neutral, density));
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
