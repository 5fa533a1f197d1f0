// Two-centre terms: set-up of the Si + O tables and time per geometry for n x n x n copies of a
// cell.
//
//   bench_two_center asio2_96_a.xyz [largest n, default 2] [repeats, default 5]
//
// The structure is an extxyz file (Angstrom, Lattice="..."). Radial functions are Gaussians with
// the cutoffs, numbers and widths of the gth-pbe basis (Si 7.0, O 6.0 Bohr, s2p2d1; GTH projector
// widths): the times depend on nothing else. Prints the best of the repeats.

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <numbers>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "mlh/core_repulsion.hpp"
#include "mlh/nonlocal.hpp"
#include "mlh/two_center.hpp"

using namespace mlh;

namespace {

constexpr double kBohrInAngstrom = 0.529177210903;

RadialTable radial(int l, double exponent, double cutoff, double scale = 1.0) {
  std::vector<double> g(static_cast<std::size_t>(std::lround(cutoff / kRadialStep)) + 1);
  for (std::size_t k = 0; k < g.size(); ++k) {
    const double r = static_cast<double>(k) * kRadialStep, x = r / cutoff;
    g[k] = scale * std::exp(-exponent * r * r) * std::pow(1.0 - x * x, 4);
  }
  return RadialTable(l, g);
}

/// s2p2d1 with the given projectors {l, width, energy}.
SpeciesData species(const std::string& symbol, double valence, double cutoff,
                    const std::vector<std::array<double, 3>>& projectors) {
  SpeciesData s;
  s.symbol = symbol;
  s.valence = valence;
  for (const int l : {0, 0, 1, 1, 2}) s.orbitals.push_back(radial(l, 0.4 + 0.3 * l, cutoff));
  for (const auto& [l, width, energy] : projectors) {
    s.projectors.push_back(
        {radial(static_cast<int>(l), 0.5 / (width * width), 8.0 * width), energy});
  }
  s.neutral_potential = radial(0, 1.0, cutoff);
  s.density = radial(0, 1.0, cutoff);
  double electrons = 0.0;
  for (double r = 0.0; r < cutoff; r += kRadialStep) {
    electrons += 4.0 * std::numbers::pi * r * r * s.density.value(r) * kRadialStep;
  }
  s.density = radial(0, 1.0, cutoff, valence / electrons);
  return s;
}

BasisData make_basis() {
  return {{species("Si", 4.0, 7.0, {{0, 0.436, 2.4}, {0, 0.436, 10.1}, {1, 0.498, 2.4}}),
           species("O", 6.0, 6.0, {{0, 0.221, 18.3}})}};
}

Structure read_extxyz(const std::string& path) {
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

Structure repeat(const Structure& s, int n) {
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

/// Milliseconds, best of `repeats`.
double best_time(int repeats, const std::function<void()>& work) {
  double best = 1e30;
  for (int n = 0; n < repeats; ++n) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - start;
    best = std::min(best, spent.count());
  }
  return best;
}

void run(const std::string& path, int largest, int repeats) {
  const BasisData basis = make_basis();
  std::printf("threads %d\n", omp_get_max_threads());
  std::printf("tables of Si + O: %.0f ms\n",
              best_time(repeats, [&] { const TwoCenterTables tables(basis); }));
  const TwoCenterTables tables(basis);
  const Structure cell = read_extxyz(path);
  std::printf("%7s %9s | ms: %7s %7s %7s %7s %7s %7s %7s %7s\n", "atoms", "pairs", "pattern", "S",
              "T", "Vnl", "dS", "dT", "dVnl", "E_scc");
  for (int n = 1; n <= largest; ++n) {
    const Structure s = repeat(cell, n);
    const Pattern p = make_pattern(s, basis);
    const std::vector<double> W(static_cast<std::size_t>(p.nnz()), 0.1);
    const std::vector<std::function<void()>> work = {
        [&] { make_pattern(s, basis); },
        [&] { overlap_matrix(tables, s, p); },
        [&] { kinetic_matrix(tables, s, p); },
        [&] { nonlocal_matrix(tables, s, p); },
        [&] { overlap_gradient(tables, s, p, W); },
        [&] { kinetic_gradient(tables, s, p, W); },
        [&] { nonlocal_gradient(tables, s, p, W); },
        [&] { core_repulsion(tables, s); },
    };
    std::printf("%7zu %9zu |    ", s.size(), p.n_pairs());
    for (const auto& w : work) std::printf(" %7.1f", best_time(repeats, w));
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s structure.xyz [largest n] [repeats]\n", argv[0]);
    return 2;
  }
  try {
    run(argv[1], argc > 2 ? std::stoi(argv[2]) : 2, argc > 3 ? std::stoi(argv[3]) : 5);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
