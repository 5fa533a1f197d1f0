#include "mlh/xc/xc.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "xc/pbe_correlation.hpp"
#include "xc/xc_evaluator.hpp"

namespace mlh {
namespace {

constexpr std::size_t kChunk = detail::XcEvaluator::kChunk;

void initialise(xc_func_type& functional, int id, int nspin) {
  if (xc_func_init(&functional, id, nspin == 1 ? XC_UNPOLARIZED : XC_POLARIZED) != 0) {
    throw std::runtime_error("libxc: cannot initialise functional number " + std::to_string(id));
  }
  // libxc has a different default for each functional: exchange and correlation would then be
  // switched off at different densities.
  xc_func_set_dens_threshold(&functional, kXcDensityThreshold);
}

/// Correlation of two spins where one of them is (nearly) empty. libxc raises each spin to the
/// density threshold, and the derivative at a raised density is not that of the energy: here the
/// sum of both is compared with it (XcEvaluator), and the spin interpolation is bounded instead.
void bound_polarisation(xc_func_type& correlation) {
  xc_func_set_dens_threshold(&correlation, 1e-30);
  xc_func_set_zeta_threshold(&correlation, kXcSpinThreshold);
}

struct Parts {
  int exchange;
  int correlation;  ///< kOwn: `pbe_correlation`
};
constexpr int kOwn = -1;
constexpr double kOpenMXZeta = 0.99;

Parts libxc_parts(Functional functional) {
  switch (functional) {
    case Functional::pbe:
      return {XC_GGA_X_PBE, XC_GGA_C_PBE};
    case Functional::lda_pw92:
      return {XC_LDA_X, XC_LDA_C_PW};
    case Functional::lda_pz:
      return {XC_LDA_X, XC_LDA_C_PZ};
    case Functional::pbe_pw92:
    case Functional::pbe_openmx:
      return {XC_GGA_X_PBE, kOwn};
  }
  throw std::invalid_argument("functional: expected one of enum Functional");
}

/// Scratch of one chunk: what one libxc functional returns, before it is summed into the outputs.
struct Scratch {
  std::array<double, kChunk> eps;
  std::array<double, 2 * kChunk> v_density;
  std::array<double, 3 * kChunk> v_sigma;
};

/// Second derivatives of one chunk, as libxc orders them: of two spins (uu, ud, dd), (u_uu, u_ud,
/// u_dd, d_uu, d_ud, d_dd), (uu_uu, uu_ud, uu_dd, ud_ud, ud_dd, dd_dd).
struct SecondDerivatives {
  std::array<double, 3 * kChunk> density;
  std::array<double, 6 * kChunk> mixed, sigma;
};

/// Place of element (i, j) of a symmetric matrix of order n whose upper rows are stored.
constexpr std::size_t packed(std::size_t i, std::size_t j, std::size_t n) {
  return i <= j ? i * n - i * (i + 1) / 2 + j : packed(j, i, n);
}

/// Views of one chunk of the caller's arrays.
struct Chunk {
  std::size_t size;
  const double* density;
  const double* sigma;
  double* energy_density;
  double* v_density;
  double* v_sigma;
};

double total_density(const Chunk& chunk, std::size_t point, std::size_t nspin) noexcept {
  return nspin == 1 ? chunk.density[point]
                    : chunk.density[2 * point] + chunk.density[2 * point + 1];
}

void add_functional(const xc_func_type* functional, bool gradient, std::size_t nspin,
                    const Chunk& chunk, Scratch& scratch) noexcept {
  const std::size_t nsigma = nspin == 1 ? 1 : 3;
  if (gradient) {
    xc_gga_exc_vxc(functional, chunk.size, chunk.density, chunk.sigma, scratch.eps.data(),
                   scratch.v_density.data(), scratch.v_sigma.data());
    for (std::size_t k = 0; k < nsigma * chunk.size; ++k) chunk.v_sigma[k] += scratch.v_sigma[k];
  } else {
    xc_lda_exc_vxc(functional, chunk.size, chunk.density, scratch.eps.data(),
                   scratch.v_density.data());
  }
  for (std::size_t p = 0; p < chunk.size; ++p) {
    chunk.energy_density[p] += total_density(chunk, p, nspin) * scratch.eps[p];
  }
  for (std::size_t k = 0; k < nspin * chunk.size; ++k) chunk.v_density[k] += scratch.v_density[k];
}

/// Adds what `pbe_correlation` or its change gives for point p; of two spins sigma is that of the
/// sum.
void add_point(const Chunk& chunk, std::size_t p, std::size_t nspin,
               const detail::Correlation& c) noexcept {
  chunk.energy_density[p] += c.energy;
  chunk.v_density[nspin * p] += c.up;
  if (nspin == 1) {
    chunk.v_sigma[p] += c.sigma;
    return;
  }
  chunk.v_density[2 * p + 1] += c.down;
  chunk.v_sigma[3 * p] += c.sigma;
  chunk.v_sigma[3 * p + 1] += 2.0 * c.sigma;
  chunk.v_sigma[3 * p + 2] += c.sigma;
}

/// Adds the correlation of `pbe_correlation` where the density is above the threshold.
void add_own_correlation(std::size_t nspin, double largest_zeta, const Chunk& chunk) noexcept {
  for (std::size_t p = 0; p < chunk.size; ++p) {
    if (total_density(chunk, p, nspin) < kXcDensityThreshold) continue;
    const double* n = chunk.density + nspin * p;
    if (nspin == 1) {
      const auto c = detail::pbe_correlation(n[0], chunk.sigma[p]);
      add_point(chunk, p, nspin, c);
      continue;
    }
    const double* s = chunk.sigma + 3 * p;
    const auto c = detail::pbe_correlation(n[0], n[1], s[0] + 2.0 * s[1] + s[2], largest_zeta);
    add_point(chunk, p, nspin, c);
  }
}

/// Where a chunk changes to.
struct Change {
  const double* density;
  const double* sigma;
};

/// Adds the change of e, v_density and v_sigma of one libxc functional.
void add_change(const xc_func_type* functional, bool gradient, std::size_t nspin,
                const Chunk& chunk, const Change& d, Scratch& first,
                SecondDerivatives& second) noexcept {
  const std::size_t nsigma = gradient ? (nspin == 1 ? 1 : 3) : 0, size = chunk.size;
  if (gradient) {
    xc_gga_exc_vxc_fxc(functional, size, chunk.density, chunk.sigma, first.eps.data(),
                       first.v_density.data(), first.v_sigma.data(), second.density.data(),
                       second.mixed.data(), second.sigma.data());
  } else {
    xc_lda_exc_vxc_fxc(functional, size, chunk.density, first.eps.data(), first.v_density.data(),
                       second.density.data());
  }
  const std::size_t nn = nspin * (nspin + 1) / 2, ns = nspin * nsigma,
                    ss = nsigma * (nsigma + 1) / 2;
  for (std::size_t p = 0; p < size; ++p) {
    const double* dn = d.density + nspin * p;
    for (std::size_t s = 0; s < nspin; ++s) {
      chunk.energy_density[p] += first.v_density[nspin * p + s] * dn[s];
      double change = 0.0;
      for (std::size_t t = 0; t < nspin; ++t)
        change += second.density[nn * p + packed(s, t, nspin)] * dn[t];
      for (std::size_t k = 0; k < nsigma; ++k)
        change += second.mixed[ns * p + s * nsigma + k] * d.sigma[nsigma * p + k];
      chunk.v_density[nspin * p + s] += change;
    }
    for (std::size_t k = 0; k < nsigma; ++k) {
      chunk.energy_density[p] += first.v_sigma[nsigma * p + k] * d.sigma[nsigma * p + k];
      double change = 0.0;
      for (std::size_t s = 0; s < nspin; ++s)
        change += second.mixed[ns * p + s * nsigma + k] * dn[s];
      for (std::size_t l = 0; l < nsigma; ++l)
        change += second.sigma[ss * p + packed(k, l, nsigma)] * d.sigma[nsigma * p + l];
      chunk.v_sigma[nsigma * p + k] += change;
    }
  }
}

/// The same of `pbe_correlation`.
void add_own_change(std::size_t nspin, double largest_zeta, const Chunk& chunk,
                    const Change& d) noexcept {
  for (std::size_t p = 0; p < chunk.size; ++p) {
    const double *n = chunk.density + nspin * p, *dn = d.density + nspin * p;
    if (nspin == 1) {
      const auto c = detail::pbe_correlation_change(n[0], chunk.sigma[p], dn[0], d.sigma[p]);
      add_point(chunk, p, nspin, c);
      continue;
    }
    const double *s = chunk.sigma + 3 * p, *ds = d.sigma + 3 * p;
    const auto c = detail::pbe_correlation_change(n[0], n[1], s[0] + 2.0 * s[1] + s[2], dn[0],
                                                  dn[1], ds[0] + 2.0 * ds[1] + ds[2], largest_zeta);
    add_point(chunk, p, nspin, c);
  }
}

void clear(const Chunk& chunk, std::size_t nspin) noexcept {
  std::fill_n(chunk.energy_density, chunk.size, 0.0);
  std::fill_n(chunk.v_density, nspin * chunk.size, 0.0);
  if (chunk.v_sigma != nullptr) {
    std::fill_n(chunk.v_sigma, (nspin == 1 ? 1 : 3) * chunk.size, 0.0);
  }
}

/// Zeros where there is next to no density; a NaN fails the comparison and stays visible.
void cut_off(const Chunk& chunk, std::size_t nspin) noexcept {
  const std::size_t nsigma = nspin == 1 ? 1 : 3;
  for (std::size_t p = 0; p < chunk.size; ++p) {
    if (!(total_density(chunk, p, nspin) < kXcDensityThreshold)) continue;
    chunk.energy_density[p] = 0.0;
    std::fill_n(chunk.v_density + nspin * p, nspin, 0.0);
    if (chunk.v_sigma != nullptr) std::fill_n(chunk.v_sigma + nsigma * p, nsigma, 0.0);
  }
}

/// Calls body(first, size) for every chunk. They write disjoint parts of the outputs, and nothing
/// in the loop throws.
template <class Body>
void for_chunks(std::size_t n_points, Body&& body) {
  const auto n_chunks = static_cast<std::int64_t>((n_points + kChunk - 1) / kChunk);
#pragma omp parallel for schedule(static)
  for (std::int64_t c = 0; c < n_chunks; ++c) {
    const std::size_t first = static_cast<std::size_t>(c) * kChunk;
    body(first, std::min(kChunk, n_points - first));
  }
}

/// What both public evaluations refuse.
void check_arguments(const char* function, bool gradient, int nspin, bool all_densities,
                     bool all_sigmas) {
  if (nspin != 1 && nspin != 2) {
    throw std::invalid_argument("nspin: expected 1 or 2, got " + std::to_string(nspin));
  }
  if (!all_densities) {
    throw std::invalid_argument(std::string(function) +
                                ": density, energy_density, v_density: got a null pointer");
  }
  if (gradient && !all_sigmas) {
    throw std::invalid_argument(std::string(function) +
                                ": sigma, v_sigma: a GGA needs both, got a null pointer");
  }
}

}  // namespace

namespace detail {

XcEvaluator::XcEvaluator(Functional functional, int nspin)
    : gradient_(needs_gradient(functional)), nspin_(nspin == 1 ? 1 : 2) {
  const Parts parts = libxc_parts(functional);
  initialise(exchange_, parts.exchange, nspin);
  own_correlation_ = parts.correlation == kOwn;
  if (functional == Functional::pbe_openmx) largest_zeta_ = kOpenMXZeta;
  if (own_correlation_) return;
  try {
    initialise(correlation_, parts.correlation, nspin);
    if (nspin == 2) bound_polarisation(correlation_);
  } catch (...) {
    xc_func_end(&exchange_);
    throw;
  }
}

XcEvaluator::~XcEvaluator() {
  xc_func_end(&exchange_);
  if (!own_correlation_) xc_func_end(&correlation_);
}

void XcEvaluator::operator()(std::size_t n_points, const double* density, const double* sigma,
                             double* energy_density, double* v_density,
                             double* v_sigma) const noexcept {
  const Chunk chunk{n_points, density, sigma, energy_density, v_density, v_sigma};
  clear(chunk, nspin_);
  Scratch scratch;
  add_functional(&exchange_, gradient_, nspin_, chunk, scratch);
  if (own_correlation_) {
    add_own_correlation(nspin_, largest_zeta_, chunk);
  } else {
    add_functional(&correlation_, gradient_, nspin_, chunk, scratch);
  }
  cut_off(chunk, nspin_);
}

void XcEvaluator::change(std::size_t n_points, const double* density, const double* sigma,
                         const double* density_change, const double* sigma_change,
                         double* energy_density, double* v_density,
                         double* v_sigma) const noexcept {
  const Chunk chunk{n_points, density, sigma, energy_density, v_density, v_sigma};
  const Change d{density_change, sigma_change};
  clear(chunk, nspin_);
  Scratch first;
  SecondDerivatives second;
  add_change(&exchange_, gradient_, nspin_, chunk, d, first, second);
  if (own_correlation_) {
    add_own_change(nspin_, largest_zeta_, chunk, d);
  } else {
    add_change(&correlation_, gradient_, nspin_, chunk, d, first, second);
  }
  cut_off(chunk, nspin_);
}

}  // namespace detail

Functional functional_from_name(std::string_view name) {
  if (name == "PBE") return Functional::pbe;
  if (name == "PW92") return Functional::lda_pw92;
  if (name == "PZ") return Functional::lda_pz;
  if (name == "PBE-PW92") return Functional::pbe_pw92;
  if (name == "PBE-OpenMX") return Functional::pbe_openmx;
  throw std::invalid_argument(
      "xc: expected 'PBE', 'PBE-PW92', 'PBE-OpenMX', 'PW92' or 'PZ', got '" + std::string(name) +
      "'");
}

bool needs_gradient(Functional functional) {
  return functional != Functional::lda_pw92 && functional != Functional::lda_pz;
}

void evaluate_xc(Functional functional, int nspin, std::size_t n_points, const double* density,
                 const double* sigma, double* energy_density, double* v_density, double* v_sigma) {
  const bool gradient = needs_gradient(functional);
  if (n_points == 0) return;
  check_arguments("evaluate_xc", gradient, nspin,
                  density != nullptr && energy_density != nullptr && v_density != nullptr,
                  sigma != nullptr && v_sigma != nullptr);
  const detail::XcEvaluator evaluate(functional, nspin);
  const std::size_t spins = nspin == 1 ? 1 : 2, nsigma = nspin == 1 ? 1 : 3;
  const auto at = [&](auto* sigmas, std::size_t first) {
    return sigmas == nullptr ? nullptr : sigmas + nsigma * first;
  };
  for_chunks(n_points, [&](std::size_t first, std::size_t size) {
    evaluate(size, density + spins * first, at(sigma, first), energy_density + first,
             v_density + spins * first, at(v_sigma, first));
  });
}

void evaluate_xc_change(Functional functional, int nspin, std::size_t n_points,
                        const double* density, const double* sigma, const double* density_change,
                        const double* sigma_change, double* energy_density, double* v_density,
                        double* v_sigma) {
  const bool gradient = needs_gradient(functional);
  if (n_points == 0) return;
  check_arguments("evaluate_xc_change", gradient, nspin,
                  density != nullptr && density_change != nullptr && energy_density != nullptr &&
                      v_density != nullptr,
                  sigma != nullptr && sigma_change != nullptr && v_sigma != nullptr);
  const detail::XcEvaluator evaluate(functional, nspin);
  const std::size_t spins = nspin == 1 ? 1 : 2, nsigma = nspin == 1 ? 1 : 3;
  const auto at = [&](auto* sigmas, std::size_t first) {
    return sigmas == nullptr ? nullptr : sigmas + nsigma * first;
  };
  for_chunks(n_points, [&](std::size_t first, std::size_t size) {
    evaluate.change(size, density + spins * first, at(sigma, first), density_change + spins * first,
                    at(sigma_change, first), energy_density + first, v_density + spins * first,
                    at(v_sigma, first));
  });
}

}  // namespace mlh
