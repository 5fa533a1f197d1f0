#include "mlh/basis/radial.hpp"

#include <cmath>
#include <stdexcept>

namespace mlh {

namespace {

/// Slopes of the clamped cubic spline at the nodes (tridiagonal system, Thomas algorithm).
std::vector<double> clamped_slopes(std::span<const double> g, double step, double end_slope) {
  const std::size_t n = g.size();
  std::vector<double> slope(n, 0.0);
  slope[n - 1] = end_slope;
  if (n < 3) return slope;
  // slope[k-1] + 4 slope[k] + slope[k+1] = 3 (g[k+1] - g[k-1]) / step, ends fixed.
  std::vector<double> upper(n, 0.0);
  for (std::size_t k = 1; k + 1 < n; ++k) {
    const double rhs = 3.0 * (g[k + 1] - g[k - 1]) / step;
    const double pivot = 4.0 - upper[k - 1];
    upper[k] = 1.0 / pivot;
    slope[k] = (rhs - slope[k - 1]) / pivot;
  }
  for (std::size_t k = n - 2; k >= 1; --k) slope[k] -= upper[k] * slope[k + 1];
  return slope;
}

}  // namespace

RadialTable::RadialTable(int l, std::span<const double> g, double step, double end_slope)
    : l_(l), step_(step) {
  if (l < 0) throw std::invalid_argument("RadialTable: l must be >= 0");
  if (g.size() < 4) throw std::invalid_argument("RadialTable: at least 4 mesh points expected");
  if (!(step > 0.0)) throw std::invalid_argument("RadialTable: step must be positive");
  if (!std::isfinite(end_slope)) throw std::invalid_argument("RadialTable: slope not finite");
  for (const double value : g) {
    if (!std::isfinite(value)) throw std::invalid_argument("RadialTable: value not finite");
  }
  const std::vector<double> slope = clamped_slopes(g, step, end_slope);
  end_value_ = g.back();
  coefficients_.resize(g.size() - 1);
  for (std::size_t k = 0; k + 1 < g.size(); ++k) {
    const double mean = (g[k + 1] - g[k]) / step;
    coefficients_[k] = {g[k], slope[k], (3.0 * mean - 2.0 * slope[k] - slope[k + 1]) / step,
                        (slope[k] + slope[k + 1] - 2.0 * mean) / (step * step)};
  }
}

double RadialTable::value(double r) const {
  const auto k = static_cast<std::size_t>(r / step_);
  if (k >= coefficients_.size()) return 0.0;
  const auto& c = coefficients_[k];
  const double t = r - static_cast<double>(k) * step_;
  return c[0] + t * (c[1] + t * (c[2] + t * c[3]));
}

std::array<double, 3> RadialTable::derivatives(double r) const {
  const auto k = static_cast<std::size_t>(r / step_);
  if (k >= coefficients_.size()) return {0.0, 0.0, 0.0};
  const auto& c = coefficients_[k];
  const double t = r - static_cast<double>(k) * step_;
  return {c[0] + t * (c[1] + t * (c[2] + t * c[3])), c[1] + t * (2.0 * c[2] + 3.0 * t * c[3]),
          2.0 * c[2] + 6.0 * t * c[3]};
}

double RadialTable::function(double r) const {
  double power = 1.0;
  for (int k = 0; k < l_; ++k) power *= r;
  return power * value(r);
}

}  // namespace mlh
