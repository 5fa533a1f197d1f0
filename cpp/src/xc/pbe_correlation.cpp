#include "xc/pbe_correlation.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "mlh/xc/xc.hpp"

namespace mlh::detail {

namespace {

constexpr double kBeta = 0.06672455060314922;
const double kGamma = (1.0 - std::numbers::ln2) / (std::numbers::pi * std::numbers::pi);
constexpr double kCurvature = 1.70992093416137;  // f''(0) of the spin interpolation
/// Electrons/Bohr^3 of one spin and Bohr^-4 of |grad n|: OpenMX's floors.
constexpr double kSpinFloor = 0.5e-14, kGradientFloor = 1e-14;

/// A number with its derivatives with respect to N variables.
template <int N>
struct Dual {
  double value = 0.0;
  std::array<double, N> slope{};
};

/// f(x) and f'(x) to the derivatives of f.
template <int N>
Dual<N> chain(const Dual<N>& x, double f, double df) {
  Dual<N> out{f, x.slope};
  for (double& s : out.slope) s *= df;
  return out;
}

template <int N>
Dual<N> operator+(Dual<N> a, const Dual<N>& b) {
  a.value += b.value;
  for (std::size_t k = 0; k < N; ++k) a.slope[k] += b.slope[k];
  return a;
}
template <int N>
Dual<N> operator-(const Dual<N>& a, const Dual<N>& b) {
  return a + (-1.0) * b;
}
template <int N>
Dual<N> operator*(const Dual<N>& a, const Dual<N>& b) {
  Dual<N> out{a.value * b.value, {}};
  for (std::size_t k = 0; k < N; ++k) out.slope[k] = a.slope[k] * b.value + a.value * b.slope[k];
  return out;
}
template <int N>
Dual<N> operator*(double a, const Dual<N>& b) {
  return chain(b, a * b.value, a);
}
template <int N>
Dual<N> operator+(double a, Dual<N> b) {
  b.value += a;
  return b;
}
template <int N>
Dual<N> operator/(const Dual<N>& a, const Dual<N>& b) {
  return a * chain(b, 1.0 / b.value, -1.0 / (b.value * b.value));
}
template <int N>
Dual<N> power(const Dual<N>& x, double exponent) {
  const double f = std::pow(x.value, exponent);
  return chain(x, f, exponent * f / x.value);
}
template <int N>
Dual<N> log1p(const Dual<N>& x) {
  return chain(x, std::log1p(x.value), 1.0 / (1.0 + x.value));
}
template <int N>
Dual<N> expm1(const Dual<N>& x) {
  const double f = std::expm1(x.value);
  return chain(x, f, f + 1.0);
}

/// Parameters of G(rs) = -2 A (1 + a1 rs) ln[1 + 1/(2 A (b1 rs^1/2 + b2 rs + b3 rs^3/2 + b4
/// rs^2))].
struct Fit {
  double A, a1, b1, b2, b3, b4;
};
constexpr Fit kUnpolarised{0.031091, 0.21370, 7.5957, 3.5876, 1.6382, 0.49294};
constexpr Fit kPolarised{0.015545, 0.20548, 14.1189, 6.1977, 3.3662, 0.62517};
constexpr Fit kStiffness{0.016887, 0.11125, 10.357, 3.6231, 0.88026, 0.49671};  // of -alpha_c

template <int N>
Dual<N> fit(const Fit& p, const Dual<N>& root) {
  const Dual<N> rs = root * root;
  const Dual<N> q = root * (p.b1 + root * (p.b2 + root * (p.b3 + p.b4 * root)));
  const Dual<N> one = chain(root, 1.0, 0.0);
  return (-2.0 * p.A) * (1.0 + p.a1 * rs) * log1p(one / ((2.0 * p.A) * q));
}

/// n (eps + H), H = g ln{1 + (beta/gamma) t^2 (1 + A t^2)/(1 + A t^2 + A^2 t^4)}, g = gamma phi^3,
/// A = (beta/gamma)/(exp(-eps/g) - 1), t^2 = sigma / (2 phi k_s n)^2, k_s^2 = 4 k_F / pi.
template <int N>
Dual<N> with_gradient(const Dual<N>& n, const Dual<N>& sigma, const Dual<N>& eps,
                      const Dual<N>& phi) {
  const Dual<N> g = kGamma * (phi * phi * phi);
  const double ks2 = 4.0 / std::numbers::pi * std::cbrt(3.0 * std::numbers::pi * std::numbers::pi);
  const Dual<N> t2 = sigma / ((4.0 * ks2) * (phi * phi * power(n, 7.0 / 3.0)));
  const double ratio = kBeta / kGamma;
  const Dual<N> one = chain(n, 1.0, 0.0);
  const Dual<N> at2 = t2 * (ratio * one) / expm1((-1.0) * (eps / g));
  const Dual<N> h = g * log1p(ratio * (t2 * (1.0 + at2) / (1.0 + at2 + at2 * at2)));
  return n * (eps + h);
}

template <int N>
Dual<N> root_of_radius(const Dual<N>& n) {
  return power((4.0 * std::numbers::pi / 3.0) * n, -1.0 / 6.0);
}

double floored(double sigma) { return std::max(sigma, kGradientFloor * kGradientFloor); }

/// 1 +- zeta, held at kXcSpinThreshold.
Dual<3> bounded(const Dual<3>& share) {
  return share.value > kXcSpinThreshold ? share : Dual<3>{kXcSpinThreshold, {}};
}

}  // namespace

Correlation pbe_correlation(double n, double sigma) {
  using D = Dual<2>;
  const D density{std::max(n, 2.0 * kSpinFloor), {1.0, 0.0}}, square{floored(sigma), {0.0, 1.0}};
  const D e =
      with_gradient(density, square, fit(kUnpolarised, root_of_radius(density)), D{1.0, {}});
  return {e.value, e.slope[0], e.slope[0], e.slope[1]};
}

Correlation pbe_correlation(double n_up, double n_down, double sigma) {
  using D = Dual<3>;
  const D up{std::max(n_up, kSpinFloor), {1.0, 0.0, 0.0}};
  const D down{std::max(n_down, kSpinFloor), {0.0, 1.0, 0.0}};
  const D square{floored(sigma), {0.0, 0.0, 1.0}};
  const D n = up + down;
  const D plus = bounded((2.0 * up) / n), minus = bounded((2.0 * down) / n);  // 1 + zeta, 1 - zeta
  const D zeta = (up - down) / n;
  const D phi = 0.5 * (power(plus, 2.0 / 3.0) + power(minus, 2.0 / 3.0));
  const D f =
      (1.0 / (std::cbrt(16.0) - 2.0)) * (-2.0 + (power(plus, 4.0 / 3.0) + power(minus, 4.0 / 3.0)));
  const D root = root_of_radius(n), z2 = zeta * zeta, z4 = z2 * z2;
  const D e0 = fit(kUnpolarised, root), e1 = fit(kPolarised, root),
          stiffness = fit(kStiffness, root);
  const D eps =
      e0 - (1.0 / kCurvature) * (stiffness * f * (1.0 + (-1.0) * z4)) + (e1 - e0) * f * z4;
  const D e = with_gradient(n, square, eps, phi);
  return {e.value, e.slope[0], e.slope[1], e.slope[2]};
}

}  // namespace mlh::detail
