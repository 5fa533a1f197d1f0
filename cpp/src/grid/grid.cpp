#include "mlh/grid/grid.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "geometry/point_order.hpp"

namespace mlh {

namespace {

constexpr int kEdge = 4;  // points per edge of a box
static_assert(kEdge * kEdge * kEdge == kBatch);
// A point this far outside a cutoff is outside for every way of rounding its distance.
constexpr double kMargin = 1e-9;

std::size_t box_index(const std::array<int, 3>& extent) {
  return static_cast<std::size_t>(((extent[0] - 1) * kEdge + extent[1] - 1) * kEdge + extent[2] -
                                  1);
}

/// Points of a box of the grid with steps h, octet by octet.
std::vector<std::array<int, 3>> order_of_box(const std::array<int, 3>& extent, const Mat3& h) {
  std::vector<std::array<int, 3>> offsets;
  std::vector<Vec3> points;
  for (int x = 0; x < extent[0]; ++x) {
    for (int y = 0; y < extent[1]; ++y) {
      for (int z = 0; z < extent[2]; ++z) {
        offsets.push_back({x, y, z});
        points.push_back(h.transpose() * Vec3(x, y, z));
      }
    }
  }
  std::vector<std::array<int, 3>> out;
  for (const int p : detail::compact_order(points, {kOctet}))
    out.push_back(offsets[static_cast<std::size_t>(p)]);
  return out;
}

/// Range of everything an atom puts on the points.
double reach_of(const SpeciesData& s) {
  double reach = std::max({s.orbital_cutoff(), s.neutral_potential.cutoff(), s.density.cutoff()});
  if (s.core_density) reach = std::max(reach, s.core_density->cutoff());
  if (s.sphere) reach = std::max(reach, s.sphere->radius);
  return reach;
}

/// The cell whose vectors are the combinations `axes` of those of `cell`.
Mat3 cell_along(const Axes& axes, const Mat3& cell) {
  Mat3 m;
  for (int d = 0; d < 3; ++d) {
    for (int e = 0; e < 3; ++e) m(d, e) = axes[d][e];
  }
  if (std::abs(std::abs(m.determinant()) - 1.0) > 1e-6) {
    throw std::invalid_argument("Grid: axes must have determinant 1 or -1");
  }
  // Not a product with the identity: cells that stay as they are keep every bit.
  return axes == kCellAxes ? cell : Mat3(m * cell);
}

/// A translation by `image` cells along `axes`, counted in the cell of the structure.
Cell lattice_image(const Axes& axes, const Cell& image) {
  Cell out{};
  for (int e = 0; e < 3; ++e) {
    for (int d = 0; d < 3; ++d) out[e] += image[d] * axes[d][e];
  }
  return out;
}

/// Start of piece k when n points are cut into `pieces` nearly equal parts.
int piece_start(int n, int pieces, int k) {
  return static_cast<int>(static_cast<std::int64_t>(n) * k / pieces);
}

/// The points of a sphere in groups, batches and octets of consecutive points.
std::vector<WeightedPoint> ordered_mesh(const SphereData& sphere) {
  std::vector<int> groups;
  const auto mesh = sphere_mesh(sphere, kBatch, groups);
  std::vector<Vec3> positions;
  positions.reserve(mesh.size());
  for (const auto& p : mesh) positions.push_back(p.position);
  std::vector<WeightedPoint> out;
  for (const int p : detail::compact_order(positions, {kGroup * kBatch, kBatch, kOctet})) {
    out.push_back(mesh[static_cast<std::size_t>(p)]);
  }
  return out;
}

/// visit({x, y, z}) for all integers from `low` to `high`, both included, z fastest.
template <typename Visit>
void for_each_index(const std::array<int, 3>& low, const std::array<int, 3>& high,
                    const Visit& visit) {
  for (int x = low[0]; x <= high[0]; ++x) {
    for (int y = low[1]; y <= high[1]; ++y) {
      for (int z = low[2]; z <= high[2]; ++z) visit(std::array<int, 3>{x, y, z});
    }
  }
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

/// The uniform grid cut into boxes of nearly equal size, at most kEdge points along an edge.
struct Grid::Boxes {
  std::array<int, 3> pieces{};  ///< boxes along each vector
  std::vector<Batch> batches;   ///< the points of each box, no atoms yet; by `flat`

  explicit Boxes(const std::array<int, 3>& n) {
    for (int d = 0; d < 3; ++d) pieces[d] = (n[d] + kEdge - 1) / kEdge;
    batches.resize(static_cast<std::size_t>(pieces[0]) * pieces[1] * pieces[2]);
    for_each_index({0, 0, 0}, {pieces[0] - 1, pieces[1] - 1, pieces[2] - 1},
                   [&](const std::array<int, 3>& b) {
                     Batch& box = batches[flat(b)];
                     box.n_points = 1;
                     for (int d = 0; d < 3; ++d) {
                       box.first[d] = piece_start(n[d], pieces[d], b[d]);
                       box.extent[d] = piece_start(n[d], pieces[d], b[d] + 1) - box.first[d];
                       box.n_points *= box.extent[d];
                     }
                   });
  }

  bool contains(const std::array<int, 3>& b) const {
    return b[0] < pieces[0] && b[1] < pieces[1] && b[2] < pieces[2];
  }
  std::size_t flat(const std::array<int, 3>& b) const {
    return (static_cast<std::size_t>(b[0]) * pieces[1] + b[1]) * pieces[2] + b[2];
  }
  /// The box inside the cell that box b, anywhere in space, is an image of, and the translation
  /// from b to it, in cells along the axes of the grid.
  std::pair<std::size_t, Cell> home(const std::array<int, 3>& b) const {
    std::array<int, 3> inside{};
    Cell image{};
    for (int d = 0; d < 3; ++d) {
      const int shift = static_cast<int>(std::floor(static_cast<double>(b[d]) / pieces[d]));
      inside[d] = b[d] - shift * pieces[d];
      image[d] = -shift;
    }
    return {flat(inside), image};
  }
};

Grid::Grid(std::shared_ptr<const Structure> structure, std::shared_ptr<const BasisData> basis,
           std::shared_ptr<const Pattern> pattern, std::array<int, 3> n, const Axes& axes)
    : structure_(std::move(structure)),
      basis_(std::move(basis)),
      pattern_(std::move(pattern)),
      axes_(axes),
      uniform_{cell_along(axes, structure_->cell), n} {
  for (const int points : n) {
    if (points < 1) throw std::invalid_argument("Grid: n must be positive in every direction");
  }
  for (const auto& s : basis_->species) {
    tables_.emplace_back(s);
    reach_.push_back(reach_of(s));
    meshes_.push_back(s.sphere ? ordered_mesh(*s.sphere) : std::vector<WeightedPoint>{});
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
  const BatchPoints x = points(batch);
  for (ActiveAtom& a : atoms) a.octets = octets(x, batch.n_points, a);
  batch.atoms_begin = n_active();
  active_.insert(active_.end(), atoms.begin(), atoms.end());
  batch.atoms_end = n_active();
  batch.n_orbitals = 0;
  for (const auto& a : atoms) batch.n_orbitals += pattern_->n_orbitals[a.atom];
  max_orbitals_ = std::max(max_orbitals_, batch.n_orbitals);
  batches_.push_back(batch);
}

std::uint8_t Grid::octets(const BatchPoints& points, int n_points, const ActiveAtom& atom) const {
  const Vec3 c = center(atom);
  const double reach = tables(atom.atom).cutoff() + kMargin;
  unsigned mask = 0;
  for (int p = 0; p < n_points; ++p) {
    double r2 = 0.0;
    for (int a = 0; a < 3; ++a) r2 += (points.x[a][p] - c[a]) * (points.x[a][p] - c[a]);
    if (r2 < reach * reach) mask |= 1u << (p / kOctet);
  }
  return static_cast<std::uint8_t>(mask);
}

void Grid::close_group(std::size_t batches_begin) {
  if (batches_begin == batches_.size()) return;
  const auto before = [](const ActiveAtom& a, const ActiveAtom& b) {
    return a.atom != b.atom ? a.atom < b.atom : a.cell < b.cell;
  };
  std::vector<ActiveAtom> atoms;
  for (std::size_t k = batches_begin; k < batches_.size(); ++k) {
    for (const ActiveAtom& a : active(batches_[k])) {
      if (a.octets != 0) atoms.push_back({a.atom, a.cell});
    }
  }
  std::sort(atoms.begin(), atoms.end(), before);
  atoms.erase(std::unique(atoms.begin(), atoms.end(),
                          [](const ActiveAtom& a, const ActiveAtom& b) {
                            return a.atom == b.atom && a.cell == b.cell;
                          }),
              atoms.end());
  Group group{batches_begin, batches_.size(), static_cast<std::int64_t>(group_atoms_.size())};
  for (const ActiveAtom& a : atoms) group.n_orbitals += pattern_->n_orbitals[a.atom];
  for (std::int64_t k = batches_[batches_begin].atoms_begin; k < n_active(); ++k) {
    ActiveAtom& a = active_[static_cast<std::size_t>(k)];
    if (a.octets == 0) continue;
    a.place = static_cast<std::int16_t>(std::lower_bound(atoms.begin(), atoms.end(), a, before) -
                                        atoms.begin());
  }
  group_atoms_.insert(group_atoms_.end(), atoms.begin(), atoms.end());
  group.atoms_end = static_cast<std::int64_t>(group_atoms_.size());
  groups_.push_back(group);
}

void Grid::order_box_points() {
  for_each_index({1, 1, 1}, {kEdge, kEdge, kEdge}, [&](const std::array<int, 3>& extent) {
    box_order_[box_index(extent)] = order_of_box(extent, uniform_.steps());
  });
}

std::vector<std::vector<ActiveAtom>> Grid::atoms_by_box(const Boxes& boxes) const {
  const Mat3 inverse = uniform_.cell.inverse();
  std::vector<std::vector<ActiveAtom>> found(boxes.batches.size());
  for (std::size_t i = 0; i < structure_->size(); ++i) {
    const double reach = reach_[structure_->species[i]];
    const Vec3 f = inverse.transpose() * structure_->positions[i];
    std::array<int, 3> low{}, high{};
    for (int d = 0; d < 3; ++d) {
      const double width = reach * inverse.col(d).norm();
      low[d] = static_cast<int>(std::floor((f[d] - width) * boxes.pieces[d])) - 1;
      high[d] = static_cast<int>(std::floor((f[d] + width) * boxes.pieces[d])) + 1;
    }
    for_each_index(low, high, [&](const std::array<int, 3>& b) {
      const auto [home, image] = boxes.home(b);
      const ActiveAtom candidate{static_cast<int>(i), lattice_image(axes_, image)};
      const Batch& box = boxes.batches[home];
      if (reaches(points(box), box.n_points, center(candidate), reach)) {
        found[home].push_back(candidate);
      }
    });
  }
  return found;
}

void Grid::add_uniform_batches() {
  order_box_points();
  const Boxes boxes(uniform_.n);
  auto found = atoms_by_box(boxes);
  // Groups are cubes of 2 x 2 x 2 boxes.
  static_assert(kGroup == 8);
  std::array<int, 3> last{};
  for (int d = 0; d < 3; ++d) last[d] = (boxes.pieces[d] - 1) / 2;
  for_each_index({0, 0, 0}, last, [&](const std::array<int, 3>& cube) {
    const std::size_t begin = batches_.size();
    for (int k = 0; k < kGroup; ++k) {
      std::array<int, 3> b{};
      for (int d = 0; d < 3; ++d) b[d] = 2 * cube[d] + (k >> (2 - d) & 1);
      if (!boxes.contains(b)) continue;
      auto& atoms = found[boxes.flat(b)];
      if (!atoms.empty()) append(boxes.batches[boxes.flat(b)], atoms);
    }
    close_group(begin);
  });
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
    const int n = static_cast<int>(meshes_[structure_->species[i]].size());
    std::size_t begin = batches_.size();
    for (int first = 0; first < n; first += kBatch) {
      if (first % (kGroup * kBatch) == 0) {
        close_group(begin);
        begin = batches_.size();
      }
      Batch batch;
      batch.owner = static_cast<int>(i);
      batch.first_point = first_sphere_point_[i] + first;
      batch.n_points = std::min(kBatch, n - first);
      const BatchPoints x = points(batch);
      std::vector<ActiveAtom> atoms;
      for (const auto& n : neighbours[i]) {
        const ActiveAtom candidate{n.atom, n.cell};
        if (reaches(x, batch.n_points, center(candidate), range_j[n.atom]))
          atoms.push_back(candidate);
      }
      append(batch, atoms);
    }
    close_group(begin);
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
  for (const auto& o : box_order_[box_index(b.extent)]) {
    const int x = b.first[0] + o[0], y = b.first[1] + o[1], z = b.first[2] + o[2];
    for (int a = 0; a < 3; ++a) out.x[a][p] = x * h(0, a) + y * h(1, a) + z * h(2, a);
    ++p;
  }
  return out;
}

void Grid::indices(const Batch& b, std::array<std::int64_t, kBatch>& out) const {
  int p = 0;
  if (b.owner >= 0) {
    for (; p < b.n_points; ++p) out[p] = b.first_point + p;
    return;
  }
  for (const auto& o : box_order_[box_index(b.extent)]) {
    const std::int64_t x = b.first[0] + o[0], y = b.first[1] + o[1], z = b.first[2] + o[2];
    out[p++] = (x * uniform_.n[1] + y) * uniform_.n[2] + z;
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
