#include "openmx/expansion_cluster.hpp"

#include "mlh/two_center/two_center.hpp"

namespace mlh::detail {

namespace {

int species_of(const Structure& structure, int atom) {
  return structure.species[static_cast<std::size_t>(atom)];
}

Cell difference(const Cell& a, const Cell& b) { return {a[0] - b[0], a[1] - b[1], a[2] - b[2]}; }

}  // namespace

ExpansionCluster::ExpansionCluster(const ProjectorExpansion& tables, const Structure& structure,
                                   int centre, const std::vector<Neighbour>& neighbours)
    : tables_(tables),
      structure_(structure),
      centre_(centre),
      neighbours_(neighbours),
      energy_(tables.species(species_of(structure, centre)).energy) {
  first_.push_back(0);
  for (const Neighbour& n : neighbours) {
    first_.push_back(first_.back() + tables.species(species_of(structure, n.atom)).n_orbitals);
  }
  B_.resize(first_.back(), energy_.size());
#pragma omp parallel for schedule(dynamic, 4)
  for (std::size_t m = 0; m < neighbours.size(); ++m) {
    const Neighbour& n = neighbours[m];
    tables.projector(species_of(structure, n.atom), species_of(structure, centre))
        .block(-n.vector, B_.row(first_[m]).data());
  }
}

std::vector<std::size_t> ExpansionCluster::atom_ranges(std::size_t n_atoms) const {
  std::vector<std::size_t> begin(n_atoms + 1, neighbours_.size());
  for (std::size_t m = neighbours_.size(); m-- > 0;) {
    begin[static_cast<std::size_t>(neighbours_[m].atom)] = m;
  }
  for (std::size_t i = n_atoms; i-- > 0;) begin[i] = std::min(begin[i], begin[i + 1]);
  return begin;
}

void ExpansionCluster::add_matrix(const Pattern& pattern, std::vector<double>& matrix) const {
  const auto begin = atom_ranges(pattern.n_atoms());
  // The blocks of row i are written by one thread; p < reverse[p] only where j >= i.
#pragma omp parallel for schedule(dynamic, 1)
  for (std::size_t i = 0; i < pattern.n_atoms(); ++i) {
    for (std::size_t m = begin[i]; m < begin[i + 1]; ++m) add_row(pattern, m, begin[i], matrix);
  }
}

void ExpansionCluster::add_row(const Pattern& pattern, std::size_t m, std::size_t from,
                               std::vector<double>& matrix) const {
  const int start = first_[from], width = first_.back() - start;
  const RowMajor left = B_.middleRows(first_[m], rows(m)) * energy_.asDiagonal();
  const RowMajor product = left * B_.middleRows(start, width).transpose();
  for (std::size_t n = from; n < neighbours_.size(); ++n) {
    const int p = pattern.find(neighbours_[m].atom, neighbours_[n].atom,
                               difference(neighbours_[n].cell, neighbours_[m].cell));
    if (p < 0 || p >= pattern.reverse[static_cast<std::size_t>(p)]) continue;
    Eigen::Map<RowMajor>(matrix.data() + pattern.offset[static_cast<std::size_t>(p)], rows(m),
                         rows(n)) += product.middleCols(first_[n] - start, rows(n));
  }
}

ExpansionCluster::RowMajor ExpansionCluster::derivative(const Pattern& pattern, std::size_t m,
                                                        const std::vector<double>& density) const {
  RowMajor weight = RowMajor::Zero(rows(m), first_.back());
  for (std::size_t n = 0; n < neighbours_.size(); ++n) {
    const int p = pattern.find(neighbours_[m].atom, neighbours_[n].atom,
                               difference(neighbours_[n].cell, neighbours_[m].cell));
    if (p < 0) continue;
    weight.middleCols(first_[n], rows(n)) = Eigen::Map<const RowMajor>(
        density.data() + pattern.offset[static_cast<std::size_t>(p)], rows(m), rows(n));
  }
  return (weight * B_) * energy_.asDiagonal();
}

void ExpansionCluster::add_gradient(const Pattern& pattern, const std::vector<double>& density,
                                    Gradient& gradient) const {
  std::vector<Vec3> force(neighbours_.size());
#pragma omp parallel for schedule(dynamic, 1)
  for (std::size_t m = 0; m < neighbours_.size(); ++m) {
    const RowMajor dB = derivative(pattern, m, density);
    const Neighbour& n = neighbours_[m];
    // The table's R points from the orbitals to the centre: dE/d(n.vector) = -dE/dR.
    force[m] = -tables_.projector(species_of(structure_, n.atom), species_of(structure_, centre_))
                    .contract_gradient(-n.vector, dB.data());
  }
  for (std::size_t m = 0; m < neighbours_.size(); ++m) {
    accumulate(gradient, centre_, neighbours_[m].atom, force[m], neighbours_[m].vector);
  }
}

}  // namespace mlh::detail
