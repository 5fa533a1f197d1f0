#include <catch2/catch.hpp>
#include <cmath>
#include <numbers>
#include <random>
#include <stdexcept>

#include "mlh/grid/uniform_grid.hpp"

using namespace mlh;

namespace {

UniformGrid triclinic() {
  Mat3 cell;
  cell << 5.1, 0.0, 0.3, 1.2, 4.7, 0.0, -0.6, 0.9, 5.6;
  return {cell, {24, 21, 27}};
}

/// Phase G.r of every point for G = sum_d m_d b_d: 2 pi sum_d m_d k_d / n_d.
std::vector<double> phases(const UniformGrid& grid, const std::array<int, 3>& m) {
  std::vector<double> out;
  out.reserve(grid.size());
  for (int x = 0; x < grid.n[0]; ++x) {
    for (int y = 0; y < grid.n[1]; ++y) {
      for (int z = 0; z < grid.n[2]; ++z) {
        out.push_back(2.0 * std::numbers::pi *
                      (static_cast<double>(m[0] * x) / grid.n[0] +
                       static_cast<double>(m[1] * y) / grid.n[1] +
                       static_cast<double>(m[2] * z) / grid.n[2]));
      }
    }
  }
  return out;
}

std::vector<double> noise(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> f(n);
  for (double& x : f) x = normal(random);
  return f;
}

/// Symbol of the stencil: D exp(i q k) = i s(q) exp(i q k), q the phase per step.
double symbol(double q) {
  return 2.0 * (4.0 / 5.0 * std::sin(q) - std::sin(2.0 * q) / 5.0 +
                4.0 / 105.0 * std::sin(3.0 * q) - std::sin(4.0 * q) / 280.0);
}

}  // namespace

TEST_CASE("gradient of a plane wave on a triclinic grid", "[uniform_grid]") {
  const UniformGrid grid = triclinic();
  const Mat3 b = 2.0 * std::numbers::pi * grid.cell.inverse();  // columns: reciprocal vectors
  for (const auto& m : {std::array{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {1, -1, 2}, {-2, 1, 1}}) {
    const auto phase = phases(grid, m);
    std::vector<double> f(grid.size());
    for (std::size_t p = 0; p < f.size(); ++p) f[p] = std::cos(phase[p]);
    const auto g = gradient(grid, f);
    Vec3 exact = Vec3::Zero(), discrete = Vec3::Zero();
    for (int d = 0; d < 3; ++d) {
      exact += m[static_cast<std::size_t>(d)] * b.col(d);
      const int n = grid.n[static_cast<std::size_t>(d)];
      const double q = 2.0 * std::numbers::pi * m[static_cast<std::size_t>(d)] / n;
      discrete += symbol(q) * n / (2.0 * std::numbers::pi) * b.col(d);
    }
    double worst = 0.0;
    for (std::size_t p = 0; p < f.size(); ++p) {
      for (int a = 0; a < 3; ++a) {
        const double expected = -discrete[a] * std::sin(phase[p]);
        worst = std::max(worst, std::abs(g[static_cast<std::size_t>(a)][p] - expected));
      }
    }
    CHECK(worst < 1e-12);
    // Order 8: |s(q) - q| ~ q^9 / 630, so that long waves are nearly exact.
    CHECK((discrete - exact).norm() < 2e-3 * exact.norm());
  }
}

TEST_CASE("the difference operator is of order eight", "[uniform_grid]") {
  for (const double q : {0.2, 0.1}) {
    const double error = q - symbol(q);
    CHECK(error == Approx(std::pow(q, 9) / 630.0).epsilon(0.05).margin(1e-15));
  }
}

TEST_CASE("subtract_divergence is the exact transpose of gradient", "[uniform_grid]") {
  // Also on axes shorter than the stencil.
  for (const auto& n : {std::array{24, 21, 27}, {5, 4, 8}, {9, 1, 3}}) {
    UniformGrid grid = triclinic();
    grid.n = n;
    const auto f = noise(grid.size(), 1);
    const std::array<std::vector<double>, 3> F = {noise(grid.size(), 2), noise(grid.size(), 3),
                                                  noise(grid.size(), 4)};
    const auto g = gradient(grid, f);
    auto start = noise(grid.size(), 5);
    auto out = start;
    subtract_divergence(grid, F, out);
    double left = 0.0, right = 0.0, scale = 0.0;
    for (std::size_t p = 0; p < f.size(); ++p) {
      for (std::size_t a = 0; a < 3; ++a) {
        left += F[a][p] * g[a][p];
        scale += std::abs(F[a][p] * g[a][p]);
      }
      right += f[p] * (out[p] - start[p]);
    }
    CHECK(scale > 1.0);
    CHECK(left == Approx(right).margin(1e-13 * scale));
  }
}

TEST_CASE("grid sizes follow the cutoff and are smooth", "[uniform_grid]") {
  // OpenMX's rule for a cubic cell: N = L sqrt(Ecut) / pi to the nearest 2-3-5-7-smooth number.
  const double edge = 20.0;
  CHECK(grid_size(Mat3::Identity() * edge, 200.0) == std::array{90, 90, 90});  // 90.03
  CHECK(grid_size(Mat3::Identity() * edge, 150.0) == std::array{80, 80, 80});  // 77.97: 80, not 75
  const UniformGrid grid = triclinic();
  const auto n = grid_size(grid.cell, 300.0);
  const Mat3 inverse = grid.cell.inverse();
  for (int d = 0; d < 3; ++d) {
    const double target = std::sqrt(300.0) / std::numbers::pi / inverse.col(d).norm();
    int rest = n[static_cast<std::size_t>(d)];
    for (const int p : {2, 3, 5, 7}) {
      while (rest % p == 0) rest /= p;
    }
    CHECK(rest == 1);
    CHECK(n[static_cast<std::size_t>(d)] == Approx(target).epsilon(0.06));
  }
  CHECK_THROWS_AS(grid_size(grid.cell, 0.0), std::invalid_argument);
  CHECK_THROWS_AS(grid_size(grid.cell, std::nan("")), std::invalid_argument);
}
