// Fields on grid and spheres against direct summation, and every derivative against differences.

#include <omp.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <random>

#include "mlh/basis/harmonics.hpp"
#include "mlh/grid/field.hpp"
#include "mlh/two_center/two_center.hpp"

using namespace mlh;

namespace {

/// scale exp(-decay r^2) (1 - (r/rc)^2)^4 on the uniform mesh.
RadialTable compact(int l, double decay, double cutoff, double scale = 1.0) {
  std::vector<double> g(static_cast<std::size_t>(std::lround(cutoff / kRadialStep)) + 1);
  for (std::size_t k = 0; k < g.size(); ++k) {
    const double r = kRadialStep * static_cast<double>(k), x = r / cutoff;
    g[k] = scale * std::exp(-decay * r * r) * std::pow(1.0 - x * x, 4);
  }
  g.back() = 0.0;
  return RadialTable(l, g);
}

/// Integral of 4 pi r^2 f of an s table.
double charge(const RadialTable& f) {
  double sum = 0.0;
  for (const auto& [r, w] : gauss_legendre(60, f.cutoff()))
    sum += 12.566370614359172 * w * r * r * f.value(r);
  return sum;
}

SpeciesData make_species(const char* symbol, double valence, double cutoff, int lmax,
                         double decay) {
  SpeciesData s;
  s.symbol = std::string(symbol);
  s.valence = valence;
  for (int l = 0; l <= lmax; ++l) s.orbitals.push_back(compact(l, decay, cutoff));
  s.neutral_potential = compact(0, decay, cutoff, -2.0);
  s.density = compact(0, decay, cutoff, valence / charge(compact(0, decay, cutoff)));
  return s;
}

/// A: s, p, d, f and a sphere; B: s, s, p without one; several images of every pair. The weight of
/// the sphere ends at 1e-21: the step of 3e-8 with which the production one ends would show in
/// differences.
struct Fixture {
  std::shared_ptr<const BasisData> basis;
  Structure structure;
  std::shared_ptr<const Pattern> pattern;

  explicit Fixture(double reach = 2.9) {
    auto data = std::make_shared<BasisData>();
    data->species = {make_species("A", 4.0, reach, 3, 0.4),
                     make_species("B", 3.0, reach - 0.4, 1, 0.5)};
    data->species[0].sphere = SphereData{1.0, 0.2, 2.35};
    data->species[1].orbitals.insert(data->species[1].orbitals.begin(),
                                     compact(0, 0.1, reach - 0.8));
    basis = data;
    structure.cell << 5.1, 0.0, 0.3, 1.2, 4.7, 0.0, -0.6, 0.9, 5.6;
    structure.positions = {
        {0.1, 0.2, 0.3}, {2.4, 1.9, 0.9}, {-7.5, 1.2, 9.9}};  // one outside the cell
    structure.species = {0, 1, 0};
    pattern = std::make_shared<Pattern>(make_pattern(structure, *basis));
  }

  /// The grid of this structure with one atom displaced; the Pattern stays.
  Grid grid(int atom = 0, const Vec3& shift = Vec3::Zero(),
            std::array<int, 3> n = {14, 13, 15}) const {
    auto moved = std::make_shared<Structure>(structure);
    moved->positions[static_cast<std::size_t>(atom)] += shift;
    return Grid(moved, basis, pattern, n);
  }

  /// The grid of the structure under the strain r -> (1 + eps) r.
  Grid strained(const Mat3& eps, std::array<int, 3> n = {14, 13, 15}) const {
    const Mat3 F = Mat3::Identity() + eps;
    auto moved = std::make_shared<Structure>(structure);
    moved->cell = structure.cell * F.transpose();
    for (Vec3& r : moved->positions) r = F * r;
    return Grid(moved, basis, pattern, n);
  }
};

std::vector<double> noise(std::size_t n, unsigned seed, double scale = 1.0) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0.0, scale);
  std::vector<double> f(n);
  for (double& x : f) x = normal(random);
  return f;
}

/// Random blocks with M_ij(R) = M_ji(-R)^T, plus `diagonal` on the self pairs.
std::vector<double> symmetric_matrix(const Pattern& pattern, unsigned seed, double scale,
                                     double diagonal = 0.0) {
  const auto raw = noise(static_cast<std::size_t>(pattern.nnz()), seed, scale);
  std::vector<double> out(raw.size());
  for (std::size_t p = 0; p < pattern.n_pairs(); ++p) {
    const auto q = static_cast<std::size_t>(pattern.reverse[p]);
    const int n = pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_i[p])];
    const int m = pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_j[p])];
    for (int x = 0; x < n; ++x) {
      for (int y = 0; y < m; ++y) {
        const auto here = static_cast<std::size_t>(pattern.offset[p] + x * m + y);
        const auto there = static_cast<std::size_t>(pattern.offset[q] + y * n + x);
        out[here] = 0.5 * (raw[here] + raw[there]) + (p == q && x == y ? diagonal : 0.0);
      }
    }
  }
  return out;
}

Potential random_potential(const Grid& grid, unsigned seed) {
  Potential v;
  v.uniform = noise(grid.uniform().size(), seed);
  const auto n = static_cast<std::size_t>(grid.n_sphere_points());
  v.sphere = noise(n, seed + 1);
  const auto g = noise(3 * n, seed + 2);
  for (std::size_t p = 0; p < n; ++p)
    v.sphere_vector.emplace_back(g[3 * p], g[3 * p + 1], g[3 * p + 2]);
  return v;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double sum = 0.0;
  for (std::size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
  return sum;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0.0;
  for (std::size_t k = 0; k < a.size(); ++k) worst = std::max(worst, std::abs(a[k] - b[k]));
  return worst;
}

double largest(const std::vector<double>& a) {
  return largest_difference(a, std::vector<double>(a.size()));
}

/// sum_g v n + sum_p (v n + g . grad n)
double energy(const Potential& v, const Density& n) {
  double sum = dot(v.uniform, n.uniform) + dot(v.sphere, n.sphere);
  for (std::size_t p = 0; p < n.sphere_gradient.size(); ++p)
    sum += v.sphere_vector[p].dot(n.sphere_gradient[p]);
  return sum;
}

// --- direct summation: no batches, no splines across shells, harmonics.hpp for the angles
// ------------

/// All orbitals of one atom image at a point with their gradients (n x 4: value, x, y, z).
struct LocalOrbitals {
  int atom;
  Cell cell;
  Eigen::Matrix<double, Eigen::Dynamic, 4> phi;
};

Eigen::Matrix<double, Eigen::Dynamic, 4> orbitals_at(const SpeciesData& s, const Vec3& r) {
  Eigen::Matrix<double, Eigen::Dynamic, 4> out(s.n_orbitals(), 4);
  std::array<double, kMaxHarmonics> y;
  std::array<double, 3 * kMaxHarmonics> dy;
  solid_harmonics(r, kMaxOrbitalL, y.data(), dy.data());
  const double distance = r.norm();
  const Vec3 direction = distance > 0.0 ? Vec3(r / distance) : Vec3::Zero();
  int row = 0;
  for (const RadialTable& orbital : s.orbitals) {
    const auto g = orbital.derivatives(distance);
    for (int m = 0; m < 2 * orbital.l() + 1; ++m, ++row) {
      const auto h = static_cast<std::size_t>(harmonic_index(orbital.l(), m));
      out(row, 0) = g[0] * y[h];
      for (int a = 0; a < 3; ++a) {
        out(row, a + 1) =
            g[1] * direction[a] * y[h] + g[0] * dy[3 * h + static_cast<std::size_t>(a)];
      }
    }
  }
  return out;
}

/// Every atom image within reach of a point.
std::vector<LocalOrbitals> around(const Fixture& f, const Vec3& r) {
  constexpr int kImages = 4;
  std::vector<LocalOrbitals> out;
  for (std::size_t i = 0; i < f.structure.size(); ++i) {
    const auto& s = f.basis->species[static_cast<std::size_t>(f.structure.species[i])];
    // The lattice translation that brings the atom nearest, then its neighbours.
    const Vec3 u = f.structure.cell.transpose().inverse() * (r - f.structure.positions[i]);
    const std::array<int, 3> home = {static_cast<int>(std::lround(u[0])),
                                     static_cast<int>(std::lround(u[1])),
                                     static_cast<int>(std::lround(u[2]))};
    for (int a = -kImages; a <= kImages; ++a) {
      for (int b = -kImages; b <= kImages; ++b) {
        for (int c = -kImages; c <= kImages; ++c) {
          const Cell cell = {home[0] + a, home[1] + b, home[2] + c};
          const Vec3 d =
              r - f.structure.positions[i] - f.structure.translation(cell[0], cell[1], cell[2]);
          if (d.norm() < s.orbital_cutoff())
            out.push_back({static_cast<int>(i), cell, orbitals_at(s, d)});
        }
      }
    }
  }
  return out;
}

template <class Visit>
void for_pairs(const Fixture& f, const std::vector<LocalOrbitals>& atoms, Visit&& visit) {
  for (const auto& a : atoms) {
    for (const auto& b : atoms) {
      const int p = f.pattern->find(
          a.atom, b.atom, {b.cell[0] - a.cell[0], b.cell[1] - a.cell[1], b.cell[2] - a.cell[2]});
      REQUIRE(p >= 0);  // two orbitals that overlap at a point are in the Pattern
      visit(a, b, static_cast<std::size_t>(f.pattern->offset[static_cast<std::size_t>(p)]));
    }
  }
}

using RowBlock = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// n and grad n at a point.
Eigen::Vector4d direct_density(const Fixture& f, const std::vector<double>& D, const Vec3& r) {
  Eigen::Vector4d n = Eigen::Vector4d::Zero();
  const auto atoms = around(f, r);
  for_pairs(f, atoms, [&](const LocalOrbitals& a, const LocalOrbitals& b, std::size_t offset) {
    const Eigen::Map<const RowBlock> block(D.data() + offset, a.phi.rows(), b.phi.rows());
    n[0] += a.phi.col(0).dot(block * b.phi.col(0));
    for (int d = 1; d < 4; ++d) {
      n[d] += a.phi.col(d).dot(block * b.phi.col(0)) + a.phi.col(0).dot(block * b.phi.col(d));
    }
  });
  return n;
}

/// Adds v phi_a phi_b + g . grad(phi_a phi_b) of one point.
void add_direct_matrix(const Fixture& f, const Vec3& r, double v, const Vec3& g,
                       std::vector<double>& H) {
  const auto atoms = around(f, r);
  for_pairs(f, atoms, [&](const LocalOrbitals& a, const LocalOrbitals& b, std::size_t offset) {
    Eigen::Map<RowBlock> block(H.data() + offset, a.phi.rows(), b.phi.rows());
    const Eigen::VectorXd ga = a.phi.rightCols(3) * g, gb = b.phi.rightCols(3) * g;
    block += (v * a.phi.col(0) + ga) * b.phi.col(0).transpose() + a.phi.col(0) * gb.transpose();
  });
}

/// Visits every point: visit(batch, p, index, position).
template <class Visit>
void for_points(const Grid& grid, Visit&& visit) {
  for (const Batch& batch : grid.batches()) {
    const BatchPoints x = grid.points(batch);
    std::array<std::int64_t, kBatch> index{};
    grid.indices(batch, index);
    for (int p = 0; p < batch.n_points; ++p) {
      const auto k = static_cast<std::size_t>(p);
      visit(batch, static_cast<std::size_t>(index[k]), Vec3(x.x[0][k], x.x[1][k], x.x[2][k]));
    }
  }
}

/// dE/dtau of one component by fourth-order central differences of energy(grid).
template <class Energy>
double numeric_gradient(const Fixture& f, int atom, int axis, Energy&& energy_of) {
  const double h = 4e-5;  // small: the third derivative of a cubic spline jumps at its knots
  const auto at = [&](double x) { return energy_of(f.grid(atom, x * Vec3::Unit(axis))); };
  return (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
}

/// The six symmetric strains.
constexpr std::array<std::array<int, 2>, 6> kVoigt = {
    {{0, 0}, {1, 1}, {2, 2}, {1, 2}, {0, 2}, {0, 1}}};

/// dE/deps of one symmetric component in the same way; the Pattern and the number of points stay.
template <class Energy>
double numeric_strain(const Fixture& f, const std::array<int, 2>& component, Energy&& energy_of) {
  const double h = 2e-5;
  const auto at = [&](double x) {
    Mat3 eps = Mat3::Zero();
    eps(component[0], component[1]) += 0.5 * x;
    eps(component[1], component[0]) += 0.5 * x;
    return energy_of(f.strained(eps));
  };
  return (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
}

/// Every component of an analytic gradient against differences of energy(grid).
template <class Energy>
void check_gradient(const Fixture& f, const Gradient& gradient, Energy&& energy_of) {
  for (int atom = 0; atom < 3; ++atom) {
    for (int axis = 0; axis < 3; ++axis) {
      const double numeric = numeric_gradient(f, atom, axis, energy_of);
      INFO("atom " << atom << " axis " << axis);
      CHECK(gradient.atoms[static_cast<std::size_t>(atom)][axis] ==
            Approx(numeric).margin(2e-6).epsilon(1e-8));
    }
  }
  for (const auto& component : kVoigt) {
    const double numeric = numeric_strain(f, component, energy_of);
    INFO("strain " << component[0] << component[1]);
    CHECK(std::abs(numeric) > 1e-3);
    CHECK(gradient.strain(component[0], component[1]) ==
          Approx(numeric).margin(5e-6).epsilon(1e-8));
  }
  CHECK(gradient.strain == gradient.strain.transpose());
}

void all_gradients(const OrbitalTables& tables, const BatchPoints& points, const Vec3& center,
                   Eigen::MatrixXd& phi, std::array<Eigen::MatrixXd, 3>& d) {
  for (int o = 0; o < kBatch / kOctet; ++o) {
    const int at = o * kOctet;
    tables.gradients<double>(points, o, center, phi.data() + at,
                             {d[0].data() + at, d[1].data() + at, d[2].data() + at}, kBatch);
  }
}

}  // namespace

TEST_CASE("orbital values and gradients are those of harmonics.hpp", "[orbital_values]") {
  const Fixture f;
  const SpeciesData& s = f.basis->species[0];
  const OrbitalTables tables(s);
  BatchPoints points;
  const auto r = noise(3 * kBatch, 7, 1.3);
  for (std::size_t p = 0; p < kBatch; ++p) {
    for (std::size_t a = 0; a < 3; ++a) points.x[a][p] = p + 1 == kBatch ? kFarAway : r[3 * p + a];
  }
  const Vec3 center(0.3, -0.2, 0.1);
  for (std::size_t a = 0; a < 3; ++a)
    points.x[a][0] = center[static_cast<int>(a)];  // the origin itself
  Eigen::MatrixXd phi(kBatch, s.n_orbitals()), only(kBatch, s.n_orbitals());
  std::array<Eigen::MatrixXd, 3> d = {phi, phi, phi};
  tables.values(points, center, only.data());
  all_gradients(tables, points, center, phi, d);
  CHECK(only == phi);
  for (int p = 0; p < kBatch; ++p) {
    const auto k = static_cast<std::size_t>(p);
    const auto expected =
        orbitals_at(s, Vec3(points.x[0][k], points.x[1][k], points.x[2][k]) - center);
    CHECK((phi.row(p).transpose() - expected.col(0)).cwiseAbs().maxCoeff() < 1e-13);
    for (int a = 0; a < 3; ++a) {
      const auto got = d[static_cast<std::size_t>(a)].row(p).transpose();
      CHECK((got - expected.col(a + 1)).cwiseAbs().maxCoeff() < 1e-12);
    }
  }
  CHECK(phi.row(kBatch - 1).cwiseAbs().maxCoeff() == 0.0);
  CHECK(phi.cwiseAbs().maxCoeff() > 0.1);
}

TEST_CASE("hessian_dot is the derivative of the gradients along q", "[orbital_values]") {
  const Fixture f;
  const SpeciesData& s = f.basis->species[0];
  const OrbitalTables tables(s);
  const auto r = noise(3 * kBatch, 8, 1.0), field = noise(3 * kBatch, 9);
  const Vec3 center(0.1, 0.2, -0.1);
  BatchPoints points, q;
  for (std::size_t p = 0; p < kBatch; ++p) {
    for (std::size_t a = 0; a < 3; ++a) {
      points.x[a][p] = r[3 * p + a];
      q.x[a][p] = field[3 * p + a];
    }
  }
  const Eigen::MatrixXd zero = Eigen::MatrixXd::Zero(kBatch, s.n_orbitals());
  std::array<Eigen::MatrixXd, 3> h = {zero, zero, zero};
  for (int o = 0; o < kBatch / kOctet; ++o) {
    std::array<double, 3 * kOctet> along;
    for (std::size_t a = 0; a < 3; ++a) {
      for (std::size_t p = 0; p < kOctet; ++p)
        along[a * kOctet + p] = q.x[a][static_cast<std::size_t>(o * kOctet) + p];
    }
    const int at = o * kOctet;
    tables.hessian_dot<double>(points, o, center, along.data(),
                               {h[0].data() + at, h[1].data() + at, h[2].data() + at}, kBatch);
  }
  const auto gradients_at = [&](double step) {
    BatchPoints moved = points;
    for (std::size_t a = 0; a < 3; ++a) {
      for (std::size_t p = 0; p < kBatch; ++p) moved.x[a][p] += step * q.x[a][p];
    }
    Eigen::MatrixXd phi = zero;
    std::array<Eigen::MatrixXd, 3> d = {zero, zero, zero};
    all_gradients(tables, moved, center, phi, d);
    return d;
  };
  const double e = 2e-4;
  const auto up = gradients_at(e), down = gradients_at(-e);
  double worst = 0.0;
  for (std::size_t a = 0; a < 3; ++a) {
    worst = std::max(worst, ((up[a] - down[a]) / (2.0 * e) - h[a]).cwiseAbs().maxCoeff());
  }
  CHECK(worst < 2e-5);  // the third derivative of a cubic spline jumps at its knots
  CHECK(h[0].cwiseAbs().maxCoeff() > 1.0);
}

TEST_CASE("batches cover every point once and know every atom that reaches them", "[grid]") {
  const Fixture f;
  const Grid grid = f.grid();
  std::vector<int> groups;
  std::vector<int> uniform(grid.uniform().size()),
      sphere(static_cast<std::size_t>(grid.n_sphere_points()));
  const Mat3 h = grid.uniform().steps();
  double worst = 0.0;
  for_points(grid, [&](const Batch& batch, std::size_t k, const Vec3& r) {
    if (batch.owner >= 0) {
      ++sphere[k];
      CHECK((r - f.structure.positions[static_cast<std::size_t>(batch.owner)]).norm() < 2.35);
    } else {
      ++uniform[k];
      const auto n = grid.uniform().n;
      const auto z = static_cast<int>(k) % n[2], y = static_cast<int>(k) / n[2] % n[1];
      const auto x = static_cast<int>(k) / n[2] / n[1];
      const Vec3 expected = (x * h.row(0) + y * h.row(1) + z * h.row(2)).transpose();
      worst = std::max(worst, (r - expected).norm());
    }
    std::size_t active = 0;
    for (const auto& a : around(f, r)) {
      for (const auto& b : grid.active(batch)) active += a.atom == b.atom && a.cell == b.cell;
    }
    REQUIRE(active == around(f, r).size());
  });
  CHECK(worst < 1e-12);
  CHECK(std::all_of(uniform.begin(), uniform.end(), [](int n) { return n == 1; }));
  CHECK(std::all_of(sphere.begin(), sphere.end(), [](int n) { return n == 1; }));
  CHECK(sphere.size() == 2 * sphere_mesh({1.0, 0.2, 2.35}, kBatch, groups).size());
}

TEST_CASE("density equals direct summation", "[density]") {
  const Fixture f;
  const Grid grid = f.grid();
  const auto D = symmetric_matrix(*f.pattern, 11, 0.3);
  const Density n = density(grid, D);
  double value = 0.0, slope = 0.0;
  for_points(grid, [&](const Batch& batch, std::size_t k, const Vec3& r) {
    const Eigen::Vector4d expected = direct_density(f, D, r);
    const double got = batch.owner < 0 ? n.uniform[k] : n.sphere[k];
    value = std::max(value, std::abs(got - expected[0]));
    if (batch.owner >= 0)
      slope = std::max(slope, (n.sphere_gradient[k] - expected.tail<3>()).norm());
  });
  CHECK(largest(n.uniform) > 0.1);
  CHECK(value < 1e-11);
  CHECK(slope < 1e-10);
}

TEST_CASE("potential_matrix equals direct summation", "[potential_matrix]") {
  const Fixture f;
  const Grid grid = f.grid();
  const Potential v = random_potential(grid, 21);
  const auto H = potential_matrix(grid, v);
  std::vector<double> expected(H.size(), 0.0);
  for_points(grid, [&](const Batch& batch, std::size_t k, const Vec3& r) {
    if (batch.owner < 0) {
      add_direct_matrix(f, r, v.uniform[k], Vec3::Zero(), expected);
    } else {
      add_direct_matrix(f, r, v.sphere[k], v.sphere_vector[k], expected);
    }
  });
  CHECK(largest(H) > 1.0);
  CHECK(largest_difference(H, expected) < 1e-11 * largest(H));
}

TEST_CASE("density and potential_matrix are adjoint", "[potential_matrix]") {
  const Fixture f;
  const Grid grid = f.grid();
  const auto D = symmetric_matrix(*f.pattern, 31, 0.3);
  const Potential v = random_potential(grid, 32);
  const double left = energy(v, density(grid, D)), right = dot(potential_matrix(grid, v), D);
  CHECK(left == Approx(right).epsilon(1e-12));
}

TEST_CASE("grid and spheres together integrate the density", "[grid]") {
  // Tr D S from the two-centre tables is the exact integral.
  const Fixture f(3.6);
  const auto D = symmetric_matrix(*f.pattern, 41, 0.02, 1.0);
  const double exact = dot(overlap_matrix(TwoCenterTables(*f.basis), f.structure, *f.pattern), D);
  const Grid grid = f.grid(0, Vec3::Zero(), {30, 28, 32});
  const NeutralFields neutral = neutral_fields(grid);
  const Density n = density(grid, D);
  const double dv = grid.uniform().volume_element();
  const double split = dv * dot(neutral.weight, n.uniform) + dot(neutral.sphere_weight, n.sphere);
  CHECK(split == Approx(exact).epsilon(2e-6));
  const double atoms = dv * dot(neutral.weight, neutral.density) +
                       dot(neutral.sphere_weight, neutral.sphere_density);
  CHECK(atoms == Approx(4.0 + 3.0 + 4.0).epsilon(2e-6));
  // Neither part is the whole: the test would not pass without the weights.
  CHECK(std::abs(dv * dot(neutral.weight, n.uniform)) < 0.9 * exact);
  CHECK(grid.uniform().size() == neutral.weight.size());
}

TEST_CASE("neutral fields are superpositions", "[neutral_fields]") {
  const Fixture f;
  const Grid grid = f.grid();
  const NeutralFields neutral = neutral_fields(grid);
  double worst = 0.0;
  for_points(grid, [&](const Batch& batch, std::size_t k, const Vec3& r) {
    double n = 0.0, v = 0.0, w = 1.0;
    for (const auto& atom : around(f, r)) {
      const auto& s = f.basis->species[static_cast<std::size_t>(
          f.structure.species[static_cast<std::size_t>(atom.atom)])];
      const Vec3 center = f.structure.positions[static_cast<std::size_t>(atom.atom)] +
                          f.structure.translation(atom.cell[0], atom.cell[1], atom.cell[2]);
      const double distance = (r - center).norm();
      n += s.density.value(distance);
      v += s.neutral_potential.value(distance);
      if (s.sphere) w -= partition_weight(*s.sphere, distance)[0];
    }
    const bool uniform = batch.owner < 0;
    worst = std::max({worst, std::abs(n - (uniform ? neutral.density : neutral.sphere_density)[k]),
                      std::abs(v - (uniform ? neutral.potential : neutral.sphere_potential)[k])});
    if (uniform) worst = std::max(worst, std::abs(w - neutral.weight[k]));
  });
  CHECK(worst < 1e-13);
}

TEST_CASE("the xc potential is the derivative of the discretised energy",
          "[exchange_correlation]") {
  const Fixture f;
  const Grid grid = f.grid();
  const NeutralFields neutral = neutral_fields(grid);
  for (const Functional functional : {Functional::pbe, Functional::lda_pw92}) {
    for (const unsigned n_spin : {1U, 2U}) {
      std::vector<std::vector<double>> D, step;
      for (unsigned s = 0; s < n_spin; ++s) {
        D.push_back(symmetric_matrix(*f.pattern, 50 + s, 0.01, 1.0 + s));
        step.push_back(symmetric_matrix(*f.pattern, 60 + s, 0.05, 0.3));
      }
      const auto at = [&](double x) {
        std::vector<Density> n;
        for (unsigned s = 0; s < n_spin; ++s) {
          auto moved = D[s];
          for (std::size_t k = 0; k < moved.size(); ++k) moved[k] += x * step[s][k];
          n.push_back(density(grid, moved));
        }
        return exchange_correlation(grid, neutral, functional, n);
      };
      const auto xc = at(0.0);
      double analytic = 0.0;
      for (unsigned s = 0; s < n_spin; ++s) {
        analytic += dot(potential_matrix(grid, xc.potential[s]), step[s]);
      }
      const double h = 1e-3;
      const double numeric =
          (8.0 * (at(h).energy - at(-h).energy) - (at(2 * h).energy - at(-2 * h).energy)) /
          (12.0 * h);
      INFO("spins " << n_spin << ", PBE " << (functional == Functional::pbe));
      CHECK(std::abs(analytic) > 0.1);
      CHECK(analytic == Approx(numeric).epsilon(1e-8));
    }
  }
}

TEST_CASE("one and two equal spins have the same xc energy", "[exchange_correlation]") {
  const Fixture f;
  const Grid grid = f.grid();
  const NeutralFields neutral = neutral_fields(grid);
  const auto D = symmetric_matrix(*f.pattern, 70, 0.01, 1.0);
  auto half = D;
  for (double& x : half) x *= 0.5;
  const Density n = density(grid, D), m = density(grid, half);
  const auto one = exchange_correlation(grid, neutral, Functional::pbe, {n});
  const auto two = exchange_correlation(grid, neutral, Functional::pbe, {m, m});
  CHECK(one.energy == Approx(two.energy).epsilon(1e-12));
  CHECK(largest_difference(one.potential[0].uniform, two.potential[1].uniform) < 1e-10);
  CHECK_THROWS_AS(exchange_correlation(grid, neutral, Functional::pbe, {}), std::invalid_argument);
}

TEST_CASE("gradient through orbitals and riding spheres", "[gradient]") {
  const Fixture f;
  const Grid grid = f.grid();
  const auto D = symmetric_matrix(*f.pattern, 80, 0.1);
  const Potential v = random_potential(grid, 81);
  check_gradient(f, orbital_gradient(grid, D, v),
                 [&](const Grid& g) { return energy(v, density(g, D)); });
}

TEST_CASE("one pass for several matrices is the sum of their passes", "[gradient]") {
  const Fixture f;
  const Grid grid = f.grid();
  const auto A = symmetric_matrix(*f.pattern, 82, 0.1), B = symmetric_matrix(*f.pattern, 83, 0.1);
  const Potential v = random_potential(grid, 84), w = random_potential(grid, 85);
  const std::array<OrbitalTerm, 2> terms{OrbitalTerm{A, &v}, OrbitalTerm{B, &w, true}};
  const OrbitalGradient both = orbital_gradient(grid, terms);
  const Gradient a = orbital_gradient(grid, A, v), b = orbital_gradient(grid, B, w);
  for (std::size_t i = 0; i < both.gradient.atoms.size(); ++i)
    CHECK((both.gradient.atoms[i] - a.atoms[i] - b.atoms[i]).norm() < 1e-11);
  CHECK((both.gradient.strain - a.strain - b.strain).norm() < 1e-10);
  const Density n = density(grid, B);
  CHECK(both.density[0].uniform.empty());
  CHECK(largest_difference(both.density[1].uniform, n.uniform) < 1e-12);
  CHECK(largest_difference(both.density[1].sphere, n.sphere) < 1e-12);
  for (std::size_t p = 0; p < n.sphere.size(); ++p)
    CHECK((both.density[1].sphere_gradient[p] - n.sphere_gradient[p]).norm() < 1e-12);
}

TEST_CASE("gradient through the spherical functions", "[gradient]") {
  const Fixture f;
  const Grid grid = f.grid();
  const std::size_t size = grid.uniform().size();
  const auto a = noise(size, 91), b = noise(size, 92), c = noise(size, 93),
             s = noise(static_cast<std::size_t>(grid.n_sphere_points()), 94);
  check_gradient(f, spherical_gradient(grid, {a, b, c, s}), [&](const Grid& g) {
    const NeutralFields n = neutral_fields(g);
    // W = 1 - sum w
    return dot(a, n.potential) + dot(b, n.density) - dot(c, n.weight) + dot(s, n.sphere_potential);
  });
}

/// The fixture with a partial core on both species; that of B reaches further than all else of it.
Fixture with_cores() {
  Fixture f;
  auto basis = std::make_shared<BasisData>(*f.basis);
  basis->species[0].core_density = compact(0, 0.8, 2.6, 0.5);
  basis->species[1].core_density = compact(0, 0.5, 3.1, 0.3);
  f.basis = basis;
  return f;
}

TEST_CASE("partial cores on the points are those of direct summation", "[core]") {
  const Fixture f = with_cores();
  const Grid grid = f.grid();
  const Density core = neutral_fields(grid).core;
  CHECK(neutral_fields(Fixture().grid()).core.uniform.empty());
  double worst = 0.0;
  for_points(grid, [&](const Batch& batch, std::size_t k, const Vec3& r) {
    double n = 0.0;
    Vec3 slope = Vec3::Zero();
    for (std::size_t i = 0; i < f.structure.size(); ++i) {
      const auto& table =
          *f.basis->species[static_cast<std::size_t>(f.structure.species[i])].core_density;
      for (int c = 0; c < 343; ++c) {
        const Vec3 d = r - f.structure.positions[i] -
                       f.structure.translation(c / 49 - 3, c / 7 % 7 - 3, c % 7 - 3);
        const auto value = table.derivatives(d.norm());
        n += value[0];
        if (d.norm() > 1e-10) slope += value[1] * d.normalized();
      }
    }
    const bool uniform = batch.owner < 0;
    worst = std::max(worst, std::abs(n - (uniform ? core.uniform : core.sphere)[k]));
    if (!uniform) worst = std::max(worst, (slope - core.sphere_gradient[k]).norm());
  });
  CHECK(largest(core.sphere) > 0.1);
  CHECK(worst < 1e-12);
}

TEST_CASE("xc of a partial core is that of the sum of the densities", "[core]") {
  const Fixture f = with_cores();
  const Grid grid = f.grid();
  const NeutralFields neutral = neutral_fields(grid);
  NeutralFields bare = neutral;
  bare.core = {};
  for (const unsigned n_spin : {1U, 2U}) {
    std::vector<Density> n, sum;
    for (unsigned s = 0; s < n_spin; ++s) {
      n.push_back(density(grid, symmetric_matrix(*f.pattern, 50 + s, 0.01, 1.0 + s)));
      sum.push_back(n.back());
      for (std::size_t g = 0; g < sum[s].uniform.size(); ++g)
        sum[s].uniform[g] += neutral.core.uniform[g] / n_spin;
      for (std::size_t p = 0; p < sum[s].sphere.size(); ++p) {
        sum[s].sphere[p] += neutral.core.sphere[p] / n_spin;
        sum[s].sphere_gradient[p] += neutral.core.sphere_gradient[p] / n_spin;
      }
    }
    const auto xc = exchange_correlation(grid, neutral, Functional::pbe, n);
    const auto expected = exchange_correlation(grid, bare, Functional::pbe, sum);
    CHECK(xc.energy == Approx(expected.energy).epsilon(1e-13));
    CHECK(xc.energy < exchange_correlation(grid, bare, Functional::pbe, n).energy - 0.1);
    for (unsigned s = 0; s < n_spin; ++s) {
      CHECK(largest_difference(xc.potential[s].uniform, expected.potential[s].uniform) < 1e-13);
      CHECK(largest_difference(xc.potential[s].sphere, expected.potential[s].sphere) < 1e-13);
    }
  }
}

TEST_CASE("gradient through the partial cores", "[core]") {
  const Fixture f = with_cores();
  const Grid grid = f.grid();
  const std::vector<double> zero(grid.uniform().size(), 0.0),
      none(static_cast<std::size_t>(grid.n_sphere_points()), 0.0);
  const Potential v = random_potential(grid, 97);
  check_gradient(f, spherical_gradient(grid, {zero, zero, zero, none, &v}),
                 [&](const Grid& g) { return energy(v, neutral_fields(g).core); });
}

TEST_CASE("gradient through the superposed densities on all points", "[gradient]") {
  const Fixture f;
  const Grid grid = f.grid();
  const std::vector<double> zero(grid.uniform().size(), 0.0),
      none(static_cast<std::size_t>(grid.n_sphere_points()), 0.0);
  const Potential v = random_potential(grid, 98);
  check_gradient(f, spherical_gradient(grid, {zero, zero, zero, none, nullptr, &v}),
                 [&](const Grid& g) { return energy(v, neutral_density(neutral_fields(g))); });
}

/// a + x b on all points.
Density moved(const Density& a, double x, const Density& b) {
  Density out = a;
  for (std::size_t g = 0; g < out.uniform.size(); ++g) out.uniform[g] += x * b.uniform[g];
  for (std::size_t p = 0; p < out.sphere.size(); ++p) {
    out.sphere[p] += x * b.sphere[p];
    out.sphere_gradient[p] += x * b.sphere_gradient[p];
  }
  return out;
}

TEST_CASE("change of the xc energy and of all its derivatives", "[core]") {
  for (const Fixture& f : {Fixture(), with_cores()}) {
    const Grid grid = f.grid();
    const NeutralFields neutral = neutral_fields(grid);
    for (const Functional functional :
         {Functional::pbe, Functional::pbe_pw92, Functional::lda_pw92}) {
      for (const unsigned n_spin : {1U, 2U}) {
        std::vector<Density> n, change;
        for (unsigned s = 0; s < n_spin; ++s) {
          n.push_back(density(grid, symmetric_matrix(*f.pattern, 50 + s, 0.01, 1.0 + s)));
          change.push_back(density(grid, symmetric_matrix(*f.pattern, 60 + s, 0.02)));
        }
        constexpr double kStep = 1e-4;
        const auto at = [&](double x) {
          std::vector<Density> there;
          for (unsigned s = 0; s < n_spin; ++s) there.push_back(moved(n[s], x, change[s]));
          return exchange_correlation(grid, neutral, functional, there);
        };
        const auto plus = at(kStep), minus = at(-kStep);
        const auto exact = exchange_correlation_change(grid, neutral, functional, n, change);
        const auto slope = [](double a, double b) { return (a - b) / (2.0 * kStep); };
        INFO("spins " << n_spin << ", functional " << static_cast<int>(functional));
        CHECK(exact.energy == Approx(slope(plus.energy, minus.energy)).epsilon(1e-6));
        CHECK(std::abs(exact.energy) > 1e-3);
        for (int a = 0; a < 3; ++a) {
          for (int b = 0; b < 3; ++b)
            CHECK(exact.strain(a, b) ==
                  Approx(slope(plus.strain(a, b), minus.strain(a, b))).margin(1e-6));
        }
        const auto worst = [&](const auto& part) {
          double error = 0.0, size = 0.0;
          const auto &x = part(exact), &y = part(plus), &z = part(minus);
          for (std::size_t g = 0; g < x.size(); ++g) {
            error = std::max(error, std::abs(x[g] - slope(y[g], z[g])));
            size = std::max(size, std::abs(x[g]));
          }
          return error / size;
        };
        CHECK(worst([](const ExchangeCorrelation& x) -> auto& { return x.energy_density; }) < 1e-5);
        for (unsigned s = 0; s < n_spin; ++s) {
          CHECK(worst([s](const ExchangeCorrelation& x) -> auto& {
                  return x.potential[s].uniform;
                }) < 1e-5);
          CHECK(worst([s](const ExchangeCorrelation& x) -> auto& {
                  return x.potential[s].sphere;
                }) < 1e-5);
          double error = 0.0, size = 0.0;
          for (std::size_t p = 0; p < exact.potential[s].sphere_vector.size(); ++p) {
            const Vec3 difference =
                (plus.potential[s].sphere_vector[p] - minus.potential[s].sphere_vector[p]) /
                (2.0 * kStep);
            error = std::max(error, (exact.potential[s].sphere_vector[p] - difference).norm());
            size = std::max(size, difference.norm());
          }
          CHECK(error <= 1e-5 * size);
          CHECK((size > 0.0) == needs_gradient(functional));
        }
      }
    }
  }
}

TEST_CASE("strain of the xc energy through the metric of the stencil", "[gradient]") {
  // The density on the points is kept, the cell strains: what is left is the volume and the metric.
  const Fixture f;
  const Grid grid = f.grid();
  const NeutralFields neutral = neutral_fields(grid);
  for (const Functional functional : {Functional::pbe, Functional::lda_pw92}) {
    for (const unsigned n_spin : {1U, 2U}) {
      std::vector<Density> n;
      for (unsigned s = 0; s < n_spin; ++s)
        n.push_back(density(grid, symmetric_matrix(*f.pattern, 50 + s, 0.01, 1.0 + s)));
      const auto xc = exchange_correlation(grid, neutral, functional, n);
      double uniform = 0.0;
      for (std::size_t g = 0; g < neutral.weight.size(); ++g)
        uniform += grid.uniform().volume_element() * neutral.weight[g] * xc.energy_density[g];
      for (const auto& [a, b] : kVoigt) {
        const double numeric = numeric_strain(f, {a, b}, [&](const Grid& g) {
          return exchange_correlation(g, neutral, functional, n).energy;
        });
        INFO("spins " << n_spin << ", PBE " << (functional == Functional::pbe) << ", " << a << b);
        CHECK(xc.strain(a, b) + (a == b ? uniform : 0.0) == Approx(numeric).margin(1e-9));
        if (functional == Functional::pbe) CHECK(std::abs(xc.strain(a, b)) > 1e-4);
      }
    }
  }
}

TEST_CASE("a grid along other vectors of the lattice has the same fields", "[grid]") {
  // With equal numbers of points the two grids are the same points in another order.
  const Fixture f;
  constexpr int kN = 14;
  const Axes axes = {{{1, -1, 0}, {0, 1, 2}, {-1, 1, 1}}};
  const auto structure = std::make_shared<const Structure>(f.structure);
  const Grid straight(structure, f.basis, f.pattern, {kN, kN, kN});
  const Grid turned(structure, f.basis, f.pattern, {kN, kN, kN}, axes);
  const auto place = [&](int x, int y, int z) {
    std::size_t index = 0;
    for (int e = 0; e < 3; ++e) {
      const int k = x * axes[0][e] + y * axes[1][e] + z * axes[2][e];
      index = index * kN + static_cast<std::size_t>(((k % kN) + kN) % kN);
    }
    return index;
  };
  const auto D = symmetric_matrix(*f.pattern, 41, 0.1, 1.0);
  const Density a = density(straight, D), b = density(turned, D);
  const auto v = noise(straight.uniform().size(), 42);
  std::vector<double> w(v.size());
  std::size_t g = 0;
  double worst = 0.0;
  for (int x = 0; x < kN; ++x) {
    for (int y = 0; y < kN; ++y) {
      for (int z = 0; z < kN; ++z, ++g) {
        worst = std::max(worst, std::abs(b.uniform[g] - a.uniform[place(x, y, z)]));
        w[g] = v[place(x, y, z)];
      }
    }
  }
  CHECK(worst < 1e-13);
  CHECK(turned.uniform().volume_element() ==
        Approx(straight.uniform().volume_element()).epsilon(1e-13));
  const auto va = uniform_potential(straight, v), vb = uniform_potential(turned, w);
  const auto Ma = potential_matrix(straight, va), Mb = potential_matrix(turned, vb);
  double difference = 0.0;
  for (std::size_t k = 0; k < Ma.size(); ++k)
    difference = std::max(difference, std::abs(Ma[k] - Mb[k]));
  CHECK(difference < 1e-13);
  const Gradient ga = orbital_gradient(straight, D, va), gb = orbital_gradient(turned, D, vb);
  for (std::size_t i = 0; i < ga.atoms.size(); ++i)
    CHECK((ga.atoms[i] - gb.atoms[i]).norm() < 1e-12);
  CHECK((ga.strain - gb.strain).norm() < 1e-11);
}

TEST_CASE("results are bitwise the same for every number of threads", "[threads]") {
  const Fixture f;
  const Grid grid = f.grid();
  const auto D = symmetric_matrix(*f.pattern, 95, 0.01, 1.0);
  struct Results {
    Density n;
    ExchangeCorrelation xc;
    std::vector<double> H;
    Gradient orbitals, spherical;
  };
  const int before = omp_get_max_threads();
  const auto run = [&](int threads) {
    omp_set_num_threads(threads);
    Results r;
    r.n = density(grid, D);
    const NeutralFields neutral = neutral_fields(grid);
    r.xc = exchange_correlation(grid, neutral, Functional::pbe, {r.n});
    r.H = potential_matrix(grid, r.xc.potential[0]);
    r.orbitals = orbital_gradient(grid, D, r.xc.potential[0]);
    r.spherical = spherical_gradient(
        grid, {neutral.potential, neutral.density, neutral.weight, neutral.sphere_potential});
    return r;
  };
  const Results one = run(1);
  for (const int threads : {2, 3}) {
    const Results other = run(threads);
    CHECK(other.n.uniform == one.n.uniform);
    CHECK(other.n.sphere == one.n.sphere);
    CHECK(other.n.sphere_gradient == one.n.sphere_gradient);
    CHECK(other.xc.energy == one.xc.energy);
    CHECK(other.xc.potential[0].uniform == one.xc.potential[0].uniform);
    CHECK(other.H == one.H);
    CHECK(other.xc.strain == one.xc.strain);
    CHECK(other.orbitals.atoms == one.orbitals.atoms);
    CHECK(other.orbitals.strain == one.orbitals.strain);
    CHECK(other.spherical.atoms == one.spherical.atoms);
    CHECK(other.spherical.strain == one.spherical.strain);
  }
  omp_set_num_threads(before);
}

TEST_CASE("a pair at the very end of the range is seen from both sides", "[pattern]") {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> uniform(-1.0, 1.0);
  const auto vector = [&] { return Vec3(uniform(random), uniform(random), uniform(random)); };
  for (int k = 0; k < 300; ++k) {
    const Fixture f;
    Structure s = f.structure;
    for (int d = 0; d < 3; ++d) s.cell.row(d) += 0.3 * vector().transpose();
    const double range =
        f.basis->species[0].orbital_cutoff() + f.basis->species[1].orbital_cutoff();
    s.positions = {9.0 * vector(), Vec3::Zero()};
    s.positions[1] = s.positions[0] + range * vector().normalized() + s.translation(1, -2, 1);
    s.species = {0, 1};
    CHECK_NOTHROW(make_pattern(s, *f.basis));
  }
}

TEST_CASE("a grid refuses what it cannot integrate", "[grid]") {
  const Fixture f;
  const auto structure = std::make_shared<const Structure>(f.structure);
  CHECK_THROWS_AS(Grid(structure, f.basis, f.pattern, {8, 0, 8}), std::invalid_argument);
  const Axes twice = {{{2, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
  CHECK_THROWS_AS(Grid(structure, f.basis, f.pattern, {8, 8, 8}, twice), std::invalid_argument);
}
