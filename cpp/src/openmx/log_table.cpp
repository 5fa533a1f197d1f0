#include "mlh/openmx/log_table.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace mlh {

LogTable::LogTable(std::span<const double> r, std::span<const double> f, std::optional<double> tail)
    : tail_(tail) {
  const std::size_t n = r.size();
  if (n < 8 || f.size() != n || !(r[0] > 0.0)) {
    throw std::invalid_argument("LogTable: expected at least 8 radii > 0 and as many values");
  }
  first_ = r.front();
  last_ = r.back();
  last_value_ = f.back();
  log_first_ = std::log(first_);
  const double step = (std::log(last_) - log_first_) / static_cast<double>(n - 1);
  inverse_step_ = 1.0 / step;
  for (std::size_t k = 0; k < n; ++k) {
    if (!(std::abs(std::log(r[k]) - log_first_ - static_cast<double>(k) * step) < 1e-5)) {
      throw std::invalid_argument("LogTable: expected radii uniform in ln r");
    }
  }
  const auto slope = [&](std::size_t k) {
    if (k == 0) return f[1] - f[0];
    if (k == n - 1) return f[n - 1] - f[n - 2];
    return 0.5 * (f[k + 1] - f[k - 1]);
  };
  coefficients_.resize(n - 1);
  for (std::size_t k = 0; k + 1 < n; ++k) {
    const double rise = f[k + 1] - f[k], left = slope(k), right = slope(k + 1);
    coefficients_[k] = {f[k], left, 3.0 * rise - 2.0 * left - right, left + right - 2.0 * rise};
  }
  const double at_fifth = 0.5 * (f[5] - f[3]) * inverse_step_ / r[4];
  parabola_[0] = at_fifth / (2.0 * r[4]);
  parabola_[1] = f[4] - parabola_[0] * r[4] * r[4];
}

std::array<double, 3> LogTable::derivatives(double r) const {
  if (r < first_) {
    return {parabola_[0] * r * r + parabola_[1], 2.0 * parabola_[0] * r, 2.0 * parabola_[0]};
  }
  const double inverse = 1.0 / r;
  if (r >= last_) {
    if (!tail_) return {last_value_, 0.0, 0.0};
    const double f = *tail_ * inverse;
    return {f, -f * inverse, 2.0 * f * inverse * inverse};
  }
  const double x = (std::log(r) - log_first_) * inverse_step_;
  const std::size_t k = std::min(static_cast<std::size_t>(x), coefficients_.size() - 1);
  const double t = x - static_cast<double>(k);
  const auto& c = coefficients_[k];
  const double d1 = (c[1] + t * (2.0 * c[2] + 3.0 * t * c[3])) * inverse_step_;
  const double d2 = (2.0 * c[2] + 6.0 * t * c[3]) * inverse_step_ * inverse_step_;
  return {c[0] + t * (c[1] + t * (c[2] + t * c[3])), d1 * inverse, (d2 - d1) * inverse * inverse};
}

}  // namespace mlh
