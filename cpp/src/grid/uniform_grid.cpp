#include "mlh/grid/uniform_grid.hpp"

#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <string>

namespace mlh {

namespace {

/// Coefficients of f(+k) - f(-k), k = 1, 2, ..., for the first derivative.
constexpr std::array<double, 4> kEighth = {4.0 / 5.0, -1.0 / 5.0, 4.0 / 105.0, -1.0 / 280.0};
constexpr std::array<double, 1> kSecond = {0.5};

std::span<const double> coefficients(Stencil stencil) {
  if (stencil == Stencil::second) return kSecond;
  return kEighth;
}

/// out[.] += sum_d weight[d] * D_d f, with D_d the central difference along grid axis d (per step).
void add_differences(const std::array<int, 3>& n, const double* f,
                     const std::array<double, 3>& weight, std::span<const double> stencil,
                     double* out) {
  const auto stride =
      std::array<std::ptrdiff_t, 3>{static_cast<std::ptrdiff_t>(n[1]) * n[2], n[2], 1};
#pragma omp parallel for schedule(static)
  for (int x = 0; x < n[0]; ++x) {
    for (int d = 0; d < 3; ++d) {
      if (weight[d] == 0.0) continue;
      for (int k = 1; k <= static_cast<int>(stencil.size()); ++k) {
        const double c = weight[d] * stencil[static_cast<std::size_t>(k - 1)];
        for (int y = 0; y < n[1]; ++y) {
          const auto wrap = [&](int i, int axis) { return ((i % n[axis]) + n[axis]) % n[axis]; };
          double* row = out + x * stride[0] + y * stride[1];
          if (d < 2) {
            const int i = d == 0 ? x : y;
            const std::ptrdiff_t base = d == 0 ? y * stride[1] : x * stride[0];
            const double* up = f + base + wrap(i + k, d) * stride[d];
            const double* down = f + base + wrap(i - k, d) * stride[d];
            for (int z = 0; z < n[2]; ++z) row[z] += c * (up[z] - down[z]);
          } else {
            const double* line = f + x * stride[0] + y * stride[1];
            for (int z = 0; z < n[2]; ++z) {
              const int up = z + k < n[2] ? z + k : wrap(z + k, 2);
              const int down = z >= k ? z - k : wrap(z - k, 2);
              row[z] += c * (line[up] - line[down]);
            }
          }
        }
      }
    }
  }
}

bool is_smooth(int n) {
  for (const int p : {2, 3, 5, 7}) {
    while (n % p == 0) n /= p;
  }
  return n == 1;
}

/// Column e of the result: gradient of the fractional grid index u_e, grad u_e = n_e b_e.
Mat3 index_gradients(const UniformGrid& grid) {
  Mat3 g = grid.cell.inverse();
  for (int d = 0; d < 3; ++d) g.col(d) *= grid.n[d];
  return g;
}

}  // namespace

std::array<int, 3> grid_size(const Mat3& cell, double cutoff_ry) {
  if (!(cutoff_ry > 0.0)) {
    throw std::invalid_argument("cutoff_ry: expected a positive energy, got " +
                                std::to_string(cutoff_ry));
  }
  const Mat3 inverse = cell.inverse();
  std::array<int, 3> n{};
  for (int d = 0; d < 3; ++d) {
    // V/|a_e x a_f| is the distance of the lattice planes: 1/|b_d|.
    const double target = std::sqrt(cutoff_ry) / std::numbers::pi / inverse.col(d).norm();
    double best = std::numeric_limits<double>::infinity();
    const int last = 2 * static_cast<int>(target) + 10;
    for (int k = 1; k <= last; ++k) {
      const double distance = std::abs(std::log(k / target));
      if (distance < best && is_smooth(k)) {
        best = distance;
        n[d] = k;
      }
    }
  }
  return n;
}

std::array<std::vector<double>, 3> gradient(const UniformGrid& grid, std::span<const double> f,
                                            Stencil stencil) {
  const Mat3 g = index_gradients(grid);
  std::array<std::vector<double>, 3> out;
  for (int a = 0; a < 3; ++a) {
    out[a].assign(grid.size(), 0.0);
    add_differences(grid.n, f.data(), {g(a, 0), g(a, 1), g(a, 2)}, coefficients(stencil),
                    out[a].data());
  }
  return out;
}

void subtract_divergence(const UniformGrid& grid, const std::array<std::vector<double>, 3>& f,
                         std::span<double> out, Stencil stencil) {
  const Mat3 g = index_gradients(grid);
  for (int a = 0; a < 3; ++a) {
    add_differences(grid.n, f[a].data(), {-g(a, 0), -g(a, 1), -g(a, 2)}, coefficients(stencil),
                    out.data());
  }
}

}  // namespace mlh
