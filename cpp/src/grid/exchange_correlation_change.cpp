// How E_xc and its potential change with the density, to first order. With sigma = |D n|^2 and
// changes d of the density,
//   de = e_n dn + e_sigma dsigma,   dsigma = 2 D n . D dn,   dv = W d(e_n) - D . 2 W (d(e_sigma) D
//   n
//   + e_sigma D dn) ,
// the same sums over grid and spheres as E_xc: the kernel of the discretised energy, not of the
// continuous one.

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

/// A chunk of points that move: `at` holds the functional where they are, the base its change.
struct MovingPoints : Pointwise {
  Pointwise at;
  std::vector<double> dn, dsigma;

  MovingPoints(Functional functional, std::size_t n_spin)
      : Pointwise(functional, n_spin), at(functional, n_spin), dn(n.size()), dsigma(sigma.size()) {}

  void evaluate(const XcEvaluator& functional, std::size_t size) {
    const auto pointer = [](std::vector<double>& x) { return x.empty() ? nullptr : x.data(); };
    at.n = n;
    at.sigma = sigma;
    at.evaluate(functional, size);
    functional.change(size, n.data(), pointer(sigma), dn.data(), pointer(dsigma), e.data(),
                      v.data(), pointer(v_sigma));
  }
};

/// n, sigma and their changes of one point from the densities and gradients of the spins.
void set_point(MovingPoints& x, std::size_t q, std::size_t n_spin, bool gga,
               const std::array<Vec3, 2>& slope, const std::array<Vec3, 2>& slope_change) {
  for (std::size_t s = 0, k = 0; gga && s < n_spin; ++s) {
    for (std::size_t t = s; t < n_spin; ++t, ++k) {
      const std::size_t place = q * (2 * n_spin - 1) + k;
      x.sigma[place] = slope[s].dot(slope[t]);
      x.dsigma[place] = slope[s].dot(slope_change[t]) + slope_change[s].dot(slope[t]);
    }
  }
}

/// The vectors that multiply d(grad n_s) in the energy, and their changes.
struct Vectors {
  std::array<Vec3, 2> at, change;
};

Vectors vectors(const MovingPoints& x, std::size_t q, std::size_t n_spin, double weight,
                const std::array<Vec3, 2>& slope, const std::array<Vec3, 2>& slope_change) {
  Vectors f;
  for (std::size_t s = 0; s < n_spin; ++s) {
    const std::size_t t = n_spin - 1 - s;
    for (int a = 0; a < 3; ++a) {
      f.at[s][a] = weight * gradient_factor(x.at, n_spin, q, s, slope[s][a], slope[t][a]);
      f.change[s][a] =
          weight * (gradient_factor(x, n_spin, q, s, slope[s][a], slope[t][a]) +
                    gradient_factor(x.at, n_spin, q, s, slope_change[s][a], slope_change[t][a]));
    }
  }
  return f;
}

using Slopes = std::vector<std::array<std::vector<double>, 3>>;

std::array<Vec3, 2> at_point(const Slopes& slope, std::size_t p) {
  std::array<Vec3, 2> out{Vec3::Zero(), Vec3::Zero()};
  for (std::size_t s = 0; s < slope.size(); ++s) {
    for (int a = 0; a < 3 && !slope[s][a].empty(); ++a) out[s][a] = slope[s][a][p];
  }
  return out;
}

void uniform_part(const Grid& grid, const NeutralFields& neutral, Functional functional,
                  Stencil stencil, const std::vector<Density>& density,
                  const std::vector<Density>& change, ExchangeCorrelation& out) {
  const std::size_t n_spin = density.size(), size = grid.uniform().size();
  const bool gga = needs_gradient(functional);
  const double dv = grid.uniform().volume_element();
  Slopes slope(n_spin), slope_change(n_spin);
  for (std::size_t s = 0; gga && s < n_spin; ++s) {
    slope[s] = gradient(grid.uniform(), density[s].uniform, stencil);
    slope_change[s] = gradient(grid.uniform(), change[s].uniform, stencil);
  }
  out.energy_density.resize(size);
  std::vector<Mat3> strain((size + XcEvaluator::kChunk - 1) / XcEvaluator::kChunk, Mat3::Zero());
  const auto fill = [&](MovingPoints& x, std::size_t q, std::size_t p) {
    for (std::size_t s = 0; s < n_spin; ++s) {
      x.n[q * n_spin + s] = density[s].uniform[p];
      x.dn[q * n_spin + s] = change[s].uniform[p];
    }
    set_point(x, q, n_spin, gga, at_point(slope, p), at_point(slope_change, p));
    detail::add_least_sigma(x, q, n_spin);
  };
  // The slope of a point makes way for the change of its vector f.
  const auto use = [&](const MovingPoints& x, std::size_t q, std::size_t p) {
    const double w = dv * neutral.weight[p];
    out.energy_density[p] = x.e[q];
    for (std::size_t s = 0; s < n_spin; ++s) out.potential[s].uniform[p] = w * x.v[q * n_spin + s];
    if (!gga) return w * x.e[q];
    const auto here = at_point(slope, p), moved = at_point(slope_change, p);
    const Vectors f = vectors(x, q, n_spin, w, here, moved);
    for (std::size_t s = 0; s < n_spin; ++s) {
      strain[p / XcEvaluator::kChunk] -=
          f.change[s] * here[s].transpose() + f.at[s] * moved[s].transpose();
      for (int a = 0; a < 3; ++a) slope[s][a][p] = f.change[s][a];
    }
    return w * x.e[q];
  };
  out.energy += evaluate_points<MovingPoints>(functional, n_spin, size, fill, use);
  for (const Mat3& part : strain) out.strain += symmetric_part(part);
  for (std::size_t s = 0; gga && s < n_spin; ++s) {
    subtract_divergence(grid.uniform(), slope[s], out.potential[s].uniform, stencil);
  }
}

void sphere_part(const NeutralFields& neutral, Functional functional,
                 const std::vector<Density>& density, const std::vector<Density>& change,
                 ExchangeCorrelation& out) {
  const std::size_t n_spin = density.size();
  const bool gga = needs_gradient(functional);
  const auto slopes = [n_spin](const std::vector<Density>& n, std::size_t p) {
    std::array<Vec3, 2> out_slopes{Vec3::Zero(), Vec3::Zero()};
    for (std::size_t s = 0; s < n_spin; ++s) out_slopes[s] = n[s].sphere_gradient[p];
    return out_slopes;
  };
  const auto fill = [&](MovingPoints& x, std::size_t q, std::size_t p) {
    for (std::size_t s = 0; s < n_spin; ++s) {
      x.n[q * n_spin + s] = density[s].sphere[p];
      x.dn[q * n_spin + s] = change[s].sphere[p];
    }
    set_point(x, q, n_spin, gga, slopes(density, p), slopes(change, p));
  };
  const auto use = [&](const MovingPoints& x, std::size_t q, std::size_t p) {
    const double w = neutral.sphere_weight[p];
    for (std::size_t s = 0; s < n_spin; ++s) out.potential[s].sphere[p] = w * x.v[q * n_spin + s];
    if (gga) {
      const Vectors f = vectors(x, q, n_spin, w, slopes(density, p), slopes(change, p));
      for (std::size_t s = 0; s < n_spin; ++s) out.potential[s].sphere_vector[p] = f.change[s];
    }
    return w * x.e[q];
  };
  out.energy +=
      evaluate_points<MovingPoints>(functional, n_spin, neutral.sphere_weight.size(), fill, use);
}

}  // namespace

ExchangeCorrelation exchange_correlation_change(const Grid& grid, const NeutralFields& neutral,
                                                Functional functional,
                                                const std::vector<Density>& density,
                                                const std::vector<Density>& change,
                                                Stencil stencil) {
  if (density.empty() || density.size() > 2 || change.size() != density.size()) {
    throw std::invalid_argument(
        "exchange_correlation_change: expected as many changes as densities, 1 or 2, got " +
        std::to_string(change.size()) + " and " + std::to_string(density.size()));
  }
  ExchangeCorrelation out;
  out.potential = detail::empty_potentials(grid, density.size());
  const auto add_parts = [&](const std::vector<Density>& n) {
    uniform_part(grid, neutral, functional, stencil, n, change, out);
    sphere_part(neutral, functional, n, change, out);
  };
  if (neutral.core.uniform.empty()) {
    add_parts(density);
  } else {
    add_parts(detail::with_core(neutral, density));
  }
  return out;
}

}  // namespace mlh
