#include "mlh/grid/orbital_values.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "common/simd.hpp"

namespace mlh {

namespace {

using detail::kLanes;
using detail::load;
using detail::store;
using detail::store_as;
using detail::transpose;
using detail::unroll;
using detail::Vec;

constexpr int kMaxL = 3;
constexpr int kHarmonics = (kMaxL + 1) * (kMaxL + 1);
constexpr int kMaxShells = 16;

struct Monomial {
  double coefficient = 0.0;
  std::array<int, 3> power{};
};
struct Polynomial {
  std::array<Monomial, 3> term{};
  int size = 0;
};

constexpr Polynomial polynomial(std::initializer_list<Monomial> terms) {
  Polynomial f;
  for (const Monomial& m : terms) f.term[static_cast<std::size_t>(f.size++)] = m;
  return f;
}

constexpr Polynomial differentiate(const Polynomial& f, std::size_t axis) {
  Polynomial out;
  for (int k = 0; k < f.size; ++k) {
    Monomial m = f.term[static_cast<std::size_t>(k)];
    if (m.power[axis] == 0) continue;
    m.coefficient *= m.power[axis];
    --m.power[axis];
    out.term[static_cast<std::size_t>(out.size++)] = m;
  }
  return out;
}

/// Real solid harmonics of l <= 3 as polynomials, with first and second derivatives; known to the
/// compiler, so that their evaluation is straight-line code.
struct HarmonicTable {
  std::array<Polynomial, kHarmonics> value{};
  std::array<std::array<Polynomial, 3>, kHarmonics> first{};
  std::array<std::array<std::array<Polynomial, 3>, 3>, kHarmonics> second{};

  constexpr HarmonicTable() {
    const double s = 0.28209479177387814, p = 0.4886025119029199, d0 = 0.31539156525252005,
                 d1 = 1.0925484305920792, f0 = 0.3731763325901154, f1 = 0.4570457994644658,
                 f2 = 1.445305721320277, f3 = 0.5900435899266435;
    value = {polynomial({{s, {0, 0, 0}}}),
             polynomial({{p, {1, 0, 0}}}),
             polynomial({{p, {0, 1, 0}}}),
             polynomial({{p, {0, 0, 1}}}),
             polynomial({{2 * d0, {0, 0, 2}}, {-d0, {2, 0, 0}}, {-d0, {0, 2, 0}}}),
             polynomial({{d1 / 2, {2, 0, 0}}, {-d1 / 2, {0, 2, 0}}}),
             polynomial({{d1, {1, 1, 0}}}),
             polynomial({{d1, {1, 0, 1}}}),
             polynomial({{d1, {0, 1, 1}}}),
             polynomial({{2 * f0, {0, 0, 3}}, {-3 * f0, {2, 0, 1}}, {-3 * f0, {0, 2, 1}}}),
             polynomial({{4 * f1, {1, 0, 2}}, {-f1, {3, 0, 0}}, {-f1, {1, 2, 0}}}),
             polynomial({{4 * f1, {0, 1, 2}}, {-f1, {2, 1, 0}}, {-f1, {0, 3, 0}}}),
             polynomial({{f2, {2, 0, 1}}, {-f2, {0, 2, 1}}}),
             polynomial({{2 * f2, {1, 1, 1}}}),
             polynomial({{f3, {3, 0, 0}}, {-3 * f3, {1, 2, 0}}}),
             polynomial({{3 * f3, {2, 1, 0}}, {-f3, {0, 3, 0}}})};
    for (std::size_t h = 0; h < kHarmonics; ++h) {
      for (std::size_t a = 0; a < 3; ++a) {
        first[h][a] = differentiate(value[h], a);
        for (std::size_t b = 0; b < 3; ++b) second[h][a][b] = differentiate(first[h][a], b);
      }
    }
  }
};
constexpr HarmonicTable kTable;

template <std::size_t h, std::size_t... axes>
constexpr Polynomial derivative() {
  constexpr std::array<std::size_t, sizeof...(axes) + 2> axis = {axes..., 0, 0};
  if constexpr (sizeof...(axes) == 0) return kTable.value[h];
  if constexpr (sizeof...(axes) == 1) return kTable.first[h][axis[0]];
  if constexpr (sizeof...(axes) == 2) return kTable.second[h][axis[0]][axis[1]];
}

/// Powers 1..3 of the coordinates of kLanes points.
struct Powers {
  std::array<std::array<Vec, 3>, 3> x;

  explicit Powers(const std::array<Vec, 3>& d) {
    for (std::size_t a = 0; a < 3; ++a) x[a] = {d[a], d[a] * d[a], d[a] * d[a] * d[a]};
  }
  /// Harmonic h, or its derivative along the axes named.
  template <std::size_t h, std::size_t... axes>
  Vec harmonic() const {
    constexpr Polynomial f = derivative<h, axes...>();
    Vec sum{};
    unroll<static_cast<std::size_t>(f.size)>([&](auto k) {
      constexpr Monomial m = f.term[k()];
      Vec v = Vec{} + m.coefficient;
      unroll<3>([&](auto a) {
        if constexpr (m.power[a()] > 0) v *= x[a()][static_cast<std::size_t>(m.power[a()] - 1)];
      });
      sum += v;
    });
    return sum;
  }
};

}  // namespace

/// g, g'/r, (g'' - g'/r)/r^2 of every shell on kLanes points; only the first order + 1 are filled.
struct OrbitalTables::Radial {
  std::array<Vec, kMaxShells> g, slope, curve;
};

OrbitalTables::OrbitalTables(const SpeciesData& species) {
  n_shells_ = static_cast<int>(species.orbitals.size());
  if (n_shells_ > kMaxShells) {
    throw std::invalid_argument("OrbitalTables(" + species.symbol + "): at most " +
                                std::to_string(kMaxShells) + " shells, got " +
                                std::to_string(n_shells_));
  }
  padded_ = (n_shells_ + kPadding - 1) / kPadding * kPadding;
  cutoff_ = species.orbital_cutoff();
  for (const auto& orbital : species.orbitals) {
    intervals_ = std::max(intervals_, orbital.intervals());
    shell_l_.push_back(orbital.l());
    lmax_ = std::max(lmax_, orbital.l());
    n_orbitals_ += 2 * orbital.l() + 1;
  }
  // One interval of zeros at the end serves every point beyond the cutoff.
  table_.assign((intervals_ + 1) * 4 * static_cast<std::size_t>(padded_), 0.0);
  step_ = species.orbitals.front().step();  // one for all: validate() of the species
  for (int s = 0; s < n_shells_; ++s) {
    const RadialTable& orbital = species.orbitals[s];
    for (std::size_t k = 0; k < orbital.intervals(); ++k) {
      for (int c = 0; c < 4; ++c) table_[(k * 4 + c) * padded_ + s] = orbital.coefficients(k)[c];
    }
  }
}

template <int order, class Vector>
void OrbitalTables::radial(const Vector& r2, Radial& out) const {
  alignas(64) double radius[kLanes], t[kLanes], inverse[kLanes];
  std::size_t k[kLanes];
  store(radius, r2);
  for (int p = 0; p < kLanes; ++p) radius[p] = std::sqrt(radius[p]);
  for (int p = 0; p < kLanes; ++p) {
    // Beyond the cutoff: the interval of zeros.
    const double x = std::min(radius[p], cutoff_);
    k[p] = x < cutoff_ ? std::min(intervals_, static_cast<std::size_t>(x / step_)) : intervals_;
    t[p] = x - static_cast<double>(k[p]) * step_;
    if constexpr (order >= 1) inverse[p] = radius[p] > 1e-10 ? 1.0 / radius[p] : 0.0;
  }
  // One point: the shells of a species side by side in a vector. Then lanes become points.
  for (int s = 0; s < n_shells_; s += kLanes) {
    Vec g[kLanes], slope[kLanes], curve[kLanes];
    for (int p = 0; p < kLanes; ++p) {
      const double* c = &table_[k[p] * 4 * static_cast<std::size_t>(padded_)] + s;
      const Vec c0 = load(c), c1 = load(c + padded_), c2 = load(c + 2 * padded_),
                c3 = load(c + 3 * padded_);
      g[p] = c0 + t[p] * (c1 + t[p] * (c2 + t[p] * c3));
      if constexpr (order >= 1) {
        slope[p] = (c1 + t[p] * (2.0 * c2 + 3.0 * t[p] * c3)) * inverse[p];
        if constexpr (order >= 2) {
          curve[p] = (2.0 * c2 + 6.0 * t[p] * c3 - slope[p]) * (inverse[p] * inverse[p]);
        }
      }
    }
    transpose(g);
    if constexpr (order >= 1) transpose(slope);
    if constexpr (order >= 2) transpose(curve);
    for (int i = 0; i < kLanes; ++i) {
      const auto shell = static_cast<std::size_t>(s + i);
      out.g[shell] = g[i];
      if constexpr (order >= 1) out.slope[shell] = slope[i];
      if constexpr (order >= 2) out.curve[shell] = curve[i];
    }
  }
}

template <int order, class Emit>
void OrbitalTables::for_lanes(const BatchPoints& points, int octet, const Vec3& center,
                              Emit&& emit) const {
  for (int p = octet * kOctet; p < (octet + 1) * kOctet; p += kLanes) {
    std::array<Vec, 3> d;
    for (std::size_t a = 0; a < 3; ++a) d[a] = load(points.x[a].data() + p) - center[a];
    Radial radial_part;
    radial<order>(d[0] * d[0] + d[1] * d[1] + d[2] * d[2], radial_part);
    emit(p - octet * kOctet, d, radial_part, Powers(d));
  }
}

template <class Visit>
void OrbitalTables::for_orbitals(std::ptrdiff_t start, std::ptrdiff_t stride, Visit&& visit) const {
  std::ptrdiff_t at = start;
  for (std::size_t s = 0; s < shell_l_.size(); ++s) {
    const auto l = static_cast<std::size_t>(shell_l_[s]);
    for (std::size_t h = l * l; h < (l + 1) * (l + 1); ++h, at += stride) visit(s, h, at);
  }
}

template <int lmax, class Real>
void OrbitalTables::octet_values(const BatchPoints& points, int octet, const Vec3& center,
                                 Real* phi, std::ptrdiff_t stride) const {
  for_lanes<0>(points, octet, center, [&](int lane, const auto&, const Radial& f, const Powers& x) {
    std::array<Vec, (lmax + 1) * (lmax + 1)> y;
    unroll<y.size()>([&](auto h) { y[h()] = x.template harmonic<h()>(); });
    for_orbitals(lane, stride, [&](std::size_t s, std::size_t h, std::ptrdiff_t at) {
      store_as(phi + at, f.g[s] * y[h]);
    });
  });
}

template <int lmax, class Real>
void OrbitalTables::octet_gradients(const BatchPoints& points, int octet, const Vec3& center,
                                    Real* phi, const std::array<Real*, 3>& dphi,
                                    std::ptrdiff_t stride) const {
  for_lanes<1>(points, octet, center,
               [&](int lane, const auto& d, const Radial& f, const Powers& x) {
                 constexpr std::size_t n = (lmax + 1) * (lmax + 1);
                 std::array<Vec, n> y;
                 std::array<std::array<Vec, 3>, n> dy;
                 unroll<n>([&](auto h) {
                   y[h()] = x.template harmonic<h()>();
                   unroll<3>([&](auto a) { dy[h()][a()] = x.template harmonic<h(), a()>(); });
                 });
                 for_orbitals(lane, stride, [&](std::size_t s, std::size_t h, std::ptrdiff_t at) {
                   store_as(phi + at, f.g[s] * y[h]);
                   for (std::size_t a = 0; a < 3; ++a) {
                     store_as(dphi[a] + at, f.slope[s] * d[a] * y[h] + f.g[s] * dy[h][a]);
                   }
                 });
               });
}

template <int lmax, class Real>
void OrbitalTables::octet_potential(const BatchPoints& points, int octet, const Vec3& center,
                                    const double* v, Real* phi, Real* psi,
                                    std::ptrdiff_t stride) const {
  for_lanes<0>(points, octet, center, [&](int lane, const auto&, const Radial& f, const Powers& x) {
    constexpr std::size_t n = (lmax + 1) * (lmax + 1);
    const Vec w = load(v + lane);
    std::array<Vec, n> y, wy;
    unroll<n>([&](auto h) {
      y[h()] = x.template harmonic<h()>();
      wy[h()] = w * y[h()];
    });
    for_orbitals(lane, stride, [&](std::size_t s, std::size_t h, std::ptrdiff_t at) {
      store_as(phi + at, f.g[s] * y[h]);
      store_as(psi + at, f.g[s] * wy[h]);
    });
  });
}

template <int lmax, class Real>
void OrbitalTables::octet_vector_potential(const BatchPoints& points, int octet, const Vec3& center,
                                           const double* v, Real* phi, Real* psi,
                                           std::ptrdiff_t stride) const {
  for_lanes<1>(
      points, octet, center, [&](int lane, const auto& d, const Radial& f, const Powers& x) {
        constexpr std::size_t n = (lmax + 1) * (lmax + 1);
        const Vec w = load(v + lane);
        std::array<Vec, 3> u;
        for (std::size_t a = 0; a < 3; ++a) u[a] = load(v + (a + 1) * kOctet + lane);
        const Vec ud = u[0] * d[0] + u[1] * d[1] + u[2] * d[2];
        // w g Y + u . grad(g Y) = g (w Y + u . grad Y) + g'/r (u . d) Y
        std::array<Vec, n> y, with_value, with_slope;
        unroll<n>([&](auto h) {
          y[h()] = x.template harmonic<h()>();
          with_value[h()] = w * y[h()];
          unroll<3>([&](auto a) { with_value[h()] += u[a()] * x.template harmonic<h(), a()>(); });
          with_slope[h()] = ud * y[h()];
        });
        for_orbitals(lane, stride, [&](std::size_t s, std::size_t h, std::ptrdiff_t at) {
          store_as(phi + at, f.g[s] * y[h]);
          store_as(psi + at, f.g[s] * with_value[h] + f.slope[s] * with_slope[h]);
        });
      });
}

template <class Call>
void OrbitalTables::with_lmax(Call&& call) const {
  switch (lmax_) {
    case 0:
      return call(std::integral_constant<int, 0>{});
    case 1:
      return call(std::integral_constant<int, 1>{});
    case 2:
      return call(std::integral_constant<int, 2>{});
    default:
      return call(std::integral_constant<int, 3>{});
  }
}

template <class Real>
void OrbitalTables::values(const BatchPoints& points, int octet, const Vec3& center, Real* phi,
                           std::ptrdiff_t stride) const {
  with_lmax([&](auto lmax) { octet_values<lmax()>(points, octet, center, phi, stride); });
}

template <class Real>
void OrbitalTables::gradients(const BatchPoints& points, int octet, const Vec3& center, Real* phi,
                              const std::array<Real*, 3>& dphi, std::ptrdiff_t stride) const {
  with_lmax([&](auto lmax) { octet_gradients<lmax()>(points, octet, center, phi, dphi, stride); });
}

template <class Real>
void OrbitalTables::potential(const BatchPoints& points, int octet, const Vec3& center,
                              const double* v, Real* phi, Real* psi, std::ptrdiff_t stride) const {
  with_lmax(
      [&](auto lmax) { octet_potential<lmax()>(points, octet, center, v, phi, psi, stride); });
}

template <class Real>
void OrbitalTables::vector_potential(const BatchPoints& points, int octet, const Vec3& center,
                                     const double* v, Real* phi, Real* psi,
                                     std::ptrdiff_t stride) const {
  with_lmax([&](auto lmax) {
    octet_vector_potential<lmax()>(points, octet, center, v, phi, psi, stride);
  });
}

void OrbitalTables::values(const BatchPoints& points, const Vec3& center, double* phi) const {
  for (int o = 0; o < kBatch / kOctet; ++o) values(points, o, center, phi + o * kOctet, kBatch);
}

template <class Real>
void OrbitalTables::hessian_dot(const BatchPoints& points, int octet, const Vec3& center,
                                const double* q, const std::array<Real*, 3>& h,
                                std::ptrdiff_t stride) const {
  // d_i d_j (g Y) = [curve x_i x_j + slope delta_ij] Y + slope (x_i d_j Y + x_j d_i Y) + g d_i d_j
  // Y
  with_lmax([&](auto lmax) {
    constexpr std::size_t n = (lmax() + 1) * (lmax() + 1);
    for_lanes<2>(
        points, octet, center, [&](int lane, const auto& d, const Radial& f, const Powers& x) {
          std::array<Vec, 3> v;
          for (std::size_t a = 0; a < 3; ++a) v[a] = load(q + a * kOctet + lane);
          const Vec xq = d[0] * v[0] + d[1] * v[1] + d[2] * v[2];
          std::array<Vec, n> y, qdy;
          std::array<std::array<Vec, 3>, n> dy, qddy;
          unroll<n>([&](auto k) {
            y[k()] = x.template harmonic<k()>();
            qdy[k()] = Vec{};
            unroll<3>([&](auto a) {
              dy[k()][a()] = x.template harmonic<k(), a()>();
              qdy[k()] += v[a()] * dy[k()][a()];
              qddy[k()][a()] = Vec{};
              unroll<3>(
                  [&](auto b) { qddy[k()][a()] += v[b()] * x.template harmonic<k(), a(), b()>(); });
            });
          });
          for_orbitals(lane, stride, [&](std::size_t s, std::size_t k, std::ptrdiff_t at) {
            for (std::size_t a = 0; a < 3; ++a) {
              store_as(h[a] + at, (f.curve[s] * xq * d[a] + f.slope[s] * v[a]) * y[k] +
                                      f.slope[s] * (d[a] * qdy[k] + xq * dy[k][a]) +
                                      f.g[s] * qddy[k][a]);
            }
          });
        });
  });
}

template <class Real>
using Three = std::array<Real*, 3>;
#define MLH_ORBITALS(Real)                                                                         \
  template void OrbitalTables::values(const BatchPoints&, int, const Vec3&, Real*, std::ptrdiff_t) \
      const;                                                                                       \
  template void OrbitalTables::gradients(const BatchPoints&, int, const Vec3&, Real*,              \
                                         const Three<Real>&, std::ptrdiff_t) const;                \
  template void OrbitalTables::potential(const BatchPoints&, int, const Vec3&, const double*,      \
                                         Real*, Real*, std::ptrdiff_t) const;                      \
  template void OrbitalTables::vector_potential(                                                   \
      const BatchPoints&, int, const Vec3&, const double*, Real*, Real*, std::ptrdiff_t) const;    \
  template void OrbitalTables::hessian_dot(const BatchPoints&, int, const Vec3&, const double*,    \
                                           const Three<Real>&, std::ptrdiff_t) const
MLH_ORBITALS(double);
MLH_ORBITALS(float);
#undef MLH_ORBITALS

}  // namespace mlh
