#pragma once
// Integration points of a structure: the uniform grid plus atom-centred spheres around hard atoms,
// cut into small batches, each with the list of atoms whose orbitals reach it.
//
//   int f = dv sum_g W_g f_g  +  sum_I sum_p omega_p w(r_p) f_p ,   W = 1 - sum_I w(|r - tau_I|)
//
// Smooth functions stay on the grid, hard ones go to the spheres; the sum is the same integral.

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "mlh/basis/basis.hpp"
#include "mlh/geometry/gradient.hpp"
#include "mlh/geometry/pattern.hpp"
#include "mlh/geometry/structure.hpp"
#include "mlh/grid/orbital_values.hpp"
#include "mlh/grid/quadrature.hpp"
#include "mlh/grid/uniform_grid.hpp"

namespace mlh {

/// An atom image that reaches a batch: centre tau_atom + cell.
struct ActiveAtom {
  int atom;
  Cell cell;
  /// Bit o: its orbitals reach the points [8 o, 8 o + 8) of the batch; elsewhere they are exactly
  /// zero.
  std::uint8_t octets = 0;
  std::int16_t place = -1;  ///< index among the atoms of the group, -1 where no orbital reaches
};

/// Up to kBatch points. Uniform-grid batches are boxes; sphere batches are consecutive sphere
/// points. The points are ordered so that each octet of consecutive ones is compact.
struct Batch {
  int owner = -1;  ///< -1: uniform grid; else the atom whose sphere it belongs to
  int n_points = 0;
  std::array<int, 3> first{};                   ///< uniform grid: lowest index of the box
  std::array<int, 3> extent{};                  ///< uniform grid: points per axis
  std::int64_t first_point = 0;                 ///< sphere: global index of the first sphere point
  std::int64_t atoms_begin = 0, atoms_end = 0;  ///< range in Grid::active
  int n_orbitals = 0;
};

/// Neighbouring batches that share one gathered density matrix or one local potential matrix: at
/// most kGroup of them. The atoms are those whose orbitals reach any octet of the group.
inline constexpr int kGroup = 8;
struct Group {
  std::size_t batches_begin = 0, batches_end = 0;
  std::int64_t atoms_begin = 0, atoms_end = 0;  ///< range in Grid::atoms
  int n_orbitals = 0;
};

/// Integer combinations of the cell vectors, one per row, with determinant +-1: another cell of the
/// same lattice.
using Axes = std::array<std::array<int, 3>, 3>;
inline constexpr Axes kCellAxes = {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};

/// Everything the grid kernels need about one geometry; immutable once built. The uniform grid runs
/// along `axes`, which the points of a skewed cell do not have in common with the structure; images
/// of atoms are counted in the cell of the structure.
class Grid {
 public:
  Grid(std::shared_ptr<const Structure> structure, std::shared_ptr<const BasisData> basis,
       std::shared_ptr<const Pattern> pattern, std::array<int, 3> n, const Axes& axes = kCellAxes);

  const Structure& structure() const { return *structure_; }
  const BasisData& basis() const { return *basis_; }
  const Pattern& pattern() const { return *pattern_; }
  const UniformGrid& uniform() const { return uniform_; }
  std::int64_t n_sphere_points() const { return n_sphere_points_; }
  const std::vector<Batch>& batches() const { return batches_; }
  std::span<const ActiveAtom> active(const Batch& b) const {
    return {active_.data() + b.atoms_begin, active_.data() + b.atoms_end};
  }
  const std::vector<Group>& groups() const { return groups_; }
  std::span<const Batch> batches(const Group& g) const {
    return {batches_.data() + g.batches_begin, batches_.data() + g.batches_end};
  }
  std::span<const ActiveAtom> atoms(const Group& g) const {
    return {group_atoms_.data() + g.atoms_begin, group_atoms_.data() + g.atoms_end};
  }
  std::int64_t n_active() const { return static_cast<std::int64_t>(active_.size()); }
  int max_orbitals() const { return max_orbitals_; }

  const SpeciesData& species(int atom) const { return basis_->species[structure_->species[atom]]; }
  const OrbitalTables& tables(int atom) const { return tables_[structure_->species[atom]]; }
  Vec3 center(const ActiveAtom& a) const {
    return structure_->positions[a.atom] + structure_->translation(a.cell[0], a.cell[1], a.cell[2]);
  }
  /// Coordinates of the points of a batch, padded with points far away.
  BatchPoints points(const Batch& b) const;
  /// Index of each point: into the uniform grid (owner < 0) or into the sphere points.
  void indices(const Batch& b, std::array<std::int64_t, kBatch>& out) const;
  /// omega_p w(r_p) of the points of a sphere batch.
  double sphere_weight(const Batch& b, int p) const;
  /// Sums one dE/dtau per (batch, active atom), `part` with n_active() entries, and one dE/deps per
  /// batch of the uniform grid, in the order of the batches: independent of the threads. The points
  /// of a sphere ride with its atom, which gets the opposite; they do not strain, so their dE/deps
  /// is that of the centres.
  Gradient add_parts(const std::vector<Vec3>& part, const std::vector<Mat3>& strain) const;

 private:
  struct Boxes;
  /// Fills `box_order_`.
  void order_box_points();
  /// The atom images that reach each box. Each atom announces itself to the boxes around it: cost
  /// linear in the number of atoms.
  std::vector<std::vector<ActiveAtom>> atoms_by_box(const Boxes& boxes) const;
  void add_uniform_batches();
  void add_sphere_batches();
  void append(Batch batch, std::vector<ActiveAtom>& atoms);
  void close_group(std::size_t batches_begin);
  std::uint8_t octets(const BatchPoints& points, int n_points, const ActiveAtom& atom) const;

  std::shared_ptr<const Structure> structure_;
  std::shared_ptr<const BasisData> basis_;
  std::shared_ptr<const Pattern> pattern_;
  Axes axes_;
  UniformGrid uniform_;
  std::vector<OrbitalTables> tables_;               ///< per species
  std::vector<double> reach_;                       ///< per species: range of all its functions
  std::vector<std::vector<WeightedPoint>> meshes_;  ///< per species, empty without sphere
  std::vector<std::int64_t> first_sphere_point_;    ///< per atom
  std::int64_t n_sphere_points_ = 0;
  std::vector<Batch> batches_;
  std::vector<ActiveAtom> active_;
  std::vector<Group> groups_;
  std::vector<ActiveAtom> group_atoms_;
  /// Order of the points of a box, by its extent: offsets from its first point.
  std::array<std::vector<std::array<int, 3>>, 64> box_order_;
  int max_orbitals_ = 0;
};

}  // namespace mlh
