#include "mlh/orbital_values.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace mlh {

namespace {

struct Monomial {
  double coefficient;
  std::array<int, 3> power;
};
using Polynomial = std::vector<Monomial>;
constexpr int kMaxL = 3;
constexpr int kHarmonics = (kMaxL + 1) * (kMaxL + 1);

Polynomial differentiate(const Polynomial& f, int axis) {
  Polynomial out;
  for (const auto& m : f) {
    if (m.power[axis] == 0) continue;
    Monomial d{m.coefficient * m.power[axis], m.power};
    --d.power[axis];
    out.push_back(d);
  }
  return out;
}

/// Real solid harmonics of l <= 3 as polynomials, with first and second derivatives.
struct HarmonicTable {
  std::array<Polynomial, kHarmonics> value;
  std::array<std::array<Polynomial, 3>, kHarmonics> first;
  std::array<std::array<std::array<Polynomial, 3>, 3>, kHarmonics> second;

  HarmonicTable() {
    const double s = 0.28209479177387814, p = 0.4886025119029199, d0 = 0.31539156525252005,
                 d1 = 1.0925484305920792, f0 = 0.3731763325901154, f1 = 0.4570457994644658,
                 f2 = 1.445305721320277, f3 = 0.5900435899266435;
    value = {{{{s, {0, 0, 0}}},
              {{p, {1, 0, 0}}},
              {{p, {0, 1, 0}}},
              {{p, {0, 0, 1}}},
              {{2 * d0, {0, 0, 2}}, {-d0, {2, 0, 0}}, {-d0, {0, 2, 0}}},
              {{d1 / 2, {2, 0, 0}}, {-d1 / 2, {0, 2, 0}}},
              {{d1, {1, 1, 0}}},
              {{d1, {1, 0, 1}}},
              {{d1, {0, 1, 1}}},
              {{2 * f0, {0, 0, 3}}, {-3 * f0, {2, 0, 1}}, {-3 * f0, {0, 2, 1}}},
              {{4 * f1, {1, 0, 2}}, {-f1, {3, 0, 0}}, {-f1, {1, 2, 0}}},
              {{4 * f1, {0, 1, 2}}, {-f1, {2, 1, 0}}, {-f1, {0, 3, 0}}},
              {{f2, {2, 0, 1}}, {-f2, {0, 2, 1}}},
              {{2 * f2, {1, 1, 1}}},
              {{f3, {3, 0, 0}}, {-3 * f3, {1, 2, 0}}},
              {{3 * f3, {2, 1, 0}}, {-f3, {0, 3, 0}}}}};
    for (int h = 0; h < kHarmonics; ++h) {
      for (int a = 0; a < 3; ++a) {
        first[h][a] = differentiate(value[h], a);
        for (int b = 0; b < 3; ++b) second[h][a][b] = differentiate(first[h][a], b);
      }
    }
  }
};

const HarmonicTable& harmonics() {
  static const HarmonicTable table;
  return table;
}

/// Powers 0..3 of the three coordinates on the batch.
struct Powers {
  alignas(64) std::array<std::array<PointArray, 4>, 3> x;

  explicit Powers(const BatchPoints& d) {
    for (int a = 0; a < 3; ++a) {
      for (int p = 0; p < kBatch; ++p) {
        const double v = d.x[a][p];
        x[a][0][p] = 1.0;
        x[a][1][p] = v;
        x[a][2][p] = v * v;
        x[a][3][p] = v * v * v;
      }
    }
  }

  void evaluate(const Polynomial& f, PointArray& out) const {
    out.fill(0.0);
    add(f, out);
  }
  void add(const Polynomial& f, PointArray& out) const {
    for (const auto& m : f) {
      const auto &px = x[0][m.power[0]], &py = x[1][m.power[1]], &pz = x[2][m.power[2]];
      for (int p = 0; p < kBatch; ++p) out[p] += m.coefficient * px[p] * py[p] * pz[p];
    }
  }
  /// out += q * f
  void add_times(const Polynomial& f, const PointArray& q, PointArray& out) const {
    for (const auto& m : f) {
      const auto &px = x[0][m.power[0]], &py = x[1][m.power[1]], &pz = x[2][m.power[2]];
      for (int p = 0; p < kBatch; ++p) out[p] += q[p] * m.coefficient * px[p] * py[p] * pz[p];
    }
  }
};

BatchPoints relative(const BatchPoints& points, const Vec3& center) {
  BatchPoints d;
  for (int a = 0; a < 3; ++a) {
    for (int p = 0; p < kBatch; ++p) d.x[a][p] = points.x[a][p] - center[a];
  }
  return d;
}

}  // namespace

/// [shell][point]; only the first `order`+1 members are filled.
struct OrbitalTables::Radial {
  static constexpr int kMaxShells = 16;
  alignas(64) std::array<PointArray, kMaxShells> g, slope, curve;
};

OrbitalTables::OrbitalTables(const SpeciesData& species) {
  n_shells_ = static_cast<int>(species.orbitals.size());
  if (n_shells_ > Radial::kMaxShells) {
    throw std::invalid_argument("OrbitalTables(" + species.symbol + "): at most " +
                                std::to_string(Radial::kMaxShells) + " shells, got " +
                                std::to_string(n_shells_));
  }
  padded_ = (n_shells_ + kLanes - 1) / kLanes * kLanes;
  cutoff_ = species.orbital_cutoff();
  for (const auto& orbital : species.orbitals) {
    intervals_ = std::max(intervals_, orbital.intervals());
    shell_l_.push_back(orbital.l());
    lmax_ = std::max(lmax_, orbital.l());
    n_orbitals_ += 2 * orbital.l() + 1;
  }
  // One interval of zeros at the end serves every point beyond the cutoff.
  table_.assign((intervals_ + 1) * 4 * static_cast<std::size_t>(padded_), 0.0);
  step_ = species.orbitals.front().step();  // one for all: validate() of the species
  for (int s = 0; s < n_shells_; ++s) {
    const RadialTable& orbital = species.orbitals[s];
    for (std::size_t k = 0; k < orbital.intervals(); ++k) {
      for (int c = 0; c < 4; ++c) table_[(k * 4 + c) * padded_ + s] = orbital.coefficients(k)[c];
    }
  }
}

void OrbitalTables::radial(const BatchPoints& d, int order, Radial& out) const {
  for (int p = 0; p < kBatch; ++p) {
    const double r2 = d.x[0][p] * d.x[0][p] + d.x[1][p] * d.x[1][p] + d.x[2][p] * d.x[2][p];
    const double r = std::sqrt(r2);
    const bool inside = r < cutoff_;
    const std::size_t k =
        inside ? std::min(intervals_, static_cast<std::size_t>(r / step_)) : intervals_;
    const double t = inside ? r - static_cast<double>(k) * step_ : 0.0;
    const double* c = &table_[k * 4 * padded_];
    const double inverse = r > 1e-10 ? 1.0 / r : 0.0;
    for (int s = 0; s < n_shells_; ++s) {
      const double c0 = c[s], c1 = c[padded_ + s], c2 = c[2 * padded_ + s], c3 = c[3 * padded_ + s];
      out.g[s][p] = c0 + t * (c1 + t * (c2 + t * c3));
      if (order < 1) continue;
      const double slope = (c1 + t * (2.0 * c2 + 3.0 * t * c3)) * inverse;
      out.slope[s][p] = slope;
      if (order < 2) continue;
      out.curve[s][p] = (2.0 * c2 + 6.0 * t * c3 - slope) * inverse * inverse;
    }
  }
}

void OrbitalTables::values(const BatchPoints& points, const Vec3& center, double* phi) const {
  const BatchPoints d = relative(points, center);
  Radial radial_part;
  radial(d, 0, radial_part);
  const Powers powers(d);
  alignas(64) std::array<PointArray, kHarmonics> y;
  for (int h = 0; h < (lmax_ + 1) * (lmax_ + 1); ++h) powers.evaluate(harmonics().value[h], y[h]);
  for (int s = 0; s < n_shells_; ++s) {
    const int l = shell_l_[s];
    for (int m = 0; m < 2 * l + 1; ++m, phi += kBatch) {
      const auto &g = radial_part.g[s], &angular = y[l * l + m];
      for (int p = 0; p < kBatch; ++p) phi[p] = g[p] * angular[p];
    }
  }
}

void OrbitalTables::gradients(const BatchPoints& points, const Vec3& center, double* phi,
                              const std::array<double*, 3>& dphi) const {
  const BatchPoints d = relative(points, center);
  Radial radial_part;
  radial(d, 1, radial_part);
  const Powers powers(d);
  alignas(64) std::array<PointArray, kHarmonics> y;
  alignas(64) std::array<std::array<PointArray, 3>, kHarmonics> dy;
  for (int h = 0; h < (lmax_ + 1) * (lmax_ + 1); ++h) {
    powers.evaluate(harmonics().value[h], y[h]);
    for (int a = 0; a < 3; ++a) powers.evaluate(harmonics().first[h][a], dy[h][a]);
  }
  std::ptrdiff_t column = 0;
  for (int s = 0; s < n_shells_; ++s) {
    const int l = shell_l_[s];
    const auto &g = radial_part.g[s], &slope = radial_part.slope[s];
    for (int m = 0; m < 2 * l + 1; ++m, column += kBatch) {
      const int h = l * l + m;
      for (int p = 0; p < kBatch; ++p) phi[column + p] = g[p] * y[h][p];
      for (int a = 0; a < 3; ++a) {
        double* out = dphi[a] + column;
        for (int p = 0; p < kBatch; ++p) {
          out[p] = slope[p] * d.x[a][p] * y[h][p] + g[p] * dy[h][a][p];
        }
      }
    }
  }
}

void OrbitalTables::hessian_dot(const BatchPoints& points, const Vec3& center, const BatchPoints& q,
                                const std::array<double*, 3>& h) const {
  // d_i d_j (g Y) = [curve x_i x_j + slope delta_ij] Y + slope (x_i d_j Y + x_j d_i Y) + g d_i d_j
  // Y
  const BatchPoints d = relative(points, center);
  Radial radial_part;
  radial(d, 2, radial_part);
  const Powers powers(d);
  alignas(64) PointArray y, qdy, qddy, xq;
  alignas(64) std::array<PointArray, 3> dy;
  for (int p = 0; p < kBatch; ++p) {
    xq[p] = d.x[0][p] * q.x[0][p] + d.x[1][p] * q.x[1][p] + d.x[2][p] * q.x[2][p];
  }
  std::ptrdiff_t column = 0;
  for (int s = 0; s < n_shells_; ++s) {
    const int l = shell_l_[s];
    const auto &g = radial_part.g[s], &slope = radial_part.slope[s], &curve = radial_part.curve[s];
    for (int m = 0; m < 2 * l + 1; ++m, column += kBatch) {
      const int lm = l * l + m;
      powers.evaluate(harmonics().value[lm], y);
      for (int a = 0; a < 3; ++a) powers.evaluate(harmonics().first[lm][a], dy[a]);
      for (int p = 0; p < kBatch; ++p) {
        qdy[p] = q.x[0][p] * dy[0][p] + q.x[1][p] * dy[1][p] + q.x[2][p] * dy[2][p];
      }
      for (int a = 0; a < 3; ++a) {
        qddy.fill(0.0);
        for (int b = 0; b < 3; ++b) powers.add_times(harmonics().second[lm][a][b], q.x[b], qddy);
        double* out = h[a] + column;
        for (int p = 0; p < kBatch; ++p) {
          out[p] = (curve[p] * xq[p] * d.x[a][p] + slope[p] * q.x[a][p]) * y[p] +
                   slope[p] * (d.x[a][p] * qdy[p] + xq[p] * dy[a][p]) + g[p] * qddy[p];
        }
      }
    }
  }
}

}  // namespace mlh
