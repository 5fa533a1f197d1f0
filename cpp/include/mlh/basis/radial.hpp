#pragma once
// Radial functions f(r) = r^l g(r), tabulated as g on a uniform mesh and interpolated by one
// cubic spline. Values, first and second derivatives all come from the same polynomial, so that
// analytic forces are the exact derivative of the interpolated energy.

#include <array>
#include <span>
#include <vector>

namespace mlh {

/// Mesh step in Bohr of a table that does not name its own.
inline constexpr double kRadialStep = 0.01;

/// Clamped cubic spline: slope 0 at r = 0, where g is even, and `end_slope` at the cutoff (0 for
/// functions that vanish smoothly). The function is zero at and beyond the cutoff even where the
/// last value g is not: some codes truncate their functions.
class RadialTable {
 public:
  RadialTable() = default;
  RadialTable(int l, std::span<const double> g, double step = kRadialStep, double end_slope = 0.0);

  int l() const { return l_; }
  double step() const { return step_; }
  double cutoff() const { return step_ * static_cast<double>(intervals()); }
  std::size_t intervals() const { return coefficients_.size(); }
  /// Limit of g at the cutoff from below.
  double end_value() const { return end_value_; }
  bool empty() const { return coefficients_.empty(); }

  /// Polynomial of interval k in t = r - k*step: c[0] + c[1] t + c[2] t^2 + c[3] t^3.
  const std::array<double, 4>& coefficients(std::size_t k) const { return coefficients_[k]; }

  double value(double r) const;  ///< g(r); 0 at and beyond the cutoff
  /// {g, g', g''} at r; zeros at and beyond the cutoff.
  std::array<double, 3> derivatives(double r) const;
  double function(double r) const;  ///< f(r) = r^l g(r)

 private:
  int l_ = 0;
  double step_ = kRadialStep, end_value_ = 0.0;
  std::vector<std::array<double, 4>> coefficients_;
};

}  // namespace mlh
