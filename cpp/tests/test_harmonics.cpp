#include <catch2/catch.hpp>

#include <array>
#include <cmath>
#include <numbers>

#include "mlh/basis/bessel.hpp"
#include "mlh/basis/harmonics.hpp"
#include "mlh/grid/quadrature.hpp"

using namespace mlh;

namespace {

const std::array<Vec3, 4> kPoints = {Vec3(0.3, -0.7, 1.1), Vec3(-2.0, 0.4, 0.05),
                                     Vec3(0.9, 1.3, -0.8), Vec3(0.0, 0.0, 1.7)};

std::array<double, kMaxHarmonics> harmonics(const Vec3& r) {
  std::array<double, kMaxHarmonics> y;
  solid_harmonics(r, kMaxHarmonicL, y.data());
  return y;
}

}  // namespace

TEST_CASE("solid harmonics follow the documented order and signs", "[harmonics]") {
  const double pi = std::numbers::pi;
  for (const Vec3& r : kPoints) {
    const double x = r[0], y = r[1], z = r[2], r2 = r.squaredNorm();
    const double p = std::sqrt(3.0 / (4.0 * pi)), d = std::sqrt(15.0 / (4.0 * pi));
    const double f0 = std::sqrt(7.0 / (16.0 * pi)), f1 = std::sqrt(21.0 / (32.0 * pi));
    const double f2 = std::sqrt(105.0 / (16.0 * pi)), f3 = std::sqrt(35.0 / (32.0 * pi));
    const std::array<double, 16> expected = {
        std::sqrt(1.0 / (4.0 * pi)),
        p * x,
        p * y,
        p * z,
        std::sqrt(5.0 / (16.0 * pi)) * (3.0 * z * z - r2),
        0.5 * d * (x * x - y * y),
        d * x * y,
        d * x * z,
        d * y * z,
        f0 * z * (5.0 * z * z - 3.0 * r2),
        f1 * x * (5.0 * z * z - r2),
        f1 * y * (5.0 * z * z - r2),
        f2 * z * (x * x - y * y),
        2.0 * f2 * x * y * z,
        f3 * x * (x * x - 3.0 * y * y),
        f3 * y * (3.0 * x * x - y * y),
    };
    const auto values = harmonics(r);
    for (std::size_t n = 0; n < expected.size(); ++n) {
      CHECK(values[n] == Approx(expected[n]).margin(1e-13));
    }
  }
}

TEST_CASE("harmonics up to l = 12 are orthonormal on the sphere", "[harmonics]") {
  Eigen::MatrixXd gram = Eigen::MatrixXd::Zero(kMaxHarmonics, kMaxHarmonics);
  for (const auto& [direction, weight] : lebedev(27)) {
    const auto y = harmonics(direction);
    const Eigen::Map<const Eigen::VectorXd> v(y.data(), kMaxHarmonics);
    gram += 4.0 * std::numbers::pi * weight * v * v.transpose();
  }
  CHECK((gram - Eigen::MatrixXd::Identity(kMaxHarmonics, kMaxHarmonics)).cwiseAbs().maxCoeff() <
        1e-12);
}

TEST_CASE("gradients of the solid harmonics are their derivatives", "[harmonics]") {
  for (const Vec3& r : kPoints) {
    std::array<double, kMaxHarmonics> y;
    std::array<double, 3 * kMaxHarmonics> dy;
    solid_harmonics(r, kMaxHarmonicL, y.data(), dy.data());
    for (int c = 0; c < 3; ++c) {
      const double h = 3e-4;
      const Vec3 e = Vec3::Unit(c);
      const auto a = harmonics(r + h * e), b = harmonics(r - h * e);
      const auto a2 = harmonics(r + 2 * h * e), b2 = harmonics(r - 2 * h * e);
      for (std::size_t n = 0; n < kMaxHarmonics; ++n) {
        const double numeric = (8.0 * (a[n] - b[n]) - (a2[n] - b2[n])) / (12.0 * h);
        CHECK(dy[3 * n + static_cast<std::size_t>(c)] ==
              Approx(numeric).margin(1e-8).epsilon(1e-9));
      }
    }
  }
}

TEST_CASE("Gaunt coefficients expand products of harmonics", "[harmonics]") {
  // Y_1 Y_2 = sum_LM G Y_LM on the unit sphere, for every l1, l2 <= 3.
  for (const Vec3& r : kPoints) {
    const auto y = harmonics(r.normalized());
    for (int l1 = 0; l1 <= kMaxOrbitalL; ++l1) {
      for (int l2 = 0; l2 <= kMaxExpansionL; ++l2) {
        Eigen::MatrixXd product = Eigen::MatrixXd::Zero(2 * l1 + 1, 2 * l2 + 1);
        for (int L = 0; L <= kMaxHarmonicL; ++L) {
          for (const auto& g : gaunt_terms(l1, l2, L)) {
            product(g.m1, g.m2) += g.value * y[static_cast<std::size_t>(harmonic_index(L, g.m))];
          }
        }
        for (int a = 0; a < 2 * l1 + 1; ++a) {
          for (int b = 0; b < 2 * l2 + 1; ++b) {
            const double expected = y[static_cast<std::size_t>(harmonic_index(l1, a))] *
                                    y[static_cast<std::size_t>(harmonic_index(l2, b))];
            CHECK(product(a, b) == Approx(expected).margin(1e-13));
          }
        }
      }
    }
  }
  CHECK(gaunt_terms(1, 2, 2).empty());
  CHECK_THROWS_AS(gaunt_terms(kMaxOrbitalL + 1, 0, 4), std::invalid_argument);
}

TEST_CASE("reduced Bessel functions", "[bessel]") {
  // (-1/x d/dx)^l sin(x)/x in closed form, and the limit 1/(2l+1)!!.
  std::array<double, kMaxBesselOrder + 1> u;
  reduced_bessel(0.0, kMaxBesselOrder, u.data());
  double factorial = 1.0;
  for (int l = 0; l <= kMaxBesselOrder; ++l) {
    factorial *= 2 * l + 1;
    CHECK(u[static_cast<std::size_t>(l)] == Approx(1.0 / factorial).epsilon(1e-15));
  }
  for (const double x : {0.7, 3.0, 7.99, 8.0, 8.01, 25.0, 611.0}) {
    reduced_bessel(x, kMaxBesselOrder, u.data());
    const double s = std::sin(x), c = std::cos(x);
    CHECK(u[0] == Approx(s / x).margin(1e-16).epsilon(1e-14));
    CHECK(u[1] == Approx((s / x - c) / (x * x)).margin(1e-16).epsilon(1e-13));
    CHECK(u[2] == Approx(((3.0 / (x * x) - 1.0) * s / x - 3.0 * c / (x * x)) / (x * x))
                      .margin(1e-16)
                      .epsilon(1e-12));
    // sum_l (2l+1) j_l^2 = 1; nine terms suffice for small x.
    if (x > 1.0) continue;
    double sum = 0.0;
    for (int l = 0; l <= kMaxBesselOrder; ++l) {
      sum += (2 * l + 1) * std::pow(u[static_cast<std::size_t>(l)] * std::pow(x, l), 2);
    }
    CHECK(sum == Approx(1.0).epsilon(1e-14));
  }
}

TEST_CASE("both branches of the reduced Bessel functions meet", "[bessel]") {
  std::array<double, kMaxBesselOrder + 1> below, above;
  const double x = kMaxBesselOrder;
  reduced_bessel(std::nextafter(x, 0.0), kMaxBesselOrder, below.data());
  reduced_bessel(x, kMaxBesselOrder, above.data());
  for (std::size_t l = 0; l < below.size(); ++l) {
    // Some are close to a zero of theirs: relative to |j_l| / x^l <= 1 / x^(l+1).
    const double scale = std::pow(x, -static_cast<double>(l) - 1.0);
    CHECK(std::abs(below[l] - above[l]) < 1e-13 * scale);
  }
}
