#include "mlh/two_center/pair_table.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "mlh/basis/harmonics.hpp"

namespace mlh {

Eigen::Index DistanceTable::nodes(double range) {
  return static_cast<Eigen::Index>(std::ceil(range / kDistanceStep - 1e-9)) + 1;
}

DistanceTable::DistanceTable(double range, const Eigen::MatrixXd& value,
                             const Eigen::MatrixXd& first, const Eigen::MatrixXd& second)
    : range_(range), intervals_(value.rows() - 1), stride_(3 * value.cols()) {
  if (!(range > 0.0) || value.rows() < 2) {
    throw std::invalid_argument("DistanceTable: expected a positive range and at least 2 nodes");
  }
  const double step = range / static_cast<double>(intervals_);
  inverse_step_ = 1.0 / step;
  data_.assign(static_cast<std::size_t>(value.rows() * stride_), 0.0);
  for (Eigen::Index n = 0; n < intervals_; ++n) {
    double* node = data_.data() + n * stride_;
    for (Eigen::Index f = 0; f < value.cols(); ++f) {
      node[3 * f] = value(n, f);
      node[3 * f + 1] = step * first(n, f);
      node[3 * f + 2] = step * step * second(n, f);
    }
  }
}

DistanceTable::Point DistanceTable::locate(double r) const {
  Point p;
  if (!(r < range_)) return p;
  const double x = r * inverse_step_;
  const auto n = std::min(static_cast<Eigen::Index>(x), intervals_ - 1);
  const double t = x - static_cast<double>(n), t2 = t * t, t3 = t2 * t, t4 = t2 * t2, t5 = t3 * t2;
  p.node = data_.data() + n * stride_;
  p.value[3] = 10.0 * t3 - 15.0 * t4 + 6.0 * t5;
  p.value[0] = 1.0 - p.value[3];
  p.value[1] = t - 6.0 * t3 + 8.0 * t4 - 3.0 * t5;
  p.value[4] = -4.0 * t3 + 7.0 * t4 - 3.0 * t5;
  p.value[2] = 0.5 * (t2 - 3.0 * t3 + 3.0 * t4 - t5);
  p.value[5] = 0.5 * (t3 - 2.0 * t4 + t5);
  const double h = inverse_step_;
  p.slope[3] = h * (30.0 * t2 - 60.0 * t3 + 30.0 * t4);
  p.slope[0] = -p.slope[3];
  p.slope[1] = h * (1.0 - 18.0 * t2 + 32.0 * t3 - 15.0 * t4);
  p.slope[4] = h * (-12.0 * t2 + 28.0 * t3 - 15.0 * t4);
  p.slope[2] = 0.5 * h * (2.0 * t - 9.0 * t2 + 12.0 * t3 - 5.0 * t4);
  p.slope[5] = 0.5 * h * (3.0 * t2 - 8.0 * t3 + 5.0 * t4);
  return p;
}

namespace {

/// One radial function of a table: a pair of shells and one L.
struct Combination {
  std::size_t a, b;
  int L;
  double cutoff;
};

std::vector<Combination> combinations(const ShellSet& a, const ShellSet& b) {
  std::vector<Combination> result;
  for (std::size_t i = 0; i < a.l.size(); ++i) {
    for (std::size_t j = 0; j < b.l.size(); ++j) {
      for (int L = std::abs(a.l[i] - b.l[j]); L <= a.l[i] + b.l[j]; L += 2) {
        result.push_back({i, j, L, a.cutoff[i] + b.cutoff[j]});
      }
    }
  }
  return result;
}

/// Column c: weight * prefactor * k^(2+L) A(k) B(k), and k^2 more for the kinetic energy.
Eigen::MatrixXd wave_integrands(const std::vector<Combination>& list, const ShellSet& a,
                                const ShellSet& b, const WaveQuadrature& waves, PairOperator op) {
  Eigen::MatrixXd f(waves.k.size(), static_cast<Eigen::Index>(list.size()));
  const bool kinetic = op == PairOperator::kinetic;
  for (std::size_t c = 0; c < list.size(); ++c) {
    const auto& [i, j, L, cutoff] = list[c];
    const int phase = (b.l[j] - a.l[i] + L) / 2;
    const double prefactor = (kinetic ? 4.0 : 8.0) * (phase % 2 == 0 ? 1.0 : -1.0);
    for (Eigen::Index k = 0; k < waves.k.size(); ++k) {
      f(k, static_cast<Eigen::Index>(c)) = waves.weight[k] * prefactor *
                                           std::pow(waves.k[k], L + (kinetic ? 4 : 2)) *
                                           (*a.transforms)(k, static_cast<Eigen::Index>(i)) *
                                           (*b.transforms)(k, static_cast<Eigen::Index>(j));
    }
  }
  return f;
}

/// t(R) = int F(k) u_L(kR), t' = -R int k^2 F u_{L+1}, t'' = int -k^2 F u_{L+1} + R^2 k^4 F
/// u_{L+2}.
DistanceTable tabulate(const BesselMatrices& bessel, const std::vector<Combination>& list,
                       const Eigen::MatrixXd& integrands, const WaveQuadrature& waves) {
  const auto& [range, u] = bessel;
  const Eigen::Index nodes = u[0].rows();
  const Eigen::VectorXd R = Eigen::VectorXd::LinSpaced(nodes, 0.0, range);
  const Eigen::VectorXd k2 = waves.k.array().square();
  const auto n_functions = static_cast<Eigen::Index>(list.size());
  Eigen::MatrixXd value(nodes, n_functions), first(nodes, n_functions), second(nodes, n_functions);
  for (int L = 0; L <= kMaxHarmonicL; ++L) {
    std::vector<Eigen::Index> columns;
    for (std::size_t c = 0; c < list.size(); ++c) {
      if (list[c].L == L) columns.push_back(static_cast<Eigen::Index>(c));
    }
    if (columns.empty()) continue;
    const auto l = static_cast<std::size_t>(L);
    const Eigen::MatrixXd f = integrands(Eigen::all, columns);
    const Eigen::MatrixXd f2 = k2.asDiagonal() * f, f4 = k2.asDiagonal() * f2;
    const Eigen::MatrixXd u1 = u[l + 1] * f2, u2 = u[l + 2] * f4;
    value(Eigen::all, columns) = u[l] * f;
    first(Eigen::all, columns) = -(R.asDiagonal() * u1);
    second(Eigen::all, columns) = R.array().square().matrix().asDiagonal() * u2 - u1;
  }
  // Functions shorter than the longest of their species: exactly zero from their own cutoff sum on.
  for (Eigen::Index c = 0; c < n_functions; ++c) {
    for (Eigen::Index n = 0; n < nodes; ++n) {
      if (R[n] < list[static_cast<std::size_t>(c)].cutoff) continue;
      value(n, c) = first(n, c) = second(n, c) = 0.0;
    }
  }
  return DistanceTable(range, value, first, second);
}

int count(const std::vector<int>& shells) {
  return std::accumulate(shells.begin(), shells.end(), 0,
                         [](int n, int l) { return n + 2 * l + 1; });
}

}  // namespace

BesselMatrices make_bessel_matrices(const ShellSet& a, const ShellSet& b,
                                    const WaveQuadrature& waves) {
  BesselMatrices result;
  if (a.l.empty() || b.l.empty()) return result;
  const int orders =
      *std::max_element(a.l.begin(), a.l.end()) + *std::max_element(b.l.begin(), b.l.end()) + 2;
  result.range = *std::max_element(a.cutoff.begin(), a.cutoff.end()) +
                 *std::max_element(b.cutoff.begin(), b.cutoff.end());
  const Eigen::Index nodes = DistanceTable::nodes(result.range);
  const double step = result.range / static_cast<double>(nodes - 1);
  result.u.assign(static_cast<std::size_t>(orders) + 1, Eigen::MatrixXd(nodes, waves.k.size()));
  std::array<double, kMaxBesselOrder + 1> values{};
  for (Eigen::Index k = 0; k < waves.k.size(); ++k) {
    for (Eigen::Index n = 0; n < nodes; ++n) {
      reduced_bessel(waves.k[k] * step * static_cast<double>(n), orders, values.data());
      for (std::size_t l = 0; l < result.u.size(); ++l) result.u[l](n, k) = values[l];
    }
  }
  return result;
}

PairTable::PairTable(const ShellSet& a, const ShellSet& b, const WaveQuadrature& waves,
                     const BesselMatrices& bessel, PairOperator op)
    : rows_(count(a.l)), columns_(count(b.l)) {
  const auto list = combinations(a, b);
  if (list.empty()) return;
  int row = 0;
  for (const int la : a.l) {
    int column = 0;
    for (const int lb : b.l) {
      for (int L = std::abs(la - lb); L <= la + lb; L += 2) add_channel(row, column, la, lb, L);
      column += 2 * lb + 1;
    }
    row += 2 * la + 1;
  }
  radial_ = tabulate(bessel, list, wave_integrands(list, a, b, waves, op), waves);
}

void PairTable::add_channel(int row, int column, int la, int lb, int L) {
  const std::size_t first = terms_.size();
  for (const auto& g : gaunt_terms(la, lb, L)) {
    terms_.push_back({(row + g.m1) * columns_ + column + g.m2, harmonic_index(L, g.m), g.value});
  }
  channels_.push_back({first, terms_.size()});
  lmax_ = std::max(lmax_, L);
}

void PairTable::block(const Vec3& R, double* out) const {
  std::fill_n(out, rows_ * columns_, 0.0);
  const auto point = radial_.locate(R.norm());
  if (point.node == nullptr) return;
  std::array<double, kMaxHarmonics> y;
  solid_harmonics(R, lmax_, y.data());
  for (std::size_t c = 0; c < channels_.size(); ++c) {
    const double t = radial_.value(point, static_cast<Eigen::Index>(c));
    for (std::size_t n = channels_[c].first; n < channels_[c].last; ++n) {
      const Term& term = terms_[n];
      out[term.element] += t * term.coefficient * y[static_cast<std::size_t>(term.harmonic)];
    }
  }
}

Vec3 PairTable::contract_gradient(const Vec3& R, const double* weight) const {
  const double distance = R.norm();
  const auto point = radial_.locate(distance);
  if (point.node == nullptr) return Vec3::Zero();
  std::array<double, kMaxHarmonics> y, radial_sum{};
  std::array<double, 3 * kMaxHarmonics> dy;
  solid_harmonics(R, lmax_, y.data(), dy.data());
  double along = 0.0;  // coefficient of the unit vector: sum weight c t' Y
  for (std::size_t c = 0; c < channels_.size(); ++c) {
    const double t = radial_.value(point, static_cast<Eigen::Index>(c));
    const double dt = radial_.slope(point, static_cast<Eigen::Index>(c));
    for (std::size_t n = channels_[c].first; n < channels_[c].last; ++n) {
      const Term& term = terms_[n];
      const auto m = static_cast<std::size_t>(term.harmonic);
      const double w = weight[term.element] * term.coefficient;
      radial_sum[m] += t * w;
      along += dt * w * y[m];
    }
  }
  // At R = 0 every t' vanishes, so that the direction does not matter.
  Vec3 gradient = distance > 0.0 ? Vec3(along / distance * R) : Vec3(Vec3::Zero());
  const auto used = static_cast<std::size_t>(harmonic_index(lmax_ + 1, 0));
  for (std::size_t m = 0; m < used; ++m) {
    gradient += radial_sum[m] * Vec3(dy[3 * m], dy[3 * m + 1], dy[3 * m + 2]);
  }
  return gradient;
}

}  // namespace mlh
