#pragma once
// A stand-in for SiO2 that needs no file: smooth compact functions with the ranges and shells of the
// gth-pbe set, on a jittered lattice at 2.2 g/cc. For timing only.

#include <cmath>
#include <memory>
#include <random>

#include "mlh/grid.hpp"

namespace mlh::bench {

inline RadialTable compact(int l, double decay, double cutoff) {
  std::vector<double> g(static_cast<std::size_t>(std::lround(cutoff / kRadialStep)) + 1);
  for (std::size_t k = 0; k < g.size(); ++k) {
    const double r = kRadialStep * static_cast<double>(k), x = r / cutoff;
    g[k] = std::exp(-decay * r * r) * std::pow(1.0 - x * x, 3);
  }
  g.back() = 0.0;
  return RadialTable(l, g);
}

inline SpeciesData species(const char* symbol, double valence, double cutoff, bool hard) {
  SpeciesData s;
  s.symbol = symbol;
  s.valence = valence;
  for (const auto& [l, decay] : {std::pair{0, 0.8}, {0, 0.3}, {1, 0.8}, {1, 0.3}, {2, 0.4}}) {
    s.orbitals.push_back(compact(l, decay, cutoff));
  }
  s.projectors.push_back({compact(0, 4.0, hard ? 1.6 : 3.0), 1.0});
  s.neutral_potential = compact(0, 1.0, cutoff);
  s.density = compact(0, 0.6, cutoff);
  if (hard) s.sphere = SphereData{1.2, 0.3, 2.35};
  return s;
}

struct Case {
  std::shared_ptr<const BasisData> basis;
  std::shared_ptr<const Structure> structure;
  std::shared_ptr<const Pattern> pattern;
};

/// n^3 cubic cells of 4 Si and 8 O at the density of vitreous SiO2 (96 atoms: n = 2).
inline Case sio2(int n) {
  auto basis = std::make_shared<BasisData>();
  basis->species = {species("Si", 4.0, 7.0, false), species("O", 6.0, 6.0, true)};
  const double edge = 10.70;  // Bohr, 12 atoms
  auto s = std::make_shared<Structure>();
  s->cell = Mat3::Identity() * (edge * n);
  std::mt19937 random(1);
  std::uniform_real_distribution<double> jitter(-0.25, 0.25);
  const double f[12][3] = {{.0, .0, .0}, {.0, .5, .5}, {.5, .0, .5},  {.5, .5, .0},
                           {.25, .0, .25}, {.25, .25, .5}, {.75, .25, .0}, {.0, .25, .25},
                           {.5, .75, .25}, {.75, .5, .75}, {.25, .75, .75}, {.0, .75, .75}};
  for (int x = 0; x < n; ++x) {
    for (int y = 0; y < n; ++y) {
      for (int z = 0; z < n; ++z) {
        for (int a = 0; a < 12; ++a) {
          s->positions.emplace_back(edge * (x + f[a][0]) + jitter(random),
                                    edge * (y + f[a][1]) + jitter(random),
                                    edge * (z + f[a][2]) + jitter(random));
          s->species.push_back(a < 4 ? 0 : 1);
        }
      }
    }
  }
  auto pattern = std::make_shared<Pattern>(make_pattern(*s, *basis));
  return {basis, s, pattern};
}

}  // namespace mlh::bench
