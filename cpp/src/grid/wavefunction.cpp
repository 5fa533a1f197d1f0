// psi(r) = sum_a C_a phi_a(r): one small product per batch of grid points, as in the density.

#include "mlh/grid/wavefunction.hpp"

#include <numbers>
#include <stdexcept>
#include <string>

#include "grid/orbital_products.hpp"

namespace mlh {

namespace {

using detail::Matrix;
using Complex = std::complex<double>;

/// First orbital of every atom, and the total at the end.
std::vector<std::size_t> orbital_starts(const Pattern& pattern) {
  std::vector<std::size_t> start{0};
  for (const int n : pattern.n_orbitals)
    start.push_back(start.back() + static_cast<std::size_t>(n));
  return start;
}

Complex phase_of(const Vec3& k, const Cell& cell) {
  const double angle = 2.0 * std::numbers::pi * (k[0] * cell[0] + k[1] * cell[1] + k[2] * cell[2]);
  return std::polar(1.0, angle);
}

void put(Matrix& C, Eigen::Index row, Eigen::Index state, double c, const Complex& phase) {
  C(row, state) = c * phase.real();
}

void put(Matrix& C, Eigen::Index row, Eigen::Index state, const Complex& c, const Complex& phase) {
  const Complex value = c * phase;
  C(row, 2 * state) = value.real();
  C(row, 2 * state + 1) = value.imag();
}

void take(const Matrix& psi, Eigen::Index point, Eigen::Index state, double& out) {
  out = psi(point, state);
}

void take(const Matrix& psi, Eigen::Index point, Eigen::Index state, Complex& out) {
  out = {psi(point, 2 * state), psi(point, 2 * state + 1)};
}

template <class T>
std::vector<T> evaluate(const Grid& grid, std::span<const T> coefficients, std::size_t count,
                        const Vec3& k) {
  const std::vector<std::size_t> start = orbital_starts(grid.pattern());
  const std::size_t n_orbitals = start.back(), n_points = grid.uniform().size();
  if (coefficients.size() != count * n_orbitals) {
    throw std::invalid_argument("coefficients: expected " + std::to_string(n_orbitals) +
                                " per state, got " + std::to_string(coefficients.size()) + " for " +
                                std::to_string(count) + " states");
  }
  constexpr Eigen::Index kParts = std::is_same_v<T, double> ? 1 : 2;
  const auto columns = kParts * static_cast<Eigen::Index>(count);
  const auto states = static_cast<Eigen::Index>(count);
  std::vector<T> out(count * n_points, T{});
  const auto& batches = grid.batches();
#pragma omp parallel
  {
    Matrix phi(kBatch, grid.max_orbitals()), C(grid.max_orbitals(), columns), psi(kBatch, columns);
    std::vector<int> first;
    std::array<std::int64_t, kBatch> index{};
#pragma omp for schedule(dynamic, 4)
    for (std::size_t b = 0; b < batches.size(); ++b) {
      const Batch& batch = batches[b];
      if (batch.owner >= 0) continue;
      detail::local_offsets(grid, batch, first);
      detail::orbital_values(grid, batch, grid.points(batch), first, phi);
      Eigen::Index row = 0;
      for (const ActiveAtom& atom : grid.active(batch)) {
        const Complex phase = phase_of(k, atom.cell);
        const auto i = static_cast<std::size_t>(atom.atom);
        for (std::size_t a = start[i]; a < start[i + 1]; ++a, ++row) {
          for (Eigen::Index s = 0; s < states; ++s) {
            put(C, row, s, coefficients[static_cast<std::size_t>(s) * n_orbitals + a], phase);
          }
        }
      }
      psi.noalias() = phi.leftCols(row) * C.topRows(row);
      grid.indices(batch, index);
      for (Eigen::Index s = 0; s < states; ++s) {
        T* target = out.data() + static_cast<std::size_t>(s) * n_points;
        for (int p = 0; p < batch.n_points; ++p) {
          take(psi, p, s, target[static_cast<std::size_t>(index[static_cast<std::size_t>(p)])]);
        }
      }
    }
  }
  return out;
}

}  // namespace

std::vector<double> wavefunctions(const Grid& grid, std::span<const double> coefficients,
                                  std::size_t count) {
  return evaluate(grid, coefficients, count, Vec3::Zero());
}

std::vector<Complex> wavefunctions(const Grid& grid, std::span<const Complex> coefficients,
                                   std::size_t count, const Vec3& k) {
  return evaluate(grid, coefficients, count, k);
}

}  // namespace mlh
