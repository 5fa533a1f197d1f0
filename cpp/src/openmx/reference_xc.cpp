#include "mlh/openmx/reference_xc.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "mlh/geometry/pattern.hpp"
#include "mlh/two_center/two_center.hpp"

namespace mlh {

std::array<double, 2> perdew_zunger(double n) {
  if (!(n > 1e-15)) return {0.0, 0.0};
  const double rs = std::cbrt(3.0 / (4.0 * std::numbers::pi * n));
  double eps = -0.458165293632163 / rs, slope = 0.458165293632163 / (rs * rs);  // d eps/d rs
  if (rs >= 1.0) {
    const double root = std::sqrt(rs), q = 1.0 / (1.0 + 1.0529 * root + 0.3334 * rs);
    eps -= 0.1423 * q;
    slope += 0.1423 * q * q * (0.5 * 1.0529 / root + 0.3334);
  } else {
    const double log = std::log(rs);
    eps += -0.048 + 0.0311 * log - 0.0116 * rs + 0.002 * rs * log;
    slope += 0.0311 / rs - 0.0116 + 0.002 * (log + 1.0);
  }
  return {eps, -slope * rs / (3.0 * n)};
}

namespace {

struct AtomResult {
  double energy = 0.0;
  std::vector<Vec3> force;  ///< dE/d(tau_j + R - tau_i), one per neighbour
};

/// Sum over the mesh of one atom; `neighbours` sorted so that those that reach far in come first.
AtomResult atom_energy(const std::vector<FineSpecies>& species,
                       std::span<const WeightedPoint> directions, const Structure& structure,
                       std::size_t i, const std::vector<Neighbour>& neighbours) {
  const FineSpecies& own = species[static_cast<std::size_t>(structure.species[i])];
  AtomResult result{0.0, std::vector<Vec3>(neighbours.size(), Vec3::Zero())};
  std::vector<Vec3> slope(neighbours.size());
  for (const auto& [r, weight] : own.radii) {
    const double rho_i = own.density.derivatives(r)[0];
    const double factor = 4.0 * std::numbers::pi * r * r * weight * rho_i;
    const auto table = [&](const Neighbour& n) -> const LogTable& {
      const auto s = structure.species[static_cast<std::size_t>(n.atom)];
      return species[static_cast<std::size_t>(s)].density;
    };
    std::size_t reaching = 0;
    while (reaching < neighbours.size() &&
           neighbours[reaching].distance - table(neighbours[reaching]).end() < r) {
      ++reaching;
    }
    double beyond = rho_i;  // and what the others hold beyond their last node
    for (std::size_t k = reaching; k < neighbours.size(); ++k) {
      const LogTable& other = table(neighbours[k]);
      beyond += other.derivatives(other.end())[0];
    }
    for (const auto& [direction, w] : directions) {
      double rho = beyond;
      for (std::size_t k = 0; k < reaching; ++k) {
        const Neighbour& n = neighbours[k];
        const Vec3 d = n.vector - r * direction;  // from the point to the atom
        const double s = d.norm();
        const auto f = table(n).derivatives(s);
        rho += f[0];
        slope[k] = s > 1e-10 ? Vec3(f[1] / s * d) : Vec3(Vec3::Zero());
      }
      const auto eps = perdew_zunger(rho);
      result.energy += factor * w * eps[0];
      for (std::size_t k = 0; k < reaching; ++k) result.force[k] += factor * w * eps[1] * slope[k];
    }
  }
  return result;
}

}  // namespace

FineEnergy fine_reference_energy(const std::vector<FineSpecies>& species,
                                 std::span<const WeightedPoint> directions,
                                 const Structure& structure) {
  check_species(species.size(), structure);
  std::vector<double> range;
  for (const int s : structure.species) {
    range.push_back(species[static_cast<std::size_t>(s)].cutoff);
  }
  auto neighbours = find_neighbours(structure, range, range);
  std::vector<AtomResult> atoms(structure.size());
  // Every atom is summed by one thread, in a fixed order.
#pragma omp parallel for schedule(dynamic, 1)
  for (std::size_t i = 0; i < structure.size(); ++i) {
    auto& list = neighbours[i];
    std::erase_if(list, [&](const Neighbour& n) {
      return n.atom == static_cast<int>(i) && n.cell == Cell{0, 0, 0};
    });
    const auto reach = [&](const Neighbour& n) {
      const int s = structure.species[static_cast<std::size_t>(n.atom)];
      return n.distance - species[static_cast<std::size_t>(s)].density.end();
    };
    std::stable_sort(list.begin(), list.end(),
                     [&](const Neighbour& a, const Neighbour& b) { return reach(a) < reach(b); });
    atoms[i] = atom_energy(species, directions, structure, i, list);
  }
  FineEnergy total{0.0, {std::vector<Vec3>(structure.size(), Vec3::Zero()), Mat3::Zero()}};
  for (std::size_t i = 0; i < structure.size(); ++i) {
    total.energy += atoms[i].energy;
    for (std::size_t k = 0; k < neighbours[i].size(); ++k) {
      const Neighbour& n = neighbours[i][k];
      accumulate(total.gradient, static_cast<int>(i), n.atom, atoms[i].force[k], n.vector);
    }
  }
  return total;
}

}  // namespace mlh
