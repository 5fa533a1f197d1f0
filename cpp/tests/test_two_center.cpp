#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "mlh/basis/bessel.hpp"
#include "mlh/basis/harmonics.hpp"
#include "mlh/two_center/core_repulsion.hpp"
#include "mlh/two_center/nonlocal.hpp"
#include "mlh/two_center/two_center.hpp"

using namespace mlh;

namespace {

/// g = scale exp(-a r^2) on the uniform mesh.
RadialTable gaussian(int l, double a, double cutoff, double scale = 1.0,
                     double step = kRadialStep) {
  std::vector<double> g(static_cast<std::size_t>(std::lround(cutoff / step)) + 1);
  for (std::size_t k = 0; k < g.size(); ++k) {
    const double r = static_cast<double>(k) * step;
    g[k] = scale * std::exp(-a * r * r);
  }
  return RadialTable(l, g, step, -2.0 * a * cutoff * g.back());
}

double charge_scale(double charge, double a) {
  return charge * std::pow(a / std::numbers::pi, 1.5);
}

SpeciesData gaussian_species(double a, double charge) {
  SpeciesData s;
  s.symbol = std::string("G");  // not assign(const char*): GCC 12 warns inside it (bug 105651)
  s.valence = charge;
  for (int l = 0; l <= kMaxOrbitalL; ++l) s.orbitals.push_back(gaussian(l, a, 8.5));
  s.projectors.push_back({gaussian(0, 1.0, 6.0), 0.8});
  s.projectors.push_back({gaussian(1, 0.9, 6.0), -1.1});
  s.neutral_potential = gaussian(0, 1.0, 6.0);
  s.density = gaussian(0, 0.7, 8.0, charge_scale(charge, 0.7));
  return s;
}

BasisData two_species() { return {{gaussian_species(0.5, 4.0), gaussian_species(0.6, 6.0)}}; }

Structure dimer(const Vec3& r) {
  return {Mat3::Identity() * 60.0, {Vec3(0.2, -0.1, 0.3), Vec3(0.2, -0.1, 0.3) + r}, {0, 1}};
}

}  // namespace

TEST_CASE("Bessel transform of a Gaussian", "[bessel]") {
  // int j_l(kr) r^(l+2) exp(-a r^2) dr = sqrt(pi) 2^(-l-2) a^(-l-3/2) k^l exp(-k^2/4a).
  const double a = 0.6;
  const WaveMesh mesh = make_wave_mesh(8.5, 20.0);
  for (int l = 0; l <= kMaxOrbitalL; ++l) {
    const RadialTable f = gaussian(l, a, 8.5);
    const Eigen::MatrixXd t = bessel_transforms({&f}, mesh);
    for (Eigen::Index i = 0; i < mesh.size; ++i) {
      const double k = mesh.k(i);
      const double expected = std::sqrt(std::numbers::pi) * std::pow(2.0, -l - 2) * std::pow(k, l) *
                              std::pow(a, -l - 1.5) * std::exp(-k * k / (4.0 * a));
      CHECK(t(i, 0) == Approx(expected).margin(2e-9));
    }
  }
}

TEST_CASE("Bessel transforms of tables with their own steps", "[bessel]") {
  const WaveMesh mesh = make_wave_mesh(8.5, 20.0);
  const RadialTable a = gaussian(1, 0.6, 8.5), b = gaussian(1, 0.6, 8.5, 1.0, 0.0025);
  const Eigen::MatrixXd t = bessel_transforms({&b, &a, &b}, mesh);
  CHECK((t.col(0) - t.col(1)).cwiseAbs().maxCoeff() < 1e-12);
  CHECK(t.col(0) == t.col(2));
}

TEST_CASE("a truncated table keeps its value up to the cutoff", "[radial]") {
  const double a = 0.3, cutoff = 2.0, step = 0.0025;
  const RadialTable f = gaussian(0, a, cutoff, 1.0, step);
  CHECK(f.value(cutoff - 1e-9) == Approx(std::exp(-a * cutoff * cutoff)).margin(1e-8));
  CHECK(f.derivatives(cutoff - 1e-9)[1] ==
        Approx(-2.0 * a * cutoff * std::exp(-a * cutoff * cutoff)).margin(1e-6));
  CHECK(f.value(cutoff) == 0.0);
  // int_0^rc exp(-a r^2) r^2 dr, the last node with half its weight.
  WaveMesh mesh;
  mesh.step = 0.1;
  mesh.size = 2;
  const double root = std::sqrt(a), x = root * cutoff;
  const double exact =
      (0.25 * std::sqrt(std::numbers::pi) * std::erf(x) - 0.5 * x * std::exp(-x * x)) / (a * root);
  CHECK(bessel_transforms({&f}, mesh)(0, 0) == Approx(exact).margin(1e-6));
}

TEST_CASE("species may bring their own transforms", "[two_center]") {
  BasisData basis = two_species();
  const BasisTransforms made = make_transforms(basis);
  for (std::size_t s = 0; s < 2; ++s) basis.species[s].wave_table = {made.mesh, made.species[s]};
  const Vec3 r(0.7, -1.1, 2.0);
  const Pattern pattern = make_pattern(dimer(r), basis);
  CHECK(overlap_matrix(TwoCenterTables(basis), dimer(r), pattern) ==
        overlap_matrix(TwoCenterTables(two_species()), dimer(r), pattern));
  basis.species[1].wave_table->mesh.start = 1e-6;
  CHECK_THROWS_AS(TwoCenterTables(basis), std::invalid_argument);
  basis.species[1].wave_table.reset();
  CHECK_THROWS_AS(TwoCenterTables(basis), std::invalid_argument);
}

TEST_CASE("overlap and kinetic energy of s Gaussians", "[two_center]") {
  const TwoCenterTables tables(two_species());
  const double a = 0.5, b = 0.6, mu = a * b / (a + b);
  const Eigen::Index columns = tables.overlap(0, 1).columns();
  std::vector<double> s(static_cast<std::size_t>(columns * columns)), t(s.size());
  for (const double d : {0.0, 0.4, 1.7, 3.3, 6.0, 11.0}) {
    const Vec3 r = d * Vec3(0.36, 0.48, -0.8);
    tables.overlap(0, 1).block(r, s.data());
    tables.kinetic(0, 1).block(r, t.data());
    // <Y00 exp(-a r^2) | Y00 exp(-b r^2)> carries 1/4pi.
    const double overlap = std::pow(std::numbers::pi / (a + b), 1.5) * std::exp(-mu * d * d) /
                           (4.0 * std::numbers::pi);
    CHECK(s[0] == Approx(overlap).margin(1e-10));
    CHECK(t[0] == Approx(mu * (3.0 - 2.0 * mu * d * d) * overlap).margin(1e-9));
  }
}

TEST_CASE("tables are exactly zero at and beyond the range", "[two_center]") {
  const TwoCenterTables tables(two_species());
  const PairTable& table = tables.overlap(0, 1);
  CHECK(table.range() == Approx(17.0));
  std::vector<double> block(static_cast<std::size_t>(table.rows() * table.columns()), 1.0);
  std::vector<double> weight(block.size(), 1.0);
  table.block(Vec3(0.0, 0.0, table.range()), block.data());
  CHECK(std::all_of(block.begin(), block.end(), [](double x) { return x == 0.0; }));
  CHECK(table.contract_gradient(Vec3(table.range(), 0.1, 0.0), weight.data()).norm() == 0.0);
}

TEST_CASE("contracted gradients are derivatives of the blocks", "[two_center]") {
  const TwoCenterTables tables(two_species());
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  const auto check = [&](const PairTable& table) {
    std::vector<double> weight(static_cast<std::size_t>(table.rows() * table.columns()));
    for (double& w : weight) w = normal(random);
    const auto energy = [&](const Vec3& r) {
      std::vector<double> block(weight.size());
      table.block(r, block.data());
      double sum = 0.0;
      for (std::size_t n = 0; n < block.size(); ++n) sum += weight[n] * block[n];
      return sum;
    };
    const Vec3 r(1.3, -0.7, 2.1);
    const Vec3 gradient = table.contract_gradient(r, weight.data());
    for (int c = 0; c < 3; ++c) {
      const double h = 2e-3;
      const Vec3 e = Vec3::Unit(c);
      const double numeric = (8.0 * (energy(r + h * e) - energy(r - h * e)) -
                              (energy(r + 2 * h * e) - energy(r - 2 * h * e))) /
                             (12.0 * h);
      CHECK(gradient[c] == Approx(numeric).margin(1e-8).epsilon(1e-9));
    }
  };
  check(tables.overlap(0, 1));
  check(tables.kinetic(1, 1));
  check(tables.projector(1, 0));
}

TEST_CASE("nonlocal damping is smooth at both ends", "[nonlocal]") {
  CHECK(nonlocal_damping(4.0, 5.0)[0] == 1.0);
  CHECK(nonlocal_damping(5.0, 5.0)[0] == 0.0);
  CHECK(nonlocal_damping(4.5, 5.0)[0] == Approx(0.5));
  for (const double d : {4.1, 4.5, 4.93}) {
    const double h = 1e-5;
    const double numeric =
        (nonlocal_damping(d + h, 5.0)[0] - nonlocal_damping(d - h, 5.0)[0]) / (2.0 * h);
    CHECK(nonlocal_damping(d, 5.0)[1] == Approx(numeric).epsilon(1e-8));
  }
}

TEST_CASE("nonlocal blocks are projector sums", "[nonlocal]") {
  const BasisData basis = two_species();
  const TwoCenterTables tables(basis);
  const Structure structure = dimer(Vec3(1.1, 2.0, -0.9));
  const Pattern pattern = make_pattern(structure, basis);
  const auto matrix = nonlocal_matrix(tables, structure, pattern);
  const int p = pattern.find(0, 1, {0, 0, 0});
  const auto block = matrix.data() + pattern.offset[static_cast<std::size_t>(p)];
  using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto projection = [&](int orbital_atom, int centre) {
    const auto i = static_cast<std::size_t>(orbital_atom), K = static_cast<std::size_t>(centre);
    const auto& table = tables.projector(structure.species[i], structure.species[K]);
    Rows b(table.rows(), table.columns());
    table.block(structure.positions[K] - structure.positions[i], b.data());
    return b;
  };
  const Eigen::Vector4d energy(0.8, -1.1, -1.1, -1.1);
  Rows expected = Rows::Zero(16, 16);
  for (const int K : {0, 1}) {
    expected += projection(0, K) * energy.asDiagonal() * projection(1, K).transpose();
  }
  const Eigen::Map<const Rows> actual(block, 16, 16);
  CHECK(actual.cwiseAbs().maxCoeff() > 0.01);
  CHECK((actual - expected).cwiseAbs().maxCoeff() < 1e-13);
}

TEST_CASE("core repulsion of two Gaussian charges", "[core_repulsion]") {
  const TwoCenterTables tables(two_species());
  const double p = 0.35;  // a b / (a + b) for a = b = 0.7
  const double d = 2.3;
  const auto result = core_repulsion(tables.core(), dimer(d * Vec3(0.6, 0.0, 0.8)));
  const double on_site = (16.0 + 36.0) * std::sqrt(p / std::numbers::pi);
  const double expected = 24.0 * std::erfc(std::sqrt(p) * d) / d - on_site;
  CHECK(result.energy == Approx(expected).epsilon(1e-9));
  const double slope = -24.0 * (std::erfc(std::sqrt(p) * d) / (d * d) +
                                2.0 * std::sqrt(p / std::numbers::pi) * std::exp(-p * d * d) / d);
  CHECK(result.gradient.atoms[1][0] == Approx(0.6 * slope).epsilon(1e-8));
  CHECK(result.gradient.atoms[0][2] == Approx(-0.8 * slope).epsilon(1e-8));
  CHECK(result.gradient.strain(0, 2) == Approx(0.48 * slope * d).epsilon(1e-8));
}

TEST_CASE("tables of another radial step are refused", "[two_center]") {
  BasisData basis = two_species();
  const std::vector<double> g(200, 1.0);
  basis.species[0].orbitals[0] = RadialTable(0, g, 0.02);
  CHECK_THROWS_AS(TwoCenterTables(basis), std::invalid_argument);
}
