#pragma once
// Internal: the density matrix of the orbitals of a group of batches, dense, in panels of few
// columns.

#include <span>
#include <vector>

#include "grid/octet_products.hpp"

namespace mlh::detail {

/// Columns of atom b in panels of at most kPanelColumns, each panel row-major over the orbitals of
/// the group. Upper: rows up to the end of atom b, blocks above the diagonal doubled and the
/// diagonal block folded to its upper triangle, for sum_ab P_ab phi_a phi_b. Full: all rows.
template <class Real>
struct GatheredMatrix {
  std::vector<int> first;             ///< first orbital of each atom of the group, and their number
  std::vector<std::ptrdiff_t> start;  ///< where the panels of each atom start
  std::vector<int> rows;              ///< rows of the panels of each atom
  std::vector<Real> data;

  void upper(const Grid& grid, const Group& group, std::span<const double> D);
  void full(const Grid& grid, const Group& group, std::span<const double> D);

 private:
  void lay_out(const Grid& grid, const Group& group, bool full);
};

/// Calls add(X, c) for every orbital c of a pack, X = sum_a phi_a P_ac on its points; phi: orbital
/// by orbital, kPack each. `upper`: P is P.upper().
template <class Real, class Add>
void for_columns(const GatheredMatrix<Real>& P, const std::vector<PackAtom>& atoms, const Real* phi,
                 bool upper, Add&& add) {
  for (std::size_t b = 0; b < atoms.size(); ++b) {
    const PackAtom& atom = atoms[b];
    const auto place = static_cast<std::size_t>(atom.place);
    for_even_pieces<kPanelColumns>(0, atom.orbitals, [&](auto width, int column) {
      const Real* panel =
          P.data.data() + P.start[place] + static_cast<std::ptrdiff_t>(column) * P.rows[place];
      PackVec<Real> X[width()];
      if (upper) {
        panel_product<width()>(atoms.data(), b + 1, column + width(), phi, panel, P.first.data(),
                               X);
      } else {
        panel_product<width()>(atoms.data(), atoms.size(), atoms.back().orbitals, phi, panel,
                               P.first.data(), X);
      }
      for (int j = 0; j < width(); ++j) add(X[j], atom.first + column + j);
    });
  }
}

/// sum += x f on a pack.
template <class Real>
inline void add_product(PackVec<Real>& sum, const PackVec<Real>& x, const Real* f) {
  for (int i = 0; i < kPackVectors; ++i) sum[i] += x[i] * load(f + i * Register<Real>::lanes);
}

extern template struct GatheredMatrix<double>;
extern template struct GatheredMatrix<float>;

}  // namespace mlh::detail
