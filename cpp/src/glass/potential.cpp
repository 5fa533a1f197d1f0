#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "mlh/glass/network_potential.hpp"

namespace mlh {

namespace {

std::size_t idx(int i) { return static_cast<std::size_t>(i); }

struct Bond {
  Vec3 vector;
  double length;
  int atom;
};

/// 1/2 k (r - d)^2 and 1/2 k (cos t - c)^2.
struct Harmonic {
  static double stretch(double k, double d, const Bond& bond, Vec3& slope) {
    const double x = bond.length - d;
    slope = (k * x / bond.length) * bond.vector;
    return 0.5 * k * x * x;
  }
  static double bend(double k, double c, double, const Bond& p, const Bond& q, Vec3& slope_p,
                     Vec3& slope_q) {
    const double scale = 1.0 / (p.length * q.length);
    const double cosine = p.vector.dot(q.vector) * scale;
    const double factor = k * (cosine - c);
    slope_p = factor * (scale * q.vector - cosine / (p.length * p.length) * p.vector);
    slope_q = factor * (scale * p.vector - cosine / (q.length * q.length) * q.vector);
    return 0.5 * factor * (cosine - c);
  }
};

/// 3/16 k/d^2 (r^2 - d^2)^2 and 3/8 k/d^2 (r1.r2 - d^2 c)^2; for the bend d^2 is the product of two
/// lengths.
struct Keating {
  static double stretch(double k, double d, const Bond& bond, Vec3& slope) {
    const double x = bond.length * bond.length - d * d;
    slope = (0.75 * k / (d * d) * x) * bond.vector;
    return 0.1875 * k / (d * d) * x * x;
  }
  static double bend(double k, double c, double dd, const Bond& p, const Bond& q, Vec3& slope_p,
                     Vec3& slope_q) {
    const double x = p.vector.dot(q.vector) - dd * c;
    const double factor = 0.75 * k / dd * x;
    slope_p = factor * q.vector;
    slope_q = factor * p.vector;
    return 0.5 * factor * x;
  }
};

Vec3 separation(const Structure& structure, int i, int j, const Shift& shift) {
  return structure.positions[idx(j)] - structure.positions[idx(i)] +
         structure.translation(shift[0], shift[1], shift[2]);
}

template <class Form>
double center_energy(const Structure& structure, const Network& network,
                     const NetworkPotential& potential, int center, std::vector<Bond>& bonds,
                     std::vector<Vec3>& gradient) {
  const int species = structure.species[idx(center)];
  const int count = network.coordination(center);
  bonds.resize(idx(count));
  double energy = 0.0;
  Vec3 slope_p, slope_q;
  for (int p = 0; p < count; ++p) {
    const Neighbor& n = network.bond(center, p);
    Bond& bond = bonds[idx(p)];
    bond.vector = separation(structure, center, n.atom, n.shift);
    bond.length = bond.vector.norm();
    bond.atom = n.atom;
    const std::size_t type = potential.pair(species, structure.species[idx(n.atom)]);
    // Each bond is met from both of its atoms.
    energy += 0.5 * Form::stretch(potential.bond_stiffness[type], potential.bond_length[type], bond,
                                  slope_p);
    gradient[idx(n.atom)] += 0.5 * slope_p;
    gradient[idx(center)] -= 0.5 * slope_p;
  }
  for (int p = 0; p < count; ++p) {
    const int end_p = structure.species[idx(bonds[idx(p)].atom)];
    const double d_p = potential.bond_length[potential.pair(species, end_p)];
    for (int q = 0; q < p; ++q) {
      const int end_q = structure.species[idx(bonds[idx(q)].atom)];
      const double d_q = potential.bond_length[potential.pair(species, end_q)];
      const std::size_t type = potential.angle(end_p, species, end_q);
      energy += Form::bend(potential.angle_stiffness[type], potential.angle_cosine[type], d_p * d_q,
                           bonds[idx(p)], bonds[idx(q)], slope_p, slope_q);
      gradient[idx(bonds[idx(p)].atom)] += slope_p;
      gradient[idx(bonds[idx(q)].atom)] += slope_q;
      gradient[idx(center)] -= slope_p + slope_q;
    }
  }
  return energy;
}

double repulsion(const Structure& structure, const NetworkPotential& potential,
                 const NonbondedPair& pair, std::vector<Vec3>& gradient) {
  const std::size_t type =
      potential.pair(structure.species[idx(pair.i)], structure.species[idx(pair.j)]);
  const double range = potential.repulsion_range[type];
  const Vec3 vector = separation(structure, pair.i, pair.j, pair.shift);
  const double x = vector.squaredNorm() - range * range;
  if (x >= 0.0) return 0.0;
  const double stiffness = potential.repulsion_stiffness[type];
  const Vec3 slope = (2.0 * stiffness * x) * vector;
  gradient[idx(pair.j)] += slope;
  gradient[idx(pair.i)] -= slope;
  return 0.5 * stiffness * x * x;
}

template <class Form>
double sum_terms(const Structure& structure, const Network& network,
                 const NetworkPotential& potential, const NetworkTerms& terms,
                 std::vector<Vec3>& gradient) {
  double energy = 0.0;
  std::vector<Bond> bonds;
  for (const int center : terms.centers) {
    energy += center_energy<Form>(structure, network, potential, center, bonds, gradient);
  }
  for (const NonbondedPair& pair : terms.pairs) {
    energy += repulsion(structure, potential, pair, gradient);
  }
  return energy;
}

}  // namespace

double NetworkPotential::largest_range() const {
  return *std::max_element(repulsion_range.begin(), repulsion_range.end());
}

void validate(const NetworkPotential& potential) {
  const auto pairs = idx(potential.n_species * potential.n_species);
  const auto angles = pairs * idx(potential.n_species);
  const bool fits =
      potential.n_species > 0 && potential.bond_stiffness.size() == pairs &&
      potential.bond_length.size() == pairs && potential.repulsion_stiffness.size() == pairs &&
      potential.repulsion_range.size() == pairs && potential.angle_stiffness.size() == angles &&
      potential.angle_cosine.size() == angles;
  if (!fits) {
    throw std::invalid_argument("potential: expected tables over " +
                                std::to_string(potential.n_species) + " species");
  }
}

double network_energy(const Structure& structure, const Network& network,
                      const NetworkPotential& potential, const NetworkTerms& terms,
                      std::vector<Vec3>& gradient) {
  gradient.assign(structure.size(), Vec3::Zero());
  return potential.form == NetworkForm::harmonic
             ? sum_terms<Harmonic>(structure, network, potential, terms, gradient)
             : sum_terms<Keating>(structure, network, potential, terms, gradient);
}

}  // namespace mlh
