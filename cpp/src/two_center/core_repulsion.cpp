#include "mlh/two_center/core_repulsion.hpp"

#include <cmath>
#include <numbers>
#include <stdexcept>
#include <string>

namespace mlh {

namespace {

/// Integral of the tabulated density: 4 pi n(k = 0).
double electrons(const SpeciesData& s, const SpeciesTransforms& t) {
  const double n = 4.0 * std::numbers::pi * t.density[0];
  if (std::abs(n - s.valence) > 1e-4 * std::max(1.0, s.valence)) {
    throw std::invalid_argument("density of " + s.symbol + ": expected an integral of " +
                                std::to_string(s.valence) + " electrons, got " + std::to_string(n));
  }
  return n;
}

}  // namespace

CoreTable make_core_table(const SpeciesData& a, const SpeciesTransforms& ta, const SpeciesData& b,
                          const SpeciesTransforms& tb, const WaveMesh& mesh) {
  const double range = a.density.cutoff() + b.density.cutoff();
  const Eigen::Index nodes = DistanceTable::nodes(range);
  Eigen::MatrixXd value(nodes, 1), first(nodes, 1), second(nodes, 1);
  Eigen::VectorXd f = 32.0 * std::numbers::pi * ta.density.cwiseProduct(tb.density);
  CoreTable table;
  for (Eigen::Index i = 0; i < mesh.size; ++i) {
    f[i] *= mesh.weight(i);
    table.on_site += f[i];
  }
  // The charge actually tabulated stands for Z Z: the pair term then ends at zero without a step.
  const double charges = electrons(a, ta) * electrons(b, tb);
  for (Eigen::Index n = 0; n < nodes; ++n) {
    const double d = range * static_cast<double>(n) / static_cast<double>(nodes - 1);
    double j = f[0] * d, dj = f[0], ddj = 0.0;  // d J(d) = int F sin(kd)/k dk
    for (Eigen::Index i = 1; i < mesh.size; ++i) {
      const double k = mesh.k(i), sine = std::sin(k * d);
      j += f[i] * sine / k;
      dj += f[i] * std::cos(k * d);
      ddj -= f[i] * k * sine;
    }
    value(n, 0) = charges - j;
    first(n, 0) = -dj;
    second(n, 0) = -ddj;
  }
  table.function = DistanceTable(range, value, first, second);
  return table;
}

namespace {

bool is_self(int i, const Neighbour& n) { return n.atom == i && n.cell == Cell{0, 0, 0}; }

/// The same limit as the Pattern's.
void check_separations(int i, const std::vector<Neighbour>& neighbours) {
  for (const auto& n : neighbours) {
    if (is_self(i, n) || n.distance >= 0.1) continue;
    throw std::invalid_argument("positions: atoms " + std::to_string(i) + " and " +
                                std::to_string(n.atom) + " are " + std::to_string(n.distance) +
                                " Bohr apart; expected at least 0.1");
  }
}

}  // namespace

CoreRepulsion core_repulsion(const CoreTables& tables, const Structure& structure) {
  check_species(tables.n_species(), structure);
  std::vector<double> range;
  for (const int s : structure.species) range.push_back(tables.cutoff[static_cast<std::size_t>(s)]);
  const auto neighbours = find_neighbours(structure, range, range);
  const auto n_atoms = structure.size();
  for (std::size_t i = 0; i < n_atoms; ++i) check_separations(static_cast<int>(i), neighbours[i]);
  CoreRepulsion result;
  result.gradient.atoms.assign(n_atoms, Vec3::Zero());
  std::vector<double> energy(n_atoms, 0.0);
  std::vector<Mat3> strain(n_atoms, Mat3::Zero());
  // Each atom sums its own row (every pair appears in both rows), in the fixed order of the list.
#pragma omp parallel for schedule(dynamic, 8)
  for (std::size_t i = 0; i < n_atoms; ++i) {
    const int a = structure.species[i];
    energy[i] = -0.5 * tables(a, a).on_site;
    for (const auto& n : neighbours[i]) {
      if (is_self(static_cast<int>(i), n)) continue;
      const auto& table = tables(a, structure.species[static_cast<std::size_t>(n.atom)]);
      const auto point = table.function.locate(n.distance);
      if (point.node == nullptr) continue;
      const double d = n.distance;
      const double pair = table.function.value(point, 0) / d;
      const Vec3 slope = (table.function.slope(point, 0) - pair) / (d * d) * n.vector;
      energy[i] += 0.5 * pair;
      result.gradient.atoms[i] -= slope;
      strain[i] += 0.5 * slope * n.vector.transpose();
    }
  }
  for (std::size_t i = 0; i < n_atoms; ++i) {
    result.energy += energy[i];
    result.gradient.strain += strain[i];
  }
  return result;
}

}  // namespace mlh
