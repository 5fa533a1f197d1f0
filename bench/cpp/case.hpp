#pragma once
// The structure of a benchmark from an extxyz file, in a basis with the ranges and shells of
// gth-pbe: smooth compact functions, since the times depend on nothing else. Needs no Python.

#include <cmath>
#include <fstream>
#include <memory>
#include <numbers>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "mlh/grid/grid.hpp"

namespace mlh::bench {

inline constexpr double kBohrInAngstrom = 0.529177210903;

inline RadialTable compact(int l, double exponent, double cutoff, double scale = 1.0) {
  std::vector<double> g(static_cast<std::size_t>(std::lround(cutoff / kRadialStep)) + 1);
  for (std::size_t k = 0; k < g.size(); ++k) {
    const double r = static_cast<double>(k) * kRadialStep, x = r / cutoff;
    g[k] = scale * std::exp(-exponent * r * r) * std::pow(1.0 - x * x, 4);
  }
  g.back() = 0.0;
  return RadialTable(l, g);
}

/// s2p2d1 with the given projectors {l, width, energy}.
inline SpeciesData species(const std::string& symbol, double valence, double cutoff,
                           const std::vector<std::array<double, 3>>& projectors) {
  SpeciesData s;
  s.symbol = symbol;
  s.valence = valence;
  const std::array<double, 5> exponents = {0.8, 0.3, 0.8, 0.3, 0.4};
  const std::array<int, 5> shells = {0, 0, 1, 1, 2};
  for (std::size_t k = 0; k < shells.size(); ++k)
    s.orbitals.push_back(compact(shells[k], exponents[k], cutoff));
  for (const auto& [l, width, energy] : projectors) {
    s.projectors.push_back(
        {compact(static_cast<int>(l), 0.5 / (width * width), 8.0 * width), energy});
  }
  s.neutral_potential = compact(0, 1.0, cutoff);
  s.density = compact(0, 0.6, cutoff);
  double electrons = 0.0;
  for (double r = 0.0; r < cutoff; r += kRadialStep)
    electrons += 4.0 * std::numbers::pi * r * r * s.density.value(r) * kRadialStep;
  s.density = compact(0, 0.6, cutoff, valence / electrons);
  return s;
}

/// Si without and O with a sphere.
inline BasisData basis() {
  BasisData b{{species("Si", 4.0, 7.0, {{0, 0.436, 2.4}, {0, 0.436, 10.1}, {1, 0.498, 2.4}}),
               species("O", 6.0, 6.0, {{0, 0.221, 18.3}})}};
  b.species[1].sphere = SphereData{1.08, 0.25, 2.03};
  return b;
}

inline Structure read_extxyz(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot open " + path);
  std::string line;
  std::getline(file, line);
  const int n = std::stoi(line);
  std::getline(file, line);
  const auto start = line.find("Lattice=\"");
  if (start == std::string::npos) throw std::runtime_error(path + ": no Lattice");
  std::istringstream lattice(line.substr(start + 9));
  Structure s;
  for (int a = 0; a < 3; ++a) {
    for (int b = 0; b < 3; ++b) lattice >> s.cell(a, b);
  }
  s.cell /= kBohrInAngstrom;
  for (int i = 0; i < n; ++i) {
    std::string symbol;
    Vec3 r;
    std::getline(file, line);
    std::istringstream row(line);
    row >> symbol >> r[0] >> r[1] >> r[2];
    s.positions.push_back(r / kBohrInAngstrom);
    s.species.push_back(symbol == "Si" ? 0 : 1);
  }
  return s;
}

inline Structure repeat(const Structure& s, int n) {
  Structure out;
  out.cell = n * s.cell;
  for (int x = 0; x < n; ++x) {
    for (int y = 0; y < n; ++y) {
      for (int z = 0; z < n; ++z) {
        for (std::size_t i = 0; i < s.size(); ++i) {
          out.positions.push_back(s.positions[i] + s.translation(x, y, z));
          out.species.push_back(s.species[i]);
        }
      }
    }
  }
  return out;
}

struct Case {
  std::shared_ptr<const BasisData> basis;
  std::shared_ptr<const Structure> structure;
  std::shared_ptr<const Pattern> pattern;

  Case(const std::string& path, int copies)
      : basis(std::make_shared<BasisData>(bench::basis())),
        structure(std::make_shared<Structure>(repeat(read_extxyz(path), copies))),
        pattern(std::make_shared<Pattern>(make_pattern(*structure, *basis))) {}

  std::size_t atoms() const { return structure->size(); }
  std::array<int, 3> grid_points() const { return grid_size(structure->cell, 200.0); }
  Grid grid() const { return {structure, basis, pattern, grid_points()}; }
};

/// GFlop of the dense products of the density or of the potential matrix: n (n + 1) per point of
/// the grid with the n orbitals that reach its octet (half of a symmetric product), 2 n^2 per point
/// of a sphere (its gradient needs all of it).
inline double product_gflop(const Grid& grid) {
  double flops = 0.0;
  for (const Batch& batch : grid.batches()) {
    for (int o = 0; o * kOctet < batch.n_points; ++o) {
      double n = 0.0;
      for (const ActiveAtom& a : grid.active(batch)) {
        if (a.octets >> o & 1) n += grid.tables(a.atom).n_orbitals();
      }
      flops += kOctet * (batch.owner < 0 ? n * (n + 1.0) : 2.0 * n * n);
    }
  }
  return flops * 1e-9;
}

/// GByte of one matrix and of `values` numbers per point of the grid and per point of the spheres.
inline double field_gbyte(const Grid& grid, int uniform_values, int sphere_values) {
  const auto points = static_cast<double>(grid.uniform().size()) * uniform_values +
                      static_cast<double>(grid.n_sphere_points()) * sphere_values;
  return 8e-9 * (points + static_cast<double>(grid.pattern().nnz()));
}

}  // namespace mlh::bench
