#include "mlh/basis/bessel.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <stdexcept>
#include <string>

namespace mlh {

namespace {

/// Power series of u_l; for x <= l + 1 its terms do not cancel.
double bessel_series(double x, int l) {
  double term = 1.0;
  for (int k = 1; k <= l; ++k) term /= 2 * k + 1;
  const double z = -0.5 * x * x;
  double sum = term;
  for (int k = 1; k < 60 && std::abs(term) > 1e-18 * std::abs(sum); ++k) {
    term *= z / (k * (2.0 * (l + k) + 1.0));
    sum += term;
  }
  return sum;
}

}  // namespace

void reduced_bessel(double x, int lmax, double* values) {
  const int top = std::max(lmax, 8);
  if (x < static_cast<double>(top)) {
    // Downward from two orders at which the series is exact: u_{l-1} = (2l+1) u_l - x^2 u_{l+1}.
    double upper = bessel_series(x, top), lower = bessel_series(x, top - 1);
    for (int l = top; l >= 0; --l) {
      if (l <= lmax) values[l] = upper;
      const double next = (2 * l - 1) * lower - x * x * upper;
      upper = lower;
      lower = next;
    }
    return;
  }
  // Upward: stable for l < x.
  const double inverse = 1.0 / x, inverse2 = inverse * inverse;
  values[0] = std::sin(x) * inverse;
  if (lmax >= 1) values[1] = (values[0] - std::cos(x)) * inverse2;
  for (int l = 1; l < lmax; ++l)
    values[l + 1] = ((2 * l + 1) * values[l] - values[l - 1]) * inverse2;
}

WaveMesh make_wave_mesh(double longest, double cutoff) {
  if (!(longest > 0.0) || !(cutoff > 0.0)) {
    throw std::invalid_argument("make_wave_mesh: longest and cutoff must be positive");
  }
  WaveMesh mesh;
  mesh.step = std::numbers::pi / (2.0 * longest);
  mesh.size = static_cast<Eigen::Index>(std::ceil(cutoff / mesh.step)) + 1;
  return mesh;
}

namespace {

/// Nodes of the radial mesh; integrands[q, f] = h r^(2 l_f + 2) g_f(r).
///
/// The integrand r^(2l+2) g(r) u_l(kr) is an even function that vanishes smoothly at the cutoff, so
/// the trapezoid rule on the mesh itself converges faster than any power of h and sees only the
/// tabulated values: the error of the spline between them (3e-8 for the projector of GTH oxygen)
/// does not enter.
struct RadialQuadrature {
  Eigen::VectorXd nodes;
  Eigen::MatrixXd integrands;
};

RadialQuadrature radial_quadrature(const std::vector<const RadialTable*>& functions, double step) {
  std::size_t intervals = 0;
  bool truncated = false;
  for (const RadialTable* f : functions) {
    intervals = std::max(intervals, f->intervals());
    truncated = truncated || f->end_value() != 0.0;
  }
  RadialQuadrature q;
  q.nodes.resize(static_cast<Eigen::Index>(intervals + (truncated ? 1 : 0)));
  q.integrands.setZero(q.nodes.size(), static_cast<Eigen::Index>(functions.size()));
  for (Eigen::Index row = 0; row < q.nodes.size(); ++row) {
    const auto i = static_cast<std::size_t>(row);
    const double r = static_cast<double>(i) * step;
    q.nodes[row] = r;
    for (std::size_t f = 0; f < functions.size(); ++f) {
      if (i > functions[f]->intervals()) continue;
      const double g = i < functions[f]->intervals() ? functions[f]->coefficients(i)[0]
                                                     : 0.5 * functions[f]->end_value();
      double value = step * r * r * g;
      for (int l = 0; l < functions[f]->l(); ++l) value *= r * r;
      q.integrands(row, static_cast<Eigen::Index>(f)) = value;
    }
  }
  return q;
}

/// Functions that share one mesh step.
Eigen::MatrixXd transforms_of_step(const std::vector<const RadialTable*>& functions, double step,
                                   const WaveMesh& mesh) {
  const auto n_functions = static_cast<Eigen::Index>(functions.size());
  Eigen::MatrixXd result = Eigen::MatrixXd::Zero(mesh.size, n_functions);
  int lmax = 0;
  for (const RadialTable* f : functions) lmax = std::max(lmax, f->l());
  const RadialQuadrature q = radial_quadrature(functions, step);
#pragma omp parallel
  {
    Eigen::MatrixXd u(lmax + 1, q.nodes.size());
#pragma omp for schedule(dynamic, 8)
    for (Eigen::Index i = 0; i < mesh.size; ++i) {
      const double k = mesh.k(i);
      for (Eigen::Index r = 0; r < q.nodes.size(); ++r) {
        reduced_bessel(k * q.nodes[r], lmax, u.col(r).data());
      }
      for (Eigen::Index f = 0; f < n_functions; ++f) {
        const int l = functions[static_cast<std::size_t>(f)]->l();
        result(i, f) = std::pow(k, l) * u.row(l).transpose().dot(q.integrands.col(f));
      }
    }
  }
  return result;
}

}  // namespace

Eigen::MatrixXd bessel_transforms(const std::vector<const RadialTable*>& functions,
                                  const WaveMesh& mesh) {
  Eigen::MatrixXd result(mesh.size, static_cast<Eigen::Index>(functions.size()));
  std::map<double, std::vector<Eigen::Index>> columns;
  for (std::size_t f = 0; f < functions.size(); ++f) {
    columns[functions[f]->step()].push_back(static_cast<Eigen::Index>(f));
  }
  for (const auto& [step, selected] : columns) {
    std::vector<const RadialTable*> group;
    for (const Eigen::Index f : selected) group.push_back(functions[static_cast<std::size_t>(f)]);
    result(Eigen::all, selected) = transforms_of_step(group, step, mesh);
  }
  return result;
}

namespace {

/// The transforms that the species bring along; empty when none has any.
BasisTransforms own_transforms(const BasisData& basis) {
  BasisTransforms result;
  for (const auto& s : basis.species) {
    if (!s.wave_table) continue;
    result.mesh = s.wave_table->mesh;
    result.species.push_back(s.wave_table->transforms);
  }
  for (const auto& s : basis.species) {
    if (result.species.empty() || (s.wave_table && s.wave_table->mesh == result.mesh)) continue;
    throw std::invalid_argument(
        "basis: expected wave tables on one mesh for all species or for none, but " + s.symbol +
        (s.wave_table ? " has another mesh" : " has none"));
  }
  return result;
}

}  // namespace

BasisTransforms make_transforms(const BasisData& basis, double cutoff) {
  if (BasisTransforms own = own_transforms(basis); !own.species.empty()) return own;
  double longest = 0.0;
  std::vector<const RadialTable*> functions;
  for (const auto& s : basis.species) {
    for (const auto& orbital : s.orbitals) functions.push_back(&orbital);
    for (const auto& projector : s.projectors) functions.push_back(&projector.radial);
    functions.push_back(&s.density);
  }
  for (const RadialTable* f : functions) longest = std::max(longest, f->cutoff());
  BasisTransforms result;
  result.mesh = make_wave_mesh(longest, cutoff);
  const Eigen::MatrixXd all = bessel_transforms(functions, result.mesh);
  Eigen::Index column = 0;
  for (const auto& s : basis.species) {
    const auto n_orbitals = static_cast<Eigen::Index>(s.orbitals.size());
    const auto n_projectors = static_cast<Eigen::Index>(s.projectors.size());
    result.species.push_back({all.middleCols(column, n_orbitals),
                              all.middleCols(column + n_orbitals, n_projectors),
                              all.col(column + n_orbitals + n_projectors)});
    column += n_orbitals + n_projectors + 1;
  }
  return result;
}

}  // namespace mlh
