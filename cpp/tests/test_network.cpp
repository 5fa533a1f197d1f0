#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <tuple>

#include "mlh/glass/bond_switching.hpp"
#include "mlh/glass/ring_statistics.hpp"

using namespace mlh;

namespace {

std::size_t idx(int i) { return static_cast<std::size_t>(i); }

struct Model {
  Structure structure;
  Network network;
};

/// Diamond, `repeat`^3 cubic cells of edge `edge`; with bridges at the midpoints of the bonds:
/// idealised cristobalite.
Model diamond(int repeat, double edge, bool bridged) {
  const Vec3 fcc[4] = {{0, 0, 0}, {0, .5, .5}, {.5, 0, .5}, {.5, .5, 0}};
  const Vec3 steps[4] = {
      {1, 1, 1}, {1, -1, -1}, {-1, 1, -1}, {-1, -1, 1}};  // in quarters of the edge
  Model m;
  const double length = repeat * edge;
  m.structure.cell = Mat3::Identity() * length;
  std::vector<Vec3> even, odd;
  for (int x = 0; x < repeat; ++x) {
    for (int y = 0; y < repeat; ++y) {
      for (int z = 0; z < repeat; ++z) {
        for (const Vec3& f : fcc) {
          even.push_back(edge * (Vec3(x, y, z) + f));
          odd.push_back(even.back() + 0.25 * edge * steps[0]);
        }
      }
    }
  }
  m.structure.positions = even;
  m.structure.positions.insert(m.structure.positions.end(), odd.begin(), odd.end());
  const int n_formers = static_cast<int>(m.structure.positions.size());
  std::vector<std::vector<Neighbor>> rows(idx(n_formers));
  for (int i = 0; i < static_cast<int>(even.size()); ++i) {
    for (const Vec3& step : steps) {
      const Vec3 target = even[idx(i)] + 0.25 * edge * step;
      for (int k = 0; k < static_cast<int>(odd.size()); ++k) {
        const Vec3 turns = (target - odd[idx(k)]) / length;
        const Vec3 whole(std::round(turns[0]), std::round(turns[1]), std::round(turns[2]));
        if ((turns - whole).norm() > 1e-6) continue;
        const Shift s{static_cast<int>(whole[0]), static_cast<int>(whole[1]),
                      static_cast<int>(whole[2])};
        const int j = k + static_cast<int>(even.size());
        if (!bridged) {
          rows[idx(i)].push_back({j, s});
          rows[idx(j)].push_back({i, -s});
          continue;
        }
        const int o = static_cast<int>(rows.size());
        m.structure.positions.push_back(even[idx(i)] + 0.125 * edge * step);
        rows.push_back({{i, {0, 0, 0}}, {j, s}});
        rows[idx(i)].push_back({o, {0, 0, 0}});
        rows[idx(j)].push_back({o, -s});
      }
    }
  }
  m.network.start = {0};
  for (const auto& row : rows) {
    m.network.neighbors.insert(m.network.neighbors.end(), row.begin(), row.end());
    m.network.start.push_back(static_cast<int>(m.network.neighbors.size()));
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    m.network.is_former.push_back(i < idx(n_formers));
    m.structure.species.push_back(i < idx(n_formers) ? 0 : 1);
  }
  return m;
}

NetworkPotential silica() {
  NetworkPotential p;
  p.n_species = 2;
  p.bond_stiffness = {0, 27, 27, 0};
  p.bond_length = {0, 1.6, 1.6, 0};
  p.angle_stiffness.assign(8, 0.0);
  p.angle_cosine.assign(8, 0.0);
  p.angle_stiffness[p.angle(1, 0, 1)] = 4.32;
  p.angle_cosine[p.angle(1, 0, 1)] = -1.0 / 3.0;
  p.angle_stiffness[p.angle(0, 1, 0)] = 2.0;
  p.angle_cosine[p.angle(0, 1, 0)] = -1.0;
  p.repulsion_stiffness.assign(4, 0.8);
  p.repulsion_range.assign(4, 2.6);
  return p;
}

NetworkPotential silicon() {
  NetworkPotential p;
  p.form = NetworkForm::keating;
  p.n_species = 1;
  p.bond_stiffness = {2.965};
  p.bond_length = {2.35};
  p.angle_stiffness = {0.285 * 2.965};
  p.angle_cosine = {-1.0 / 3.0};
  p.repulsion_stiffness = {0.5};
  p.repulsion_range = {3.2};
  return p;
}

SwitchingSettings settings() {
  SwitchingSettings s;
  s.relaxation = {5e-3, 1000, 0.2, 0.4};
  s.give_up_factor = 100.0;
  return s;
}

SwitchingState melted(bool bridged, int moves, std::uint64_t seed) {
  Model m = diamond(2, bridged ? 7.12 : 5.43, bridged);
  SwitchingState state{m.structure, m.network, Random(seed)};
  const NetworkPotential p = bridged ? silica() : silicon();
  start(state, p, settings());
  const std::vector<double> kt(idx(moves), 1.0);
  std::vector<double> energies(idx(moves));
  std::vector<std::uint8_t> accepted(idx(moves));
  run(state, p, settings(), kt, energies, accepted);
  return state;
}

std::vector<int> all(const Structure& s) {
  std::vector<int> atoms(s.size());
  std::iota(atoms.begin(), atoms.end(), 0);
  return atoms;
}

LinkGraph links_of(const Network& network) {
  LinkGraph graph;
  graph.start = {0};
  for (int i = 0; i < static_cast<int>(network.size()) && network.is_former[idx(i)]; ++i) {
    for (int slot = 0; slot < network.coordination(i); ++slot) {
      graph.links.push_back(network.link(i, slot));
    }
    graph.start.push_back(static_cast<int>(graph.links.size()));
  }
  return graph;
}

}  // namespace

TEST_CASE("network gradient is the derivative of the energy", "[network]") {
  const bool bridged = GENERATE(true, false);
  NetworkPotential p = bridged ? silica() : silicon();
  p.repulsion_range.assign(p.repulsion_range.size(), 4.5);  // so far that it acts in the crystal
  Model m = diamond(1, bridged ? 6.0 : 4.8, bridged);
  Random random(3);
  for (Vec3& r : m.structure.positions) {
    for (int d = 0; d < 3; ++d) r[d] += 0.3 * (random.uniform() - 0.5);
  }
  std::vector<Vec3> gradient, unused;
  const std::vector<int> atoms = all(m.structure);
  REQUIRE_FALSE(nonbonded_pairs(m.structure, m.network, p, 0.0, {}).empty());
  energy_around(m.structure, m.network, p, atoms, atoms, gradient);
  for (const int i : {0, 3, static_cast<int>(atoms.size()) - 1}) {
    for (int d = 0; d < 3; ++d) {
      const double h = 1e-5;
      const auto energy = [&](double step) {
        Structure moved = m.structure;
        moved.positions[idx(i)][d] += step;
        return energy_around(moved, m.network, p, atoms, atoms, unused);
      };
      CHECK(gradient[idx(i)][d] == Approx((energy(h) - energy(-h)) / (2 * h)).margin(1e-7));
    }
  }
}

TEST_CASE("nonbonded pairs are those of a search over all images, in order", "[network]") {
  NetworkPotential p = silica();
  p.repulsion_range.assign(p.repulsion_range.size(), GENERATE(4.0, 5.5));
  Model m = diamond(GENERATE(1, 2), 7.12, true);
  Mat3 skew = Mat3::Identity();
  skew(1, 0) = 0.4;
  m.structure.cell = m.structure.cell * skew;
  Random random(7);
  const int n = static_cast<int>(m.structure.size());
  std::vector<char> moving(GENERATE(true, false) ? idx(n) : 0);
  for (char& flag : moving) flag = random.uniform() < 0.3;
  for (int i = 0; i < n; ++i) {  // far outside the cell: positions are never wrapped
    m.structure.positions[idx(i)] = skew.transpose() * m.structure.positions[idx(i)];
    for (int d = 0; d < 3; ++d) m.structure.positions[idx(i)][d] += 0.4 * random.uniform() - 17.0;
  }
  const double cutoff = p.largest_range() + 0.5;
  const auto bonded = [&](int i, const Neighbor& target) {
    if (m.network.slot_of(i, target) >= 0) return true;
    for (int slot = 0; slot < m.network.coordination(i); ++slot) {
      const Neighbor& middle = m.network.bond(i, slot);
      const Neighbor rest{target.atom, target.shift + -middle.shift};
      if (m.network.slot_of(middle.atom, rest) >= 0) return true;
    }
    return false;
  };
  std::vector<NonbondedPair> expected;
  for (int i = 0; i < n; ++i) {
    for (int j = i; j < n; ++j) {
      if (!moving.empty() && !moving[idx(i)] && !moving[idx(j)]) continue;
      for (int k = 0; k < 343; ++k) {
        const Shift s{k / 49 - 3, k / 7 % 7 - 3, k % 7 - 3};
        if (i == j && s <= Shift{0, 0, 0}) continue;
        const Vec3 vector = m.structure.positions[idx(j)] - m.structure.positions[idx(i)] +
                            m.structure.translation(s[0], s[1], s[2]);
        if (vector.norm() < cutoff && !bonded(i, {j, s})) expected.push_back({i, j, s});
      }
    }
  }
  const auto found = nonbonded_pairs(m.structure, m.network, p, 0.5, moving);
  REQUIRE(!expected.empty());
  REQUIRE(found.size() == expected.size());
  for (std::size_t k = 0; k < found.size(); ++k) {
    CHECK(std::tie(found[k].i, found[k].j, found[k].shift) ==
          std::tie(expected[k].i, expected[k].j, expected[k].shift));
  }
}

TEST_CASE("energy around some atoms changes as the whole energy does", "[network]") {
  const NetworkPotential p = silica();
  Model m = diamond(2, 7.12, true);
  const std::vector<int> atoms = {0, 5, 70};
  const std::vector<int> centers = centers_around(m.network, atoms);
  REQUIRE(centers.size() < m.structure.size());
  std::vector<Vec3> gradient;
  const auto difference = [&](const std::vector<int>& moving, const std::vector<int>& around) {
    Structure moved = m.structure;
    moved.positions[0] += Vec3(0.1, -0.2, 0.05);
    moved.positions[70] += Vec3(0.3, 0.1, 0.0);
    return energy_around(moved, m.network, p, moving, around, gradient) -
           energy_around(m.structure, m.network, p, moving, around, gradient);
  };
  CHECK(difference(atoms, centers) == Approx(difference(all(m.structure), all(m.structure))));
}

TEST_CASE("an unstrained network has no energy", "[network]") {
  const Model m = diamond(2, 4.0 / std::sqrt(3.0) * 2.35, false);
  std::vector<Vec3> gradient;
  CHECK(energy_around(m.structure, m.network, silicon(), all(m.structure), all(m.structure),
                      gradient) == Approx(0.0).margin(1e-20));
}

TEST_CASE("transpositions keep bonds, coordination and corner sharing", "[network]") {
  const bool bridged = GENERATE(true, false);
  Network network = diamond(2, 7.0, bridged).network;
  const Network before = network;
  std::vector<int> formers;
  for (int i = 0; i < 64; ++i) formers.push_back(i);
  Random random(11);
  int done = 0;
  for (int k = 0; k < 500; ++k) {
    const auto move = draw_transposition(network, formers, random);
    if (!move) continue;
    const Network last = network;
    apply(*move, network);
    REQUIRE_NOTHROW(validate(network));
    REQUIRE_FALSE(network.neighbors == last.neighbors);
    ++done;
  }
  CHECK(done > 300);
  CHECK(network.start == before.start);
}

TEST_CASE("a network with a missing reverse bond or edge sharing is refused", "[network]") {
  Network network = diamond(1, 7.0, true).network;
  network.bond(0, 0).shift[0] += 1;
  CHECK_THROWS_AS(validate(network), std::invalid_argument);
  // Two formers with three bridges between them.
  Network pair;
  pair.is_former = {1, 1, 0, 0, 0};
  pair.start = {0, 3, 6, 8, 10, 12};
  const Shift o{0, 0, 0};
  pair.neighbors = {{2, o}, {3, o}, {4, o}, {2, o}, {3, o}, {4, o},
                    {0, o}, {1, o}, {0, o}, {1, o}, {0, o}, {1, o}};
  CHECK_THROWS_WITH(validate(pair), Catch::Contains("edge sharing"));
}

TEST_CASE("equal seeds walk alike, and a copied state goes on alike", "[network]") {
  const SwitchingState a = melted(true, 12, 5);
  SwitchingState b = melted(true, 6, 5);
  const std::vector<double> kt(6, 1.0);
  std::vector<double> energies(6);
  std::vector<std::uint8_t> accepted(6);
  SwitchingState copy{b.structure, b.network, Random(b.random.state()), b.energy, b.moves};
  run(copy, silica(), settings(), kt, energies, accepted);
  CHECK(copy.structure.positions == a.structure.positions);
  CHECK(copy.network.neighbors == a.network.neighbors);
  CHECK(copy.energy == a.energy);
  CHECK(copy.moves == 12);
  CHECK_FALSE(melted(true, 12, 6).energy == a.energy);
}

TEST_CASE("the energy that a run keeps is that of its structure", "[network]") {
  const bool bridged = GENERATE(true, false);
  const SwitchingState state = melted(bridged, 60, 2);
  CHECK(state.accepted > 0);
  CHECK(state.accepted < 60);
  std::vector<Vec3> gradient;
  const std::vector<int> atoms = all(state.structure);
  const double energy = energy_around(state.structure, state.network,
                                      bridged ? silica() : silicon(), atoms, atoms, gradient);
  CHECK(state.energy == Approx(energy).epsilon(1e-12));
  for (const Vec3& g : gradient) CHECK(g.lpNorm<Eigen::Infinity>() <= 5e-3);
}

TEST_CASE("giving up early rejects only what would be rejected anyway", "[network]") {
  Model m = diamond(2, 7.12, true);
  SwitchingState patient{m.structure, m.network, Random(4)}, quick = patient;
  SwitchingSettings never = settings();
  never.give_up_factor = 1e12;
  start(patient, silica(), never);
  start(quick, silica(), settings());
  const std::vector<double> kt(50, 0.6);
  std::vector<double> energies(50), expected(50);
  std::vector<std::uint8_t> accepted(50);
  run(patient, silica(), never, kt, expected, accepted);
  run(quick, silica(), settings(), kt, energies, accepted);
  CHECK(patient.given_up == 0);
  CHECK(quick.given_up > 20);
  CHECK(energies == expected);
}

TEST_CASE("volume moves find the density of a network at zero pressure", "[network]") {
  Model m = diamond(1, 1.04 * 4.0 / std::sqrt(3.0) * 2.35, false);
  SwitchingState state{m.structure, m.network, Random(1)};
  SwitchingSettings s = settings();
  s.volume_interval = 1;
  s.volume_step = 0.02;
  start(state, silicon(), s);
  const std::vector<double> kt(400, 1e-6);
  std::vector<double> energies(400);
  std::vector<std::uint8_t> accepted(400);
  run(state, silicon(), s, kt, energies, accepted);
  CHECK(state.structure.cell(0, 0) == Approx(4.0 / std::sqrt(3.0) * 2.35).epsilon(2e-3));
}

TEST_CASE("rings of diamond and cristobalite", "[network]") {
  const bool bridged = GENERATE(true, false);
  const Model m = diamond(3, 5.43, bridged);
  const auto counts = count_rings(links_of(m.network), 8);
  const std::int64_t formers = 3 * 3 * 3 * 8;
  CHECK(counts[3] + counts[4] + counts[5] + counts[7] == 0);
  CHECK(counts[6] == 2 * formers);
  const SmallRings small = count_small_rings(m.network);
  CHECK(small.three == 0);
  CHECK(small.four == 0);
}

TEST_CASE("rings do not close through periodic images, and doubled links are counted",
          "[network]") {
  const Shift o{0, 0, 0};
  // A chain of four nodes that bites its own image, and the same four nodes closed in one cell.
  LinkGraph chain{
      {0, 2, 4, 6, 8},
      {{1, o}, {3, {-1, 0, 0}}, {0, o}, {2, o}, {1, o}, {3, o}, {2, o}, {0, {1, 0, 0}}}};
  CHECK(count_rings(chain, 8)[4] == 0);
  LinkGraph square = chain;
  for (Neighbor& n : square.links) n.shift = o;
  CHECK(count_rings(square, 8)[4] == 1);
  const LinkGraph doubled{{0, 2, 4}, {{1, o}, {1, o}, {0, o}, {0, o}}};
  CHECK(count_rings(doubled, 6)[2] == 1);
}

TEST_CASE("small rings of a run agree with the ring statistics", "[network]") {
  const SwitchingState state = melted(true, 60, 7);
  const SmallRings small = count_small_rings(state.network);
  const auto counts = count_rings(links_of(state.network), 4);
  CHECK(small.three + small.four > 0);
  CHECK(small.three == counts[3]);
  // A closed path of four links with a shortcut is not a shortest-path ring.
  CHECK(small.four >= counts[4]);
}
