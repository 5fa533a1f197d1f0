#include "mlh/basis/harmonics.hpp"

#include <cmath>
#include <numbers>
#include <stdexcept>
#include <string>

#include "mlh/grid/quadrature.hpp"

namespace mlh {

namespace {

constexpr int kL = kMaxHarmonicL;

/// Place in the documented order of the component cos(m phi) (sine = false) or sin(m phi) of l.
constexpr int component(int l, int m, bool sine) {
  const int generic = m == 0 ? 0 : 2 * m - (sine ? 0 : 1);
  if (l == 1) return m == 0 ? 2 : (sine ? 1 : 0);  // x, y, z
  if (l == 2 && m == 1) return sine ? 4 : 3;       // xz, yz after x2-y2, xy
  if (l == 2 && m == 2) return sine ? 2 : 1;
  return generic;
}

/// norm[l][m] of r^l Y_lm = norm * Pi_lm(z, r2) * {Re, Im}(x + iy)^m, Pi_lm = r^(l-m) d^m
/// P_l(z/r)/du^m.
using Norms = std::array<std::array<double, kL + 1>, kL + 1>;

Norms make_norms() {
  Norms norms{};
  for (int l = 0; l <= kL; ++l) {
    for (int m = 0; m <= l; ++m) {
      double ratio = 1.0;  // (l-m)!/(l+m)!
      for (int k = l - m + 1; k <= l + m; ++k) ratio /= k;
      norms[l][m] =
          std::sqrt((m == 0 ? 1.0 : 2.0) * (2 * l + 1) / (4.0 * std::numbers::pi) * ratio);
    }
  }
  return norms;
}

const Norms& norms() {
  static const Norms values = make_norms();
  return values;
}

/// Polynomials of one point shared by values and gradients.
struct Polynomials {
  std::array<double, kL + 2> cosine{}, sine{};          // Re, Im (x + iy)^m
  std::array<std::array<double, kL + 3>, kL + 1> pi{};  // pi[l][m], 0 for m > l
};

Polynomials make_polynomials(const Vec3& r, int lmax) {
  Polynomials p;
  const double x = r[0], y = r[1], z = r[2], r2 = r.squaredNorm();
  p.cosine[0] = 1.0;
  for (int m = 0; m < lmax; ++m) {
    p.cosine[m + 1] = x * p.cosine[m] - y * p.sine[m];
    p.sine[m + 1] = x * p.sine[m] + y * p.cosine[m];
  }
  double diagonal = 1.0;  // (2m-1)!!
  for (int m = 0; m <= lmax; ++m) {
    p.pi[m][m] = diagonal;
    if (m < lmax) p.pi[m + 1][m] = (2 * m + 1) * z * diagonal;
    for (int l = m + 2; l <= lmax; ++l) {
      p.pi[l][m] = ((2 * l - 1) * z * p.pi[l - 1][m] - (l + m - 1) * r2 * p.pi[l - 2][m]) / (l - m);
    }
    diagonal *= 2 * m + 1;
  }
  return p;
}

void check_lmax(int lmax) {
  if (lmax < 0 || lmax > kL) {
    throw std::invalid_argument("solid_harmonics: lmax must be 0.." + std::to_string(kL) +
                                ", got " + std::to_string(lmax));
  }
}

void fill_values(const Polynomials& p, int lmax, double* values) {
  const Norms& norm = norms();
  for (int l = 0; l <= lmax; ++l) {
    values[harmonic_index(l, component(l, 0, false))] = norm[l][0] * p.pi[l][0];
    for (int m = 1; m <= l; ++m) {
      const double radial = norm[l][m] * p.pi[l][m];
      values[harmonic_index(l, component(l, m, false))] = radial * p.cosine[m];
      values[harmonic_index(l, component(l, m, true))] = radial * p.sine[m];
    }
  }
}

}  // namespace

void solid_harmonics(const Vec3& r, int lmax, double* values) {
  check_lmax(lmax);
  fill_values(make_polynomials(r, lmax), lmax, values);
}

void solid_harmonics(const Vec3& r, int lmax, double* values, double* gradients) {
  check_lmax(lmax);
  const Polynomials p = make_polynomials(r, lmax);
  fill_values(p, lmax, values);
  const Norms& norm = norms();
  for (int l = 0; l <= lmax; ++l) {
    for (int m = 0; m <= l; ++m) {
      // dPi_lm/dx = -x Pi_{l-1,m+1}, dPi_lm/dy = -y Pi_{l-1,m+1}, dPi_lm/dz = (l+m) Pi_{l-1,m}.
      const double n = norm[l][m];
      const double radial = n * p.pi[l][m];
      const double in_plane = l > 0 ? -n * p.pi[l - 1][m + 1] : 0.0;
      const double axial = l > 0 ? n * (l + m) * p.pi[l - 1][m] : 0.0;
      const double c1 = m > 0 ? m * p.cosine[m - 1] : 0.0;
      const double s1 = m > 0 ? m * p.sine[m - 1] : 0.0;
      double* g = gradients + 3 * harmonic_index(l, component(l, m, false));
      g[0] = in_plane * r[0] * p.cosine[m] + radial * c1;
      g[1] = in_plane * r[1] * p.cosine[m] - radial * s1;
      g[2] = axial * p.cosine[m];
      if (m == 0) continue;
      g = gradients + 3 * harmonic_index(l, component(l, m, true));
      g[0] = in_plane * r[0] * p.sine[m] + radial * s1;
      g[1] = in_plane * r[1] * p.sine[m] + radial * c1;
      g[2] = axial * p.sine[m];
    }
  }
}

namespace {

constexpr int kLo = kMaxOrbitalL, kHi = kMaxExpansionL;
using GauntTable = std::array<std::vector<GauntTerm>, (kLo + 1) * (kHi + 1) * (kL + 1)>;

GauntTable make_gaunt_table() {
  // Gauss-Legendre in cos theta (exact to degree 2n-1) x equidistant phi (exact below order n_phi):
  // a product of three harmonics has degree at most 2 kMaxHarmonicL.
  constexpr int degree = 2 * kL;
  constexpr int n_theta = degree / 2 + 1, n_phi = degree + 1;
  const auto legendre = gauss_legendre(n_theta, 2.0);
  GauntTable table;
  std::vector<std::array<double, kMaxHarmonics>> y;
  std::vector<double> weight;
  for (int t = 0; t < n_theta; ++t) {
    const double z = legendre[t][0] - 1.0, s = std::sqrt(1.0 - z * z);
    for (int f = 0; f < n_phi; ++f) {
      const double phi = 2.0 * std::numbers::pi * f / n_phi;
      solid_harmonics(Vec3(s * std::cos(phi), s * std::sin(phi), z), kL, y.emplace_back().data());
      weight.push_back(legendre[t][1] * 2.0 * std::numbers::pi / n_phi);
    }
  }
  for (int l1 = 0; l1 <= kLo; ++l1) {
    for (int l2 = 0; l2 <= kHi; ++l2) {
      for (int L = std::abs(l1 - l2); L <= l1 + l2; L += 2) {
        auto& terms = table[(l1 * (kHi + 1) + l2) * (kL + 1) + L];
        for (int a = 0; a < 2 * l1 + 1; ++a) {
          for (int b = 0; b < 2 * l2 + 1; ++b) {
            for (int m = 0; m < 2 * L + 1; ++m) {
              double sum = 0.0;
              for (std::size_t k = 0; k < y.size(); ++k) {
                sum += weight[k] * y[k][harmonic_index(l1, a)] * y[k][harmonic_index(l2, b)] *
                       y[k][harmonic_index(L, m)];
              }
              // Nonzero real Gaunt coefficients are above 1e-3 here, rounding is 1e-16.
              if (std::abs(sum) > 1e-12) terms.push_back({a, b, m, sum});
            }
          }
        }
      }
    }
  }
  return table;
}

}  // namespace

const std::vector<GauntTerm>& gaunt_terms(int l1, int l2, int L) {
  if (l1 < 0 || l1 > kLo || l2 < 0 || l2 > kHi || L < 0 || L > kL) {
    throw std::invalid_argument(
        "gaunt_terms: expected l1 in 0..3, l2 in 0..9 and L in 0..12, got " + std::to_string(l1) +
        ", " + std::to_string(l2) + ", " + std::to_string(L));
  }
  static const GauntTable table = make_gaunt_table();
  return table[static_cast<std::size_t>((l1 * (kHi + 1) + l2) * (kL + 1) + L)];
}

}  // namespace mlh
