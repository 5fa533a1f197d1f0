#include "mlh/grid.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace mlh {

namespace {

/// Range of everything an atom puts on the points.
double reach_of(const SpeciesData& s) {
  double reach = std::max({s.orbital_cutoff(), s.neutral_potential.cutoff(), s.density.cutoff()});
  if (s.core_density) reach = std::max(reach, s.core_density->cutoff());
  if (s.sphere) reach = std::max(reach, s.sphere->radius);
  return reach;
}

/// Start of piece k when n points are cut into `pieces` nearly equal parts.
int piece_start(int n, int pieces, int k) {
  return static_cast<int>(static_cast<std::int64_t>(n) * k / pieces);
}

bool reaches(const BatchPoints& points, int n_points, const Vec3& center, double reach) {
  const double limit = reach * reach;
  for (int p = 0; p < n_points; ++p) {
    double r2 = 0.0;
    for (int a = 0; a < 3; ++a) r2 += (points.x[a][p] - center[a]) * (points.x[a][p] - center[a]);
    if (r2 < limit) return true;
  }
  return false;
}

}  // namespace

Grid::Grid(std::shared_ptr<const Structure> structure, std::shared_ptr<const BasisData> basis,
           std::shared_ptr<const Pattern> pattern, std::array<int, 3> n)
    : structure_(std::move(structure)),
      basis_(std::move(basis)),
      pattern_(std::move(pattern)),
      uniform_{structure_->cell, n} {
  for (const int points : n) {
    if (points < 1) throw std::invalid_argument("Grid: n must be positive in every direction");
  }
  for (const auto& s : basis_->species) {
    tables_.emplace_back(s);
    reach_.push_back(reach_of(s));
    std::vector<int> groups;
    meshes_.push_back(s.sphere ? sphere_mesh(*s.sphere, kBatch, groups)
                               : std::vector<WeightedPoint>{});
    mesh_groups_.push_back(groups);
  }
  for (const int s : structure_->species) {
    first_sphere_point_.push_back(n_sphere_points_);
    n_sphere_points_ += static_cast<std::int64_t>(meshes_[s].size());
  }
  add_uniform_batches();
  add_sphere_batches();
}

void Grid::append(Batch batch, std::vector<ActiveAtom>& atoms) {
  std::sort(atoms.begin(), atoms.end(), [](const ActiveAtom& a, const ActiveAtom& b) {
    return a.atom != b.atom ? a.atom < b.atom : a.cell < b.cell;
  });
  batch.atoms_begin = n_active();
  active_.insert(active_.end(), atoms.begin(), atoms.end());
  batch.atoms_end = n_active();
  batch.n_orbitals = 0;
  for (const auto& a : atoms) batch.n_orbitals += pattern_->n_orbitals[a.atom];
  max_orbitals_ = std::max(max_orbitals_, batch.n_orbitals);
  batches_.push_back(batch);
}

void Grid::add_uniform_batches() {
  constexpr int kEdge = 4;
  static_assert(kEdge * kEdge * kEdge == kBatch);
  std::array<int, 3> pieces{};
  for (int d = 0; d < 3; ++d) pieces[d] = (uniform_.n[d] + kEdge - 1) / kEdge;
  const auto flat = [&](const std::array<int, 3>& b) {
    return (static_cast<std::size_t>(b[0]) * pieces[1] + b[1]) * pieces[2] + b[2];
  };
  std::vector<Batch> boxes(static_cast<std::size_t>(pieces[0]) * pieces[1] * pieces[2]);
  std::array<int, 3> b{};
  for (b[0] = 0; b[0] < pieces[0]; ++b[0]) {
    for (b[1] = 0; b[1] < pieces[1]; ++b[1]) {
      for (b[2] = 0; b[2] < pieces[2]; ++b[2]) {
        Batch& box = boxes[flat(b)];
        box.n_points = 1;
        for (int d = 0; d < 3; ++d) {
          box.first[d] = piece_start(uniform_.n[d], pieces[d], b[d]);
          box.extent[d] = piece_start(uniform_.n[d], pieces[d], b[d] + 1) - box.first[d];
          box.n_points *= box.extent[d];
        }
      }
    }
  }
  // Each atom announces itself to the boxes around it: cost linear in the number of atoms.
  const Mat3 inverse = structure_->cell.inverse();
  std::vector<std::vector<ActiveAtom>> found(boxes.size());
  for (std::size_t i = 0; i < structure_->size(); ++i) {
    const double reach = reach_[structure_->species[i]];
    const Vec3 f = inverse.transpose() * structure_->positions[i];
    std::array<int, 3> low{}, high{};
    for (int d = 0; d < 3; ++d) {
      const double width = reach * inverse.col(d).norm();
      low[d] = static_cast<int>(std::floor((f[d] - width) * pieces[d])) - 1;
      high[d] = static_cast<int>(std::floor((f[d] + width) * pieces[d])) + 1;
    }
    for (b[0] = low[0]; b[0] <= high[0]; ++b[0]) {
      for (b[1] = low[1]; b[1] <= high[1]; ++b[1]) {
        for (b[2] = low[2]; b[2] <= high[2]; ++b[2]) {
          std::array<int, 3> home{};
          Cell image{};
          for (int d = 0; d < 3; ++d) {
            const int shift = static_cast<int>(std::floor(static_cast<double>(b[d]) / pieces[d]));
            home[d] = b[d] - shift * pieces[d];
            image[d] = -shift;
          }
          const ActiveAtom candidate{static_cast<int>(i), image};
          Batch& box = boxes[flat(home)];
          if (reaches(points(box), box.n_points, center(candidate), reach)) {
            found[flat(home)].push_back(candidate);
          }
        }
      }
    }
  }
  for (std::size_t k = 0; k < boxes.size(); ++k) {
    if (!found[k].empty()) append(boxes[k], found[k]);
  }
}

void Grid::add_sphere_batches() {
  if (n_sphere_points_ == 0) return;
  std::vector<double> range_i(structure_->size(), 0.0), range_j(structure_->size());
  for (std::size_t i = 0; i < structure_->size(); ++i) {
    const auto& sphere = basis_->species[structure_->species[i]].sphere;
    range_i[i] = sphere ? sphere->radius : 0.0;
    range_j[i] = reach_[structure_->species[i]];
  }
  const auto neighbours = find_neighbours(*structure_, range_i, range_j);
  for (std::size_t i = 0; i < structure_->size(); ++i) {
    const auto& groups = mesh_groups_[structure_->species[i]];
    for (std::size_t g = 0; g + 1 < groups.size(); ++g) {
      Batch batch;
      batch.owner = static_cast<int>(i);
      batch.first_point = first_sphere_point_[i] + groups[g];
      batch.n_points = groups[g + 1] - groups[g];
      const BatchPoints x = points(batch);
      std::vector<ActiveAtom> atoms;
      for (const auto& n : neighbours[i]) {
        const ActiveAtom candidate{n.atom, n.cell};
        if (reaches(x, batch.n_points, center(candidate), range_j[n.atom]))
          atoms.push_back(candidate);
      }
      append(batch, atoms);
    }
  }
}

BatchPoints Grid::points(const Batch& b) const {
  BatchPoints out;
  for (auto& axis : out.x) axis.fill(kFarAway);
  if (b.owner >= 0) {
    const auto& mesh = meshes_[structure_->species[b.owner]];
    const auto start = static_cast<std::size_t>(b.first_point - first_sphere_point_[b.owner]);
    for (int p = 0; p < b.n_points; ++p) {
      const Vec3 r = structure_->positions[b.owner] + mesh[start + p].position;
      for (int a = 0; a < 3; ++a) out.x[a][p] = r[a];
    }
    return out;
  }
  const Mat3 h = uniform_.steps();
  int p = 0;
  for (int x = b.first[0]; x < b.first[0] + b.extent[0]; ++x) {
    for (int y = b.first[1]; y < b.first[1] + b.extent[1]; ++y) {
      for (int z = b.first[2]; z < b.first[2] + b.extent[2]; ++z, ++p) {
        for (int a = 0; a < 3; ++a) out.x[a][p] = x * h(0, a) + y * h(1, a) + z * h(2, a);
      }
    }
  }
  return out;
}

void Grid::indices(const Batch& b, std::array<std::int64_t, kBatch>& out) const {
  int p = 0;
  if (b.owner >= 0) {
    for (; p < b.n_points; ++p) out[p] = b.first_point + p;
    return;
  }
  for (int x = b.first[0]; x < b.first[0] + b.extent[0]; ++x) {
    for (int y = b.first[1]; y < b.first[1] + b.extent[1]; ++y) {
      for (int z = b.first[2]; z < b.first[2] + b.extent[2]; ++z, ++p) {
        out[p] = (static_cast<std::int64_t>(x) * uniform_.n[1] + y) * uniform_.n[2] + z;
      }
    }
  }
}

double Grid::sphere_weight(const Batch& b, int p) const {
  const auto start = static_cast<std::size_t>(b.first_point - first_sphere_point_[b.owner]);
  return meshes_[structure_->species[b.owner]][start + p].weight;
}

Gradient Grid::add_parts(const std::vector<Vec3>& part, const std::vector<Mat3>& strain) const {
  Gradient sum{std::vector<Vec3>(structure_->size(), Vec3::Zero()), Mat3::Zero()};
  for (std::size_t k = 0; k < batches_.size(); ++k) {
    const Batch& batch = batches_[k];
    if (batch.owner < 0) sum.strain += strain[k];
    auto slot = static_cast<std::size_t>(batch.atoms_begin);
    for (const ActiveAtom& atom : active(batch)) {
      sum.atoms[static_cast<std::size_t>(atom.atom)] += part[slot];
      if (batch.owner >= 0) {
        const auto owner = static_cast<std::size_t>(batch.owner);
        sum.atoms[owner] -= part[slot];
        sum.strain += part[slot] * (center(atom) - structure_->positions[owner]).transpose();
      }
      ++slot;
    }
  }
  sum.strain = symmetric_part(sum.strain);
  return sum;
}

}  // namespace mlh
