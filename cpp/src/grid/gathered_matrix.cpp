#include "grid/gathered_matrix.hpp"

#include "grid/orbital_products.hpp"

namespace mlh::detail {

namespace {

/// Calls put(panel, width, row, column in the panel, x, y) where element (x, y) of block (a, b)
/// belongs.
template <class Real, class Value>
void fill(const GatheredMatrix<Real>& m, Real* data, std::size_t a, std::size_t b, Value&& value) {
  const int n_a = m.first[a + 1] - m.first[a], n_b = m.first[b + 1] - m.first[b];
  for_even_pieces<kPanelColumns>(0, n_b, [&](auto width, int column) {
    Real* panel = data + m.start[b] + static_cast<std::ptrdiff_t>(column) * m.rows[b];
    for (int x = 0; x < n_a; ++x) {
      Real* row = panel + static_cast<std::ptrdiff_t>(m.first[a] + x) * width();
      for (int j = 0; j < width(); ++j) row[j] = static_cast<Real>(value(x, column + j));
    }
  });
}

int pair_of(const Grid& grid, const ActiveAtom& a, const ActiveAtom& b) {
  return grid.pattern().find(a.atom, b.atom, difference(b.cell, a.cell));
}

}  // namespace

template <class Real>
void GatheredMatrix<Real>::lay_out(const Grid& grid, const Group& group, bool full) {
  first.clear();
  start.clear();
  rows.clear();
  int n = 0;
  for (const ActiveAtom& a : grid.atoms(group)) {
    first.push_back(n);
    n += grid.pattern().n_orbitals[static_cast<std::size_t>(a.atom)];
  }
  first.push_back(n);
  std::ptrdiff_t size = 0;
  for (std::size_t b = 0; b + 1 < first.size(); ++b) {
    rows.push_back(full ? n : first[b + 1]);
    start.push_back(size);
    size += static_cast<std::ptrdiff_t>(rows[b]) * (first[b + 1] - first[b]);
  }
  if (data.size() < static_cast<std::size_t>(size)) data.resize(static_cast<std::size_t>(size));
}

template <class Real>
void GatheredMatrix<Real>::upper(const Grid& grid, const Group& group, std::span<const double> D) {
  lay_out(grid, group, false);
  const auto atoms = grid.atoms(group);
  for (std::size_t a = 0; a < atoms.size(); ++a) {
    for (std::size_t b = a; b < atoms.size(); ++b) {
      const int n_b = first[b + 1] - first[b], pair = pair_of(grid, atoms[a], atoms[b]);
      if (pair < 0) {
        fill(*this, data.data(), a, b, [](int, int) { return 0.0; });
        continue;
      }
      const double* s = D.data() + grid.pattern().offset[static_cast<std::size_t>(pair)];
      if (a != b) {
        fill(*this, data.data(), a, b, [=](int x, int y) { return 2.0 * s[x * n_b + y]; });
      } else {
        fill(*this, data.data(), a, b, [=](int x, int y) {
          return x == y ? s[x * n_b + y] : x < y ? s[x * n_b + y] + s[y * n_b + x] : 0.0;
        });
      }
    }
  }
}

template <class Real>
void GatheredMatrix<Real>::full(const Grid& grid, const Group& group, std::span<const double> D) {
  lay_out(grid, group, true);
  const auto atoms = grid.atoms(group);
  for (std::size_t a = 0; a < atoms.size(); ++a) {
    for (std::size_t b = a; b < atoms.size(); ++b) {
      const int n_b = first[b + 1] - first[b], pair = pair_of(grid, atoms[a], atoms[b]);
      if (pair < 0) {
        fill(*this, data.data(), a, b, [](int, int) { return 0.0; });
        if (a != b) fill(*this, data.data(), b, a, [](int, int) { return 0.0; });
        continue;
      }
      const double* s = D.data() + grid.pattern().offset[static_cast<std::size_t>(pair)];
      fill(*this, data.data(), a, b, [=](int x, int y) { return s[x * n_b + y]; });
      if (a != b) fill(*this, data.data(), b, a, [=](int x, int y) { return s[y * n_b + x]; });
    }
  }
}

template struct GatheredMatrix<double>;
template struct GatheredMatrix<float>;

}  // namespace mlh::detail
