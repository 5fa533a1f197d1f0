#pragma once
// Internal: the functional on the points of grid and spheres, chunk by chunk; shared by the energy
// and by its change.

#include <algorithm>
#include <vector>

#include "mlh/grid/field.hpp"
#include "xc/xc_evaluator.hpp"

namespace mlh::detail {

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
inline double gradient_factor(const Pointwise& x, std::size_t n_spin, std::size_t q, std::size_t s,
                              double own, double other) {
  if (n_spin == 1) return 2.0 * x.v_sigma[q] * own;
  return 2.0 * x.v_sigma[3 * q + 2 * s] * own + x.v_sigma[3 * q + 1] * other;
}

/// The functional on `size` points, chunk by chunk: fill(x, q, p) sets n and sigma of place q of
/// the chunk from point p, use(x, q, p) takes the results from there and returns the energy of the
/// point. The sum of the energies does not depend on the number of threads.
template <class Points, class Fill, class Use>
double evaluate_points(Functional functional, std::size_t n_spin, std::size_t size, Fill&& fill,
                       Use&& use) {
  constexpr std::size_t kChunk = XcEvaluator::kChunk;
  const XcEvaluator evaluator(functional, static_cast<int>(n_spin));
  std::vector<double> energy((size + kChunk - 1) / kChunk, 0.0);
#pragma omp parallel
  {
    Points x(functional, n_spin);
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
inline constexpr double kLeastSigma = 1e-14;

/// The floor on the sigmas of place q of a chunk on the uniform grid.
inline void add_least_sigma(Pointwise& x, std::size_t q, std::size_t n_spin) {
  if (x.sigma.empty()) return;
  if (n_spin == 1) {
    x.sigma[q] += 4.0 * kLeastSigma;
  } else {
    for (std::size_t k = 0; k < 3; ++k) x.sigma[3 * q + k] += kLeastSigma;
  }
}

/// n + n_core, every spin with its share of the core.
inline std::vector<Density> with_core(const NeutralFields& neutral, std::vector<Density> density) {
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

/// Potentials that are zero everywhere.
inline std::vector<Potential> empty_potentials(const Grid& grid, std::size_t n_spin) {
  const auto n_sphere = static_cast<std::size_t>(grid.n_sphere_points());
  return {n_spin,
          Potential{std::vector<double>(grid.uniform().size(), 0.0),
                    std::vector<double>(n_sphere, 0.0), std::vector<Vec3>(n_sphere, Vec3::Zero())}};
}

}  // namespace mlh::detail
