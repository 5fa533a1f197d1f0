// Density, potential matrix and orbital gradient on grid and spheres; one JSON line per size.
//   bench_grid [n ...]     n^3 x 12 atoms, default 2 (96 atoms); 200 Ry

#include <omp.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "mlh/field.hpp"
#include "synthetic.hpp"

namespace {

double seconds(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// GFlop/s of one large matrix product per thread: the ceiling for the batched products.
double dgemm_rate() {
  constexpr int n = 1024;
  const int threads = omp_get_max_threads();
  double best = 0.0;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const double t = seconds([&] {
#pragma omp parallel num_threads(threads)
      {
        const Eigen::MatrixXd a = Eigen::MatrixXd::Constant(n, n, 0.5);
        Eigen::MatrixXd c(n, n);
        c.noalias() = a * a;
        c.noalias() = a * c;
      }
    });
    best = std::max(best, 4.0 * n * n * n * threads / t * 1e-9);
  }
  return best;
}

void run(int n) {
  using namespace mlh;
  const auto [basis, structure, pattern] = bench::sio2(n);
  std::unique_ptr<Grid> grid;
  const double setup = seconds([&] {
    grid = std::make_unique<Grid>(structure, basis, pattern, grid_size(structure->cell, 200.0));
  });
  double flops = 0.0;  // dense products of the density: half-counted on the grid, full on spheres
  for (const auto& b : grid->batches()) {
    flops += (b.owner < 0 ? 1.0 : 2.0) * b.n_points * double(b.n_orbitals) * b.n_orbitals;
  }
  NeutralFields neutral;
  const double fields = seconds([&] { neutral = neutral_fields(*grid); });
  const std::vector<double> D(static_cast<std::size_t>(pattern->nnz()), 0.01);
  Density rho;
  const double t_density = seconds([&] { rho = density(*grid, D); });
  ExchangeCorrelation xc;
  const double t_xc = seconds([&] {
    xc = exchange_correlation(*grid, neutral, Functional::pbe, {neutral_density(neutral)});
  });
  std::vector<double> H;
  const double t_matrix = seconds([&] { H = potential_matrix(*grid, xc.potential[0]); });
  Gradient gradient;
  const double t_gradient =
      seconds([&] { gradient = orbital_gradient(*grid, D, xc.potential[0]); });
  std::printf(
      "{\"atoms\": %zu, \"threads\": %d, \"grid_points\": %zu, \"sphere_points\": %lld, "
      "\"mean_orbitals\": %.0f, \"setup_s\": %.3f, \"neutral_s\": %.3f, \"density_s\": %.3f, "
      "\"xc_s\": %.3f, \"matrix_s\": %.3f, \"gradient_s\": %.3f, \"density_gflop\": %.1f}\n",
      structure->size(), omp_get_max_threads(), grid->uniform().size(),
      static_cast<long long>(grid->n_sphere_points()),
      [&] {
        double sum = 0.0;
        for (const auto& b : grid->batches()) sum += b.n_orbitals;
        return sum / static_cast<double>(grid->batches().size());
      }(),
      setup, fields, t_density, t_xc, t_matrix, t_gradient, flops * 1e-9);
}

}  // namespace

int main(int argc, char** argv) {
  std::printf("{\"dgemm_gflops\": %.1f}\n", dgemm_rate());
  if (argc < 2) run(2);
  for (int k = 1; k < argc; ++k) run(std::atoi(argv[k]));
}
