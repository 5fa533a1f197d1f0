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

/// A number with its derivatives with respect to N variables. T: double, or such a number itself,
/// for second derivatives.
template <int N, class T = double>
struct Dual {
  T value{};
  std::array<T, N> slope{};
};

double power(double x, double exponent) { return std::pow(x, exponent); }
double log1p(double x) { return std::log1p(x); }
double expm1(double x) { return std::expm1(x); }

/// f(x) and f'(x) to the derivatives of f.
template <int N, class T>
Dual<N, T> chain(const Dual<N, T>& x, const T& f, const T& df) {
  Dual<N, T> out{f, x.slope};
  for (T& s : out.slope) s = s * df;
  return out;
}

template <int N, class T>
Dual<N, T> operator+(Dual<N, T> a, const Dual<N, T>& b) {
  a.value = a.value + b.value;
  for (std::size_t k = 0; k < N; ++k) a.slope[k] = a.slope[k] + b.slope[k];
  return a;
}
template <int N, class T>
Dual<N, T> operator*(double a, Dual<N, T> b) {
  b.value = a * b.value;
  for (T& s : b.slope) s = a * s;
  return b;
}
template <int N, class T>
Dual<N, T> operator+(double a, Dual<N, T> b) {
  b.value = a + b.value;
  return b;
}
template <int N, class T>
Dual<N, T> operator-(const Dual<N, T>& a, const Dual<N, T>& b) {
  return a + (-1.0) * b;
}
template <int N, class T>
Dual<N, T> operator*(const Dual<N, T>& a, const Dual<N, T>& b) {
  Dual<N, T> out{a.value * b.value, {}};
  for (std::size_t k = 0; k < N; ++k) out.slope[k] = a.slope[k] * b.value + a.value * b.slope[k];
  return out;
}
template <int N, class T>
Dual<N, T> operator/(double a, const Dual<N, T>& b) {
  const T inverse = 1.0 / b.value;
  return chain(b, a * inverse, -a * (inverse * inverse));
}
template <int N, class T>
Dual<N, T> operator/(const Dual<N, T>& a, const Dual<N, T>& b) {
  return a * (1.0 / b);
}
template <int N, class T>
Dual<N, T> power(const Dual<N, T>& x, double exponent) {
  const T f = power(x.value, exponent);
  return chain(x, f, exponent * f / x.value);
}
template <int N, class T>
Dual<N, T> log1p(const Dual<N, T>& x) {
  return chain(x, log1p(x.value), 1.0 / (1.0 + x.value));
}
template <int N, class T>
Dual<N, T> expm1(const Dual<N, T>& x) {
  const T f = expm1(x.value);
  return chain(x, f, 1.0 + f);
}

/// Parameters of G(rs) = -2 A (1 + a1 rs) ln[1 + 1/(2 A (b1 rs^1/2 + b2 rs + b3 rs^3/2 + b4
/// rs^2))].
struct Fit {
  double A, a1, b1, b2, b3, b4;
};
constexpr Fit kUnpolarised{0.031091, 0.21370, 7.5957, 3.5876, 1.6382, 0.49294};
constexpr Fit kPolarised{0.015545, 0.20548, 14.1189, 6.1977, 3.3662, 0.62517};
constexpr Fit kStiffness{0.016887, 0.11125, 10.357, 3.6231, 0.88026, 0.49671};  // of -alpha_c

template <class D>
D fit(const Fit& p, const D& root) {
  const D rs = root * root;
  const D q = root * (p.b1 + root * (p.b2 + root * (p.b3 + p.b4 * root)));
  return (-2.0 * p.A) * (1.0 + p.a1 * rs) * log1p(1.0 / ((2.0 * p.A) * q));
}

/// n (eps + H), H = g ln{1 + (beta/gamma) t^2 (1 + A t^2)/(1 + A t^2 + A^2 t^4)}, g = gamma phi^3,
/// A = (beta/gamma)/(exp(-eps/g) - 1), t^2 = sigma / (2 phi k_s n)^2, k_s^2 = 4 k_F / pi.
template <class D>
D with_gradient(const D& n, const D& sigma, const D& eps, const D& phi) {
  const D g = kGamma * (phi * phi * phi);
  const double ks2 = 4.0 / std::numbers::pi * std::cbrt(3.0 * std::numbers::pi * std::numbers::pi);
  const D t2 = sigma / ((4.0 * ks2) * (phi * phi * power(n, 7.0 / 3.0)));
  const double ratio = kBeta / kGamma;
  const D at2 = t2 * (ratio / expm1((-1.0) * (eps / g)));
  const D h = g * log1p(ratio * (t2 * (1.0 + at2) / (1.0 + at2 + at2 * at2)));
  return n * (eps + h);
}

template <class D>
D root_of_radius(const D& n) {
  return power((4.0 * std::numbers::pi / 3.0) * n, -1.0 / 6.0);
}

double value_of(double x) { return x; }
template <int N, class T>
double value_of(const Dual<N, T>& x) {
  return value_of(x.value);
}

/// 1 +- zeta, held at kXcSpinThreshold.
template <class D>
D bounded(const D& share) {
  return value_of(share) > kXcSpinThreshold ? share : kXcSpinThreshold + 0.0 * share;
}

template <class D>
D unpolarised(const D& n, const D& sigma) {
  return with_gradient(n, sigma, fit(kUnpolarised, root_of_radius(n)), 1.0 + 0.0 * n);
}

template <class D>
D polarised(const D& up, const D& down, const D& sigma, double largest_zeta) {
  const D n = up + down;
  D zeta = (up - down) / n;
  // OpenMX holds the value where it occurs, in the derivatives too.
  const double value = value_of(zeta);
  if (std::abs(value) > largest_zeta)
    zeta = ((std::copysign(largest_zeta, value) - value) * value_of(n) + (up - down)) / n;
  const bool held = largest_zeta < 1.0;
  const D plus = held ? 1.0 + zeta : bounded((2.0 * up) / n);
  const D minus = held ? 1.0 + (-1.0) * zeta : bounded((2.0 * down) / n);
  const D phi = 0.5 * (power(plus, 2.0 / 3.0) + power(minus, 2.0 / 3.0));
  const D f =
      (1.0 / (std::cbrt(16.0) - 2.0)) * (-2.0 + (power(plus, 4.0 / 3.0) + power(minus, 4.0 / 3.0)));
  const D root = root_of_radius(n), z2 = zeta * zeta, z4 = z2 * z2;
  const D e0 = fit(kUnpolarised, root), e1 = fit(kPolarised, root),
          stiffness = fit(kStiffness, root);
  const D eps =
      e0 - (1.0 / kCurvature) * (stiffness * f * (1.0 + (-1.0) * z4)) + (e1 - e0) * f * z4;
  return with_gradient(n, sigma, eps, phi);
}

/// The variable `place` of N at `value`.
template <int N>
Dual<N> variable(double value, std::size_t place) {
  Dual<N> out{value, {}};
  out.slope[place] = 1.0;
  return out;
}

/// The same where the variable itself moves along a direction with the speed `speed`.
template <int N>
Dual<N, Dual<1>> moving(double value, double speed, std::size_t place) {
  Dual<N, Dual<1>> out{{value, {speed}}, {}};
  out.slope[place].value = 1.0;
  return out;
}

double spin_floored(double n) { return std::max(n, kSpinFloor); }
double floored(double sigma) { return std::max(sigma, kGradientFloor * kGradientFloor); }

}  // namespace

Correlation pbe_correlation(double n, double sigma) {
  const auto e =
      unpolarised(variable<2>(std::max(n, 2.0 * kSpinFloor), 0), variable<2>(floored(sigma), 1));
  return {e.value, e.slope[0], e.slope[0], e.slope[1]};
}

Correlation pbe_correlation(double n_up, double n_down, double sigma, double largest_zeta) {
  const auto e = polarised(variable<3>(spin_floored(n_up), 0), variable<3>(spin_floored(n_down), 1),
                           variable<3>(floored(sigma), 2), largest_zeta);
  return {e.value, e.slope[0], e.slope[1], e.slope[2]};
}

Correlation pbe_correlation_change(double n, double sigma, double dn, double dsigma) {
  const auto e = unpolarised(moving<2>(std::max(n, 2.0 * kSpinFloor), dn, 0),
                             moving<2>(floored(sigma), dsigma, 1));
  const double slope = e.slope[0].slope[0];
  return {e.value.slope[0], slope, slope, e.slope[1].slope[0]};
}

Correlation pbe_correlation_change(double n_up, double n_down, double sigma, double dn_up,
                                   double dn_down, double dsigma, double largest_zeta) {
  const auto e = polarised(moving<3>(spin_floored(n_up), dn_up, 0),
                           moving<3>(spin_floored(n_down), dn_down, 1),
                           moving<3>(floored(sigma), dsigma, 2), largest_zeta);
  return {e.value.slope[0], e.slope[0].slope[0], e.slope[1].slope[0], e.slope[2].slope[0]};
}

}  // namespace mlh::detail
