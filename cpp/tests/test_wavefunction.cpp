// States on the uniform grid against the density that the density kernel makes of them.

#include "mlh/grid/wavefunction.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <numbers>
#include <random>
#include <string>

#include "mlh/grid/field.hpp"

using namespace mlh;
using Complex = std::complex<double>;

namespace {

RadialTable shell(int l, double decay, double cutoff) {
  std::vector<double> g(static_cast<std::size_t>(std::lround(cutoff / kRadialStep)) + 1);
  for (std::size_t k = 0; k < g.size(); ++k) {
    const double r = kRadialStep * static_cast<double>(k), x = r / cutoff;
    g[k] = std::exp(-decay * r * r) * std::pow(1.0 - x * x, 4);
  }
  g.back() = 0.0;
  return RadialTable(l, g);
}

/// Two atoms with s, p and d in a triclinic cell smaller than the range of the orbitals.
Grid small_grid() {
  SpeciesData s;
  s.symbol = std::string("A");  // GCC 12 warns inside the assignment of a literal (bug 105651)
  s.valence = 2.0;
  for (int l = 0; l <= 2; ++l) s.orbitals.push_back(shell(l, 0.4, 3.4));
  s.neutral_potential = shell(0, 0.4, 3.4);
  s.density = shell(0, 0.4, 3.4);
  auto basis = std::make_shared<BasisData>();
  basis->species = {s};
  auto structure = std::make_shared<Structure>();
  structure->cell << 5.1, 0.0, 0.3, 1.2, 4.7, 0.0, -0.6, 0.9, 5.6;
  structure->positions = {{0.1, 0.2, 0.3}, {-7.5, 1.2, 9.9}};
  structure->species = {0, 0};
  auto pattern = std::make_shared<Pattern>(make_pattern(*structure, *basis));
  return Grid(structure, basis, pattern, {13, 11, 14});
}

std::vector<Complex> random_states(std::size_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<Complex> c(n);
  for (auto& x : c) x = {normal(generator), normal(generator)};
  return c;
}

/// D_ij(R) = Re[conj(c_i) c_j exp(2 pi i k.R)]: |psi|^2 of one Bloch state in real blocks.
std::vector<double> one_state(const Pattern& pattern, std::span<const Complex> c, const Vec3& k) {
  std::vector<std::size_t> start{0};
  for (const int n : pattern.n_orbitals)
    start.push_back(start.back() + static_cast<std::size_t>(n));
  std::vector<double> D;
  for (std::size_t p = 0; p < pattern.n_pairs(); ++p) {
    const auto i = static_cast<std::size_t>(pattern.atom_i[p]);
    const auto j = static_cast<std::size_t>(pattern.atom_j[p]);
    const Cell& R = pattern.cell[p];
    const double kR = k[0] * R[0] + k[1] * R[1] + k[2] * R[2];
    const Complex phase = std::polar(1.0, 2.0 * std::numbers::pi * kR);
    for (std::size_t a = start[i]; a < start[i + 1]; ++a) {
      for (std::size_t b = start[j]; b < start[j + 1]; ++b) {
        D.push_back((std::conj(c[a]) * c[b] * phase).real());
      }
    }
  }
  return D;
}

}  // namespace

TEST_CASE("states on the grid: |psi|^2 is the density of the state, at Gamma and at k") {
  const Grid grid = small_grid();
  constexpr std::size_t kOrbitals = 18, kStates = 3;
  const std::vector<Complex> c = random_states(kStates * kOrbitals, 5);
  const std::size_t points = grid.uniform().size();

  SECTION("complex, at k") {
    const Vec3 k(0.21, -0.4, 0.5);
    const auto psi = wavefunctions(grid, c, kStates, k);
    REQUIRE(psi.size() == kStates * points);
    for (std::size_t s = 0; s < kStates; ++s) {
      const std::span<const Complex> state(c.data() + s * kOrbitals, kOrbitals);
      const Density n = density(grid, one_state(grid.pattern(), state, k));
      double worst = 0.0;
      for (std::size_t p = 0; p < points; ++p) {
        worst = std::max(worst, std::abs(std::norm(psi[s * points + p]) - n.uniform[p]));
      }
      CHECK(worst < 1e-11);
    }
  }
  SECTION("real, at Gamma: the real part of the complex form") {
    std::vector<double> real(c.size());
    std::transform(c.begin(), c.end(), real.begin(), [](const Complex& x) { return x.real(); });
    const auto psi = wavefunctions(grid, real, kStates);
    const auto both = wavefunctions(grid, c, kStates, Vec3::Zero());
    double worst = 0.0;
    for (std::size_t p = 0; p < psi.size(); ++p) {
      worst = std::max(worst, std::abs(psi[p] - both[p].real()));
    }
    CHECK(worst < 1e-12);
  }
}

TEST_CASE("states on the grid: a phase of k.R goes from one cell to the next") {
  // psi at k and at k + G differ by nothing: the coefficients carry no phase inside the cell.
  const Grid grid = small_grid();
  const std::vector<Complex> c = random_states(18, 9);
  const auto a = wavefunctions(grid, c, 1, Vec3(0.3, 0.1, -0.2));
  const auto b = wavefunctions(grid, c, 1, Vec3(1.3, -0.9, 0.8));
  for (std::size_t p = 0; p < a.size(); ++p) REQUIRE(std::abs(a[p] - b[p]) < 1e-11);
}

TEST_CASE("states on the grid: wrong number of coefficients") {
  const Grid grid = small_grid();
  CHECK_THROWS_WITH(wavefunctions(grid, std::vector<double>(17), 1),
                    Catch::Contains("expected 18 per state, got 17"));
}
