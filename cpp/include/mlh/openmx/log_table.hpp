#pragma once
// Functions on a mesh uniform in ln r, interpolated as OpenMX interpolates densities and Hartree
// potentials: Catmull-Rom cubics in ln r.

#include <array>
#include <optional>
#include <span>
#include <vector>

namespace mlh {

/// f(r) by the cubic through the values with slopes (f_{k+1} - f_{k-1}) / (2 step) in x = ln r, end
/// slopes by linear extrapolation; `tail` / r beyond the last node, or the last value where there
/// is no tail; a r^2 + b with value and slope of the fifth node before the first.
class LogTable {
 public:
  /// Throws std::invalid_argument unless r > 0 is uniform in ln r with at least 8 nodes.
  LogTable(std::span<const double> r, std::span<const double> f, std::optional<double> tail);

  /// {f, f', f''} at r > 0.
  std::array<double, 3> derivatives(double r) const;
  /// Radius of the last node.
  double end() const { return last_; }

 private:
  double first_ = 0.0, last_ = 0.0, log_first_ = 0.0, inverse_step_ = 0.0;
  double last_value_ = 0.0;
  std::optional<double> tail_;
  std::array<double, 2> parabola_{};                 ///< a, b
  std::vector<std::array<double, 4>> coefficients_;  ///< of t = (x - x_k) / step
};

}  // namespace mlh
