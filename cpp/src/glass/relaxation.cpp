#include "mlh/glass/network_relaxation.hpp"

#include <algorithm>
#include <cmath>
#include <deque>

namespace mlh {

namespace {

using Vector = Eigen::VectorXd;

std::size_t idx(int i) { return static_cast<std::size_t>(i); }

std::vector<char> flags(std::size_t size, const std::vector<int>& atoms) {
  if (atoms.size() == size) return {};  // nonbonded_pairs: empty means all
  std::vector<char> out(size, 0);
  for (const int i : atoms) out[idx(i)] = 1;
  return out;
}

/// Energy and gradient as functions of the coordinates of the moving atoms, with a list of
/// nonbonded pairs that is renewed when an atom has moved by half the skin.
class MovingAtoms {
 public:
  MovingAtoms(Structure& structure, const Network& network, const NetworkPotential& potential,
              const std::vector<int>& atoms, double skin)
      : structure_(structure),
        network_(network),
        potential_(potential),
        atoms_(atoms),
        moving_(flags(structure.size(), atoms)),
        skin_(skin) {
    terms_.centers = centers_around(network, atoms);
    renew();
  }

  Vector coordinates() const {
    Vector x(3 * static_cast<Eigen::Index>(atoms_.size()));
    for (std::size_t k = 0; k < atoms_.size(); ++k) {
      x.segment<3>(3 * static_cast<Eigen::Index>(k)) = structure_.positions[idx(atoms_[k])];
    }
    return x;
  }

  double evaluate(const Vector& x, Vector& gradient) {
    double largest = 0.0;
    for (std::size_t k = 0; k < atoms_.size(); ++k) {
      Vec3& position = structure_.positions[idx(atoms_[k])];
      position = x.segment<3>(3 * static_cast<Eigen::Index>(k));
      largest = std::max(largest, (position - listed_[k]).squaredNorm());
    }
    if (4.0 * largest > skin_ * skin_) renew();
    const double energy = network_energy(structure_, network_, potential_, terms_, all_gradients_);
    gradient.resize(x.size());
    for (std::size_t k = 0; k < atoms_.size(); ++k) {
      gradient.segment<3>(3 * static_cast<Eigen::Index>(k)) = all_gradients_[idx(atoms_[k])];
    }
    return energy;
  }

 private:
  void renew() {
    terms_.pairs = nonbonded_pairs(structure_, network_, potential_, skin_, moving_);
    listed_.clear();
    for (const int i : atoms_) listed_.push_back(structure_.positions[idx(i)]);
  }

  Structure& structure_;
  const Network& network_;
  const NetworkPotential& potential_;
  const std::vector<int>& atoms_;
  std::vector<char> moving_;
  double skin_;
  NetworkTerms terms_;
  std::vector<Vec3> listed_;  // positions for which the list of pairs was made
  std::vector<Vec3> all_gradients_;
};

/// Inverse Hessian times gradient from the last steps (two-loop recursion; Nocedal, Math. Comp. 35,
/// 773 (1980)).
class InverseHessian {
 public:
  explicit InverseHessian(double first_scale) : first_scale_(first_scale) {}

  Vector times(const Vector& gradient) const {
    Vector q = gradient;
    std::array<double, kMemory> alpha{};
    for (std::size_t k = pairs_.size(); k-- > 0;) {
      alpha[k] = pairs_[k].step.dot(q) / pairs_[k].product;
      q -= alpha[k] * pairs_[k].change;
    }
    q *= pairs_.empty() ? first_scale_ : pairs_.back().product / pairs_.back().change.squaredNorm();
    for (std::size_t k = 0; k < pairs_.size(); ++k) {
      q += (alpha[k] - pairs_[k].change.dot(q) / pairs_[k].product) * pairs_[k].step;
    }
    return q;
  }

  void add(Vector step, Vector change) {
    const double product = step.dot(change);
    // Negative curvature between the two points says nothing about the well.
    if (product <= 1e-10 * step.norm() * change.norm()) return;
    if (pairs_.size() == kMemory) pairs_.pop_front();
    pairs_.push_back({std::move(step), std::move(change), product});
  }

  bool empty() const { return pairs_.empty(); }
  void forget() { pairs_.clear(); }

 private:
  static constexpr std::size_t kMemory = 10;
  struct Pair {
    Vector step, change;
    double product;
  };
  double first_scale_;
  std::deque<Pair> pairs_;
};

/// Largest displacement of one atom.
double longest(const Vector& step) {
  double largest = 0.0;
  for (Eigen::Index k = 0; k < step.size(); k += 3) {
    largest = std::max(largest, step.segment<3>(k).norm());
  }
  return largest;
}

}  // namespace

std::vector<int> centers_around(const Network& network, const std::vector<int>& atoms) {
  std::vector<int> centers = atoms;
  for (const int i : atoms) {
    for (int slot = 0; slot < network.coordination(i); ++slot) {
      centers.push_back(network.bond(i, slot).atom);
    }
  }
  std::sort(centers.begin(), centers.end());
  centers.erase(std::unique(centers.begin(), centers.end()), centers.end());
  return centers;
}

double energy_around(const Structure& structure, const Network& network,
                     const NetworkPotential& potential, const std::vector<int>& atoms,
                     const std::vector<int>& centers, std::vector<Vec3>& gradient) {
  const std::vector<char> moving = flags(structure.size(), atoms);
  return network_energy(structure, network, potential,
                        {centers, nonbonded_pairs(structure, network, potential, 0.0, moving)},
                        gradient);
}

RelaxationResult relax_network(Structure& structure, const Network& network,
                               const NetworkPotential& potential, const std::vector<int>& atoms,
                               const RelaxationSettings& settings, int max_steps,
                               const GiveUp& give_up) {
  MovingAtoms system(structure, network, potential, atoms, settings.skin);
  const double stiffest =
      *std::max_element(potential.bond_stiffness.begin(), potential.bond_stiffness.end());
  InverseHessian inverse(0.25 / stiffest);
  Vector x = system.coordinates();
  Vector gradient, trial_gradient;
  RelaxationResult result;
  result.energy = system.evaluate(x, gradient);
  for (;; ++result.steps) {
    result.largest_force = gradient.size() ? gradient.lpNorm<Eigen::Infinity>() : 0.0;
    result.converged = result.largest_force <= settings.force_tolerance;
    if (result.converged || result.steps >= max_steps) return result;
    if (result.steps >= give_up.first_step &&
        result.energy - give_up.factor * gradient.squaredNorm() > give_up.energy) {
      result.given_up = true;
      return result;
    }
    Vector step = -inverse.times(gradient);
    if (step.dot(gradient) >= 0.0) {
      inverse.forget();
      step = -inverse.times(gradient);
    }
    const double length = longest(step);
    if (length > settings.max_displacement) step *= settings.max_displacement / length;

    const double slope = step.dot(gradient);
    double scale = 1.0;
    double energy = system.evaluate(x + step, trial_gradient);
    // Armijo's condition, the next trial from the parabola through both energies and the slope.
    while (!(energy <= result.energy + 1e-4 * scale * slope) && scale > 1e-8) {
      const double parabola =
          -0.5 * slope * scale * scale / (energy - result.energy - slope * scale);
      scale = std::clamp(parabola, 0.1 * scale, 0.5 * scale);
      energy = system.evaluate(x + scale * step, trial_gradient);
    }
    if (scale <= 1e-8) {
      system.evaluate(x, trial_gradient);  // back to where the energy was lowest
      if (inverse.empty()) return result;
      inverse.forget();
      continue;
    }
    step *= scale;
    x += step;
    inverse.add(step, trial_gradient - gradient);
    gradient = trial_gradient;
    result.energy = energy;
  }
}

}  // namespace mlh
