#include <catch2/catch.hpp>
#include <cmath>
#include <numbers>
#include <stdexcept>

#include "mlh/grid/quadrature.hpp"

using namespace mlh;

namespace {

constexpr SphereData kSphere{1.08, 0.25, 2.03};  // that of O in gth-pbe

/// (n-1)!! for even n, the numerator of the average of x^n over the sphere.
double double_factorial(int n) { return n < 2 ? 1.0 : n * double_factorial(n - 2); }

/// Average of x^i y^j z^k over the unit sphere.
double sphere_average(int i, int j, int k) {
  if (i % 2 != 0 || j % 2 != 0 || k % 2 != 0) return 0.0;
  return double_factorial(i - 1) * double_factorial(j - 1) * double_factorial(k - 1) /
         double_factorial(i + j + k + 1);
}

/// Largest error of the rule over all monomials of total degree <= degree.
double largest_error(const std::vector<WeightedPoint>& rule, int degree) {
  double worst = 0.0;
  for (int i = 0; i <= degree; ++i) {
    for (int j = 0; i + j <= degree; ++j) {
      for (int k = 0; i + j + k <= degree; ++k) {
        double sum = 0.0;
        for (const auto& [p, w] : rule) {
          sum += w * std::pow(p[0], i) * std::pow(p[1], j) * std::pow(p[2], k);
        }
        worst = std::max(worst, std::abs(sum - sphere_average(i, j, k)));
      }
    }
  }
  return worst;
}

/// Integral of f(r) w(r) 4 pi r^2 over the radius by a fine Gauss-Legendre rule.
template <class F>
double radial_reference(F&& f) {
  double sum = 0.0;
  for (const auto& [r, weight] : gauss_legendre(200, kSphere.radius)) {
    sum += 4.0 * std::numbers::pi * r * r * weight * partition_weight(kSphere, r)[0] * f(r);
  }
  return sum;
}

}  // namespace

TEST_CASE("Gauss-Legendre is exact to degree 2n - 1", "[quadrature]") {
  const double length = 2.0;
  for (const int n : {1, 2, 5, 8, 28}) {
    const auto rule = gauss_legendre(n, length);
    REQUIRE(rule.size() == static_cast<std::size_t>(n));
    for (int k = 0; k < 2 * n; ++k) {
      double sum = 0.0;
      for (const auto& [x, w] : rule) sum += w * std::pow(x / length, k);
      CHECK(sum == Approx(length / (k + 1)).epsilon(1e-13));
    }
    double sum = 0.0;
    for (const auto& [x, w] : rule) sum += w * std::pow(x / length, 2 * n);
    // The next degree is off by exactly the norm of the monic Legendre polynomial.
    if (n <= 5) CHECK(std::abs(sum - length / (2 * n + 1)) > 1e-8);
    for (std::size_t k = 1; k < rule.size(); ++k) CHECK(rule[k][0] > rule[k - 1][0]);
  }
  CHECK_THROWS_AS(gauss_legendre(0, 1.0), std::invalid_argument);
}

TEST_CASE("radii of a sphere are exact for its weight to degree 2n - 1", "[quadrature]") {
  for (const SphereData& sphere : {kSphere, SphereData{1.4, 0.35, 2.75}}) {
    for (const int n : {1, 2, 5, 22, 30}) {
      const auto rule = sphere_radii(sphere, n);
      REQUIRE(rule.size() == static_cast<std::size_t>(n));
      const auto error = [&](int power) {
        double sum = 0.0, exact = 0.0;
        for (const auto& [r, w] : rule) sum += w * std::pow(r / sphere.radius, power);
        for (const auto& [r, w] : gauss_legendre(400, sphere.radius))
          exact += w * r * r * partition_weight(sphere, r)[0] * std::pow(r / sphere.radius, power);
        return std::abs(sum / exact - 1.0);
      };
      // Rounding of a node enters its k-th power k times.
      for (int k = 0; k < 2 * n; ++k) CHECK(1e13 * error(k) < k + 1.0);
      if (n <= 5) CHECK(error(2 * n) > 1e-8);
      for (std::size_t k = 1; k < rule.size(); ++k) CHECK(rule[k][0] > rule[k - 1][0]);
    }
  }
  CHECK_THROWS_AS(sphere_radii(kSphere, 0), std::invalid_argument);
}

TEST_CASE("Lebedev rules are exact to their degree and not beyond", "[quadrature]") {
  for (const int degree : {5, 7, 9, 11, 15, 17, 19, 21, 23, 27, 29}) {
    const auto rule = lebedev(degree);
    INFO("degree " << degree);
    for (const auto& [p, w] : rule) CHECK(p.norm() == Approx(1.0).epsilon(1e-14));
    CHECK(largest_error(rule, degree) < 1e-14);
    CHECK(largest_error(rule, degree + 1) > 1e-11);
  }
  CHECK_THROWS_AS(lebedev(6), std::invalid_argument);
}

TEST_CASE("the partition function and its slope", "[quadrature]") {
  CHECK(partition_weight(kSphere, 0.0)[0] == Approx(1.0).epsilon(1e-7));
  CHECK(partition_weight(kSphere, kSphere.center)[0] == Approx(0.5));
  CHECK(partition_weight(kSphere, kSphere.radius)[0] == 0.0);
  CHECK(partition_weight(kSphere, 3.0)[1] == 0.0);
  const double h = 1e-4;
  for (const double r : {0.3, 0.9, 1.05, 1.5, 1.9}) {
    const double slope =
        (partition_weight(kSphere, r + h)[0] - partition_weight(kSphere, r - h)[0]) / (2.0 * h);
    CHECK(partition_weight(kSphere, r)[1] == Approx(slope).margin(1e-7));
  }
}

TEST_CASE("the sphere mesh integrates w times smooth functions", "[quadrature]") {
  std::vector<int> groups;
  const auto mesh = sphere_mesh(kSphere, 64, groups);
  // 22 radii from the nucleus outwards, with degree 7 (26 points), 11 (50), 17 (110), 23 (194); the
  // last four carry next to no weight.
  CHECK(mesh.size() == 5 * 26 + 2 * 50 + 4 * 110 + 7 * 194 + 2 * 110 + 2 * 50);
  const auto integral = [&](auto&& f) {
    double sum = 0.0;
    for (const auto& [r, w] : mesh) sum += w * f(r);
    return sum;
  };
  const auto gaussian = [](double r) { return std::exp(-2.0 * r * r); };
  CHECK(integral([&](const Vec3& r) { return gaussian(r.norm()); }) ==
        Approx(radial_reference(gaussian)).epsilon(1e-8));
  // x^2 f(r) averages to r^2 f / 3, x f(r) to zero.
  CHECK(
      integral([&](const Vec3& r) { return r[0] * r[0] * gaussian(r.norm()); }) ==
      Approx(radial_reference([&](double r) { return r * r * gaussian(r) / 3.0; })).epsilon(1e-8));
  CHECK(integral([&](const Vec3& r) { return r[1] * gaussian(r.norm()); }) ==
        Approx(0.0).margin(1e-14));
}

TEST_CASE("large spheres have more radii", "[quadrature]") {
  // A compact semicore shell.
  const SphereData large{1.4, 0.35, 2.75};
  std::vector<int> groups;
  const auto mesh = sphere_mesh(large, 64, groups);
  double sum = 0.0;
  for (const auto& [r, w] : mesh) sum += w * std::exp(-100.0 * r.squaredNorm());
  CHECK(sum == Approx(std::pow(std::numbers::pi / 100.0, 1.5)).epsilon(1e-6));
}

TEST_CASE("sphere points come in compact groups", "[quadrature]") {
  std::vector<int> groups;
  const auto mesh = sphere_mesh(kSphere, 64, groups);
  REQUIRE(groups.front() == 0);
  REQUIRE(groups.back() == static_cast<int>(mesh.size()));
  for (std::size_t g = 0; g + 1 < groups.size(); ++g) {
    CHECK(groups[g + 1] > groups[g]);
    CHECK(groups[g + 1] - groups[g] <= 64);
  }
  CHECK(groups.size() - 1 == (mesh.size() + 63) / 64);  // all full but one
}
