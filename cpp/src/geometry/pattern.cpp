#include "mlh/geometry/pattern.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "geometry/point_order.hpp"

namespace mlh {

namespace {

/// Uniform bins over fractional coordinates wrapped into [0, 1); remembers the wrap so that
/// images refer to the unwrapped positions.
class BinGrid {
 public:
  BinGrid(const Structure& s, double width) : inverse_(s.cell.inverse()) {
    for (int d = 0; d < 3; ++d) {
      // 1/|column of the inverse| is the distance between the lattice planes d.
      const double height = 1.0 / inverse_.col(d).norm();
      n_[d] = std::max(1, static_cast<int>(std::floor(height / width)));
      reach_[d] = static_cast<int>(std::ceil(width * n_[d] / height));
    }
    const std::size_t bins = static_cast<std::size_t>(n_[0]) * n_[1] * n_[2];
    members_.resize(bins);
    wrap_.resize(s.size());
    bin_.resize(s.size());
    for (std::size_t i = 0; i < s.size(); ++i) {
      const Vec3 f = inverse_.transpose() * s.positions[i];
      std::size_t index = 0;
      for (int d = 0; d < 3; ++d) {
        const double whole = std::floor(f[d]);
        wrap_[i][d] = static_cast<int>(whole);
        const int b = std::min(n_[d] - 1, static_cast<int>((f[d] - whole) * n_[d]));
        bin_[i][d] = b;
        index = index * n_[d] + b;
      }
      members_[index].push_back(static_cast<int>(i));
    }
  }

  /// Calls visit(j, R) for every atom image in the bins that can lie within `width` of atom i.
  template <class Visit>
  void for_candidates(int i, Visit&& visit) const {
    const auto& b = bin_[i];
    for (int x = b[0] - reach_[0]; x <= b[0] + reach_[0]; ++x) {
      for (int y = b[1] - reach_[1]; y <= b[1] + reach_[1]; ++y) {
        for (int z = b[2] - reach_[2]; z <= b[2] + reach_[2]; ++z) {
          const Cell image = {floor_div(x, n_[0]), floor_div(y, n_[1]), floor_div(z, n_[2])};
          const std::size_t index =
              (static_cast<std::size_t>(x - image[0] * n_[0]) * n_[1] + (y - image[1] * n_[1])) *
                  n_[2] +
              (z - image[2] * n_[2]);
          for (const int j : members_[index]) {
            visit(j,
                  Cell{image[0] - wrap_[j][0] + wrap_[i][0], image[1] - wrap_[j][1] + wrap_[i][1],
                       image[2] - wrap_[j][2] + wrap_[i][2]});
          }
        }
      }
    }
  }

 private:
  static int floor_div(int a, int n) { return a >= 0 ? a / n : -((-a + n - 1) / n); }

  Mat3 inverse_;
  std::array<int, 3> n_{}, reach_{};
  std::vector<std::vector<int>> members_;
  std::vector<Cell> wrap_, bin_;
};

void check_structure(const Structure& s) {
  if (!(s.volume() > 1e-6)) {
    throw std::invalid_argument("cell: expected three independent vectors, got volume " +
                                std::to_string(s.volume()) + " Bohr^3");
  }
  if (s.species.size() != s.size()) {
    throw std::invalid_argument("species: expected one index per atom (" +
                                std::to_string(s.size()) + "), got " +
                                std::to_string(s.species.size()));
  }
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (!s.positions[i].allFinite()) {
      throw std::invalid_argument("positions: atom " + std::to_string(i) + " is not finite");
    }
  }
}

}  // namespace

std::vector<std::vector<Neighbour>> find_neighbours(const Structure& s,
                                                    const std::vector<double>& range_i,
                                                    const std::vector<double>& range_j) {
  check_structure(s);
  if (range_i.size() != s.size() || range_j.size() != s.size()) {
    throw std::invalid_argument("find_neighbours: one range per atom expected");
  }
  std::vector<std::vector<Neighbour>> result(s.size());
  if (s.size() == 0) return result;
  const double width = std::max(1e-3, *std::max_element(range_i.begin(), range_i.end()) +
                                          *std::max_element(range_j.begin(), range_j.end()));
  const BinGrid bins(s, width * (1.0 + 1e-9));  // both see a pair at the very end of the range
#pragma omp parallel for schedule(dynamic, 8)
  for (int i = 0; i < static_cast<int>(s.size()); ++i) {
    auto& row = result[i];
    bins.for_candidates(i, [&](int j, const Cell& R) {
      // Summed in this order the pair (j, i, -R) has exactly -v, also where |v| is the range to the
      // last digit.
      const Vec3 v = (s.positions[j] - s.positions[i]) + s.translation(R[0], R[1], R[2]);
      const double d = v.norm();
      const bool self = i == j && R == Cell{0, 0, 0};
      if (self || d < range_i[i] + range_j[j]) row.push_back({j, R, v, d});
    });
    std::sort(row.begin(), row.end(), [](const Neighbour& a, const Neighbour& b) {
      return a.atom != b.atom ? a.atom < b.atom : a.cell < b.cell;
    });
  }
  return result;
}

int Pattern::find(int i, int j, const Cell& R) const {
  std::int64_t low = row_start[i], high = row_start[i + 1];
  while (low < high) {
    const std::int64_t mid = (low + high) / 2;
    if (atom_j[mid] < j || (atom_j[mid] == j && cell[mid] < R)) {
      low = mid + 1;
    } else {
      high = mid;
    }
  }
  return low < row_start[i + 1] && atom_j[low] == j && cell[low] == R ? static_cast<int>(low) : -1;
}

Pattern make_pattern(const Structure& s, const BasisData& basis, double nearest) {
  std::vector<double> range(s.size());
  Pattern p;
  p.n_orbitals.resize(s.size());
  for (std::size_t i = 0; i < s.size(); ++i) {
    const int species = i < s.species.size() ? s.species[i] : -1;
    if (species < 0 || species >= static_cast<int>(basis.species.size())) {
      throw std::invalid_argument("species: atom " + std::to_string(i) + " has index " +
                                  std::to_string(species) + ", the basis has " +
                                  std::to_string(basis.species.size()) + " species");
    }
    range[i] = basis.species[species].orbital_cutoff();
    p.n_orbitals[i] = basis.species[species].n_orbitals();
  }
  const auto neighbours = find_neighbours(s, range, range);
  p.row_start.push_back(0);
  p.offset.push_back(0);
  for (std::size_t i = 0; i < s.size(); ++i) {
    for (const auto& n : neighbours[i]) {
      if (n.distance < nearest && !(n.atom == static_cast<int>(i) && n.cell == Cell{0, 0, 0})) {
        throw std::invalid_argument("positions: atoms " + std::to_string(i) + " and " +
                                    std::to_string(n.atom) + " are " + std::to_string(n.distance) +
                                    " Bohr apart; expected at least " + std::to_string(nearest));
      }
      p.atom_i.push_back(static_cast<int>(i));
      p.atom_j.push_back(n.atom);
      p.cell.push_back(n.cell);
      p.offset.push_back(p.offset.back() + std::int64_t{p.n_orbitals[i]} * p.n_orbitals[n.atom]);
    }
    p.row_start.push_back(static_cast<std::int64_t>(p.atom_j.size()));
  }
  p.reverse.resize(p.n_pairs());
  for (std::size_t q = 0; q < p.n_pairs(); ++q) {
    p.reverse[q] = p.find(p.atom_j[q], p.atom_i[q], {-p.cell[q][0], -p.cell[q][1], -p.cell[q][2]});
    if (p.reverse[q] < 0) throw std::logic_error("Pattern: a pair lacks its reverse");
  }
  std::vector<Vec3> wrapped;
  const Mat3 inverse = s.cell.inverse();
  for (const Vec3& r : s.positions) {
    const Eigen::RowVector3d f = r.transpose() * inverse;
    wrapped.push_back(r - (f.array().floor().matrix() * s.cell).transpose());
  }
  p.compact_order = detail::compact_order(wrapped, {kTileAtoms});
  return p;
}

}  // namespace mlh
