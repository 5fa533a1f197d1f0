#include <algorithm>
#include <cmath>
#include <tuple>

#include "mlh/glass/network_potential.hpp"

namespace mlh {

namespace {

std::size_t idx(int i) { return static_cast<std::size_t>(i); }

/// Bonded, or bonded to one common atom.
bool near_in_network(const Network& network, int i, const Neighbor& target) {
  for (int p = 0; p < network.coordination(i); ++p) {
    const Neighbor& middle = network.bond(i, p);
    if (middle == target) return true;
    for (int q = 0; q < network.coordination(middle.atom); ++q) {
      const Neighbor& end = network.bond(middle.atom, q);
      if (end.atom == target.atom && middle.shift + end.shift == target.shift) return true;
    }
  }
  return false;
}

/// Atoms by bins of the unit cell. Bins are at least one cutoff wide where the cell is; all atoms
/// closer than the cutoff lie at most `reach` bins away, images in bins beyond the cell included.
struct Bins {
  std::array<int, 3> count{}, reach{};
  std::vector<std::vector<int>> atoms;  ///< by bin
  std::vector<Shift> bin;               ///< of every atom
  std::vector<Shift> home;              ///< cell of every atom: positions are not wrapped
};

Bins make_bins(const Structure& structure, double cutoff) {
  const Mat3 inverse = structure.cell.inverse();  // fractional = position * inverse (rows)
  Bins bins;
  for (int d = 0; d < 3; ++d) {
    const double height = 1.0 / inverse.col(d).norm();
    bins.count[idx(d)] = std::max(1, static_cast<int>(std::floor(height / cutoff)));
    bins.reach[idx(d)] = static_cast<int>(std::ceil(cutoff * bins.count[idx(d)] / height));
  }
  bins.atoms.resize(idx(bins.count[0] * bins.count[1] * bins.count[2]));
  for (std::size_t i = 0; i < structure.size(); ++i) {
    const Vec3 fractional = inverse.transpose() * structure.positions[i];
    Shift bin{}, home{};
    for (int d = 0; d < 3; ++d) {
      const double whole = std::floor(fractional[d]);
      const int number = static_cast<int>((fractional[d] - whole) * bins.count[idx(d)]);
      home[idx(d)] = static_cast<int>(whole);
      bin[idx(d)] = std::min(number, bins.count[idx(d)] - 1);  // rounding may give 1
    }
    bins.bin.push_back(bin);
    bins.home.push_back(home);
    const int flat = (bin[0] * bins.count[1] + bin[1]) * bins.count[2] + bin[2];
    bins.atoms[idx(flat)].push_back(static_cast<int>(i));
  }
  return bins;
}

/// Calls visit(j, shift) for every atom j, in the cell `shift`, of the bins around atom i.
template <class Visit>
void visit_around(const Bins& bins, int i, const Visit& visit) {
  const auto& [nu, nv, nw] = bins.reach;
  for (int u = -nu; u <= nu; ++u) {
    for (int v = -nv; v <= nv; ++v) {
      for (int w = -nw; w <= nw; ++w) {
        const Shift target = bins.bin[idx(i)] + Shift{u, v, w};
        Shift image{}, bin{};
        for (std::size_t d = 0; d < 3; ++d) {
          bin[d] = (target[d] % bins.count[d] + bins.count[d]) % bins.count[d];
          image[d] = (target[d] - bin[d]) / bins.count[d];
        }
        const int flat = (bin[0] * bins.count[1] + bin[1]) * bins.count[2] + bin[2];
        for (const int j : bins.atoms[idx(flat)]) {
          visit(j, image + bins.home[idx(i)] + -bins.home[idx(j)]);
        }
      }
    }
  }
}

}  // namespace

std::vector<NonbondedPair> nonbonded_pairs(const Structure& structure, const Network& network,
                                           const NetworkPotential& potential, double skin,
                                           const std::vector<char>& moving) {
  const double cutoff = potential.largest_range() + skin;
  const Bins bins = make_bins(structure, cutoff);
  const auto moves = [&](int i) { return moving.empty() || moving[idx(i)]; };
  std::vector<NonbondedPair> pairs;
  for (int i = 0; i < static_cast<int>(structure.size()); ++i) {
    if (!moves(i)) continue;
    visit_around(bins, i, [&](int j, const Shift& shift) {
      // Each pair once: from its first atom, or from the only one that moves; of an atom and its
      // images (i, i, R) without (i, i, -R) and the atom itself.
      if (j < i && moves(j)) return;
      if (j == i && shift <= Shift{0, 0, 0}) return;
      const NonbondedPair pair = i <= j ? NonbondedPair{i, j, shift} : NonbondedPair{j, i, -shift};
      const Vec3 vector = structure.positions[idx(pair.j)] - structure.positions[idx(pair.i)] +
                          structure.translation(pair.shift[0], pair.shift[1], pair.shift[2]);
      if (vector.squaredNorm() >= cutoff * cutoff) return;
      if (!near_in_network(network, pair.i, {pair.j, pair.shift})) pairs.push_back(pair);
    });
  }
  // A fixed order: sums of energies do not depend on where atoms lie in the bins.
  std::sort(pairs.begin(), pairs.end(), [](const NonbondedPair& a, const NonbondedPair& b) {
    return std::tie(a.i, a.j, a.shift) < std::tie(b.i, b.j, b.shift);
  });
  return pairs;
}

}  // namespace mlh
