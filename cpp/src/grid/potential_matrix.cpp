// H_ab = sum_g v phi_a phi_b + sum_p [v phi_a phi_b + g . grad(phi_a phi_b)].
//
// Every group of batches sums its own blocks. The blocks of a wave of groups are then added to the
// matrix, every row of it by one thread and in the order of the groups, so that the result does not
// depend on the number of threads.

#include <algorithm>
#include <array>
#include <span>

#include "grid/octet_products.hpp"
#include "grid/orbital_products.hpp"
#include "mlh/grid/field.hpp"

namespace mlh {

namespace {

using detail::kPack;
using detail::PackAtom;
using detail::PackPair;

/// Packs whose orbitals are held at once: their orbitals fit the L2 cache.
constexpr int kHeld = 32;
/// Groups whose blocks are held at once, about 0.2 MB each.
constexpr std::size_t kWave = 32;
/// Rows of the matrix are dealt to this many writers.
constexpr int kWriters = 32;

/// Blocks (a, b >= a) of the atoms of a group, in that order, each tile by tile.
struct LocalBlocks {
  std::vector<int> orbitals;          ///< per atom of the group
  std::vector<std::ptrdiff_t> start;  ///< per block
  std::vector<char> filled;           ///< per block; the others hold nothing
  AlignedDoubles data;

  void lay_out(const Grid& grid, const Group& group) {
    orbitals.clear();
    start.clear();
    for (const ActiveAtom& a : grid.atoms(group)) {
      orbitals.push_back(grid.pattern().n_orbitals[static_cast<std::size_t>(a.atom)]);
    }
    std::ptrdiff_t size = 0;
    for (std::size_t a = 0; a < orbitals.size(); ++a) {
      for (std::size_t b = a; b < orbitals.size(); ++b) {
        start.push_back(size);
        size += detail::block_size(orbitals[a], orbitals[b]);
      }
    }
    filled.assign(start.size(), 0);
    if (data.size() < static_cast<std::size_t>(size)) data.resize(static_cast<std::size_t>(size));
  }
};

template <class Real>
struct Scratch {
  /// Packs one after the other; psi = v phi on the grid, v phi / 2 + g . grad phi on a sphere.
  AlignedVector<Real> phi, psi;
  std::vector<PackAtom> atoms;
  std::vector<const ActiveAtom*> which;
  std::vector<std::array<std::int32_t, kHeld>>
      at;                      ///< per atom of the group: place on each pack held
  std::vector<unsigned> mask;  ///< per atom of the group: packs held that it reaches
  std::array<PackPair, kHeld> common;
  std::size_t filled = 0;
  int held = 0;

  explicit Scratch(int n)
      : phi(static_cast<std::size_t>(n) * kPack<Real> * kHeld), psi(phi.size()) {}

  void start(std::size_t n_atoms) {
    at.resize(n_atoms);
    mask.assign(n_atoms, 0U);
    filled = 0;
    held = 0;
  }
};

/// Adds the products on the packs held to the blocks of the group.
template <class Real>
void flush(bool sphere, Scratch<Real>& s, LocalBlocks& out) {
  const Real *phi = s.phi.data(), *psi = s.psi.data();
  std::size_t k = 0;
  for (std::size_t a = 0; a < out.orbitals.size(); ++a) {
    for (std::size_t b = a; b < out.orbitals.size(); ++b, ++k) {
      const int n_a = out.orbitals[a], n_b = out.orbitals[b];
      std::size_t n = 0;
      for (unsigned m = s.mask[a] & s.mask[b]; m != 0; m &= m - 1, ++n) {
        const auto o = static_cast<std::size_t>(__builtin_ctz(m));
        s.common[n] = {s.at[a][o], s.at[b][o]};
      }
      if (n == 0) continue;
      const std::span<const PackPair> common(s.common.data(), n);
      double* M = out.data.data() + out.start[k];
      const bool first = out.filled[k] == 0;
      if (sphere) {
        detail::add_block<true>(common, psi, phi, n_a, n_b, a == b, first, M);
      } else {
        detail::add_block<false>(common, psi, phi, n_a, n_b, a == b, first, M);
      }
      out.filled[k] = 1;
    }
  }
  std::fill(s.mask.begin(), s.mask.end(), 0U);
  s.filled = 0;
  s.held = 0;
}

/// The potential on an octet: v, and on a sphere v / 2 and g. Padding points carry none, and no
/// orbital reaches them.
std::array<double, 4 * kOctet> octet_potential(const Batch& batch, const Potential& potential,
                                               std::span<const std::int64_t> index, int o) {
  std::array<double, 4 * kOctet> v{};
  const bool sphere = batch.owner >= 0;
  for (int p = 0; p < std::min(kOctet, batch.n_points - o * kOctet); ++p) {
    const auto g = static_cast<std::size_t>(index[static_cast<std::size_t>(o * kOctet + p)]);
    const auto q = static_cast<std::size_t>(p);
    v[q] = sphere ? 0.5 * potential.sphere[g] : potential.uniform[g];
    for (std::size_t d = 0; sphere && d < 3; ++d)
      v[(d + 1) * kOctet + q] = potential.sphere_vector[g][static_cast<int>(d)];
  }
  return v;
}

template <class Real>
void add_batch(const Grid& grid, const Batch& batch, const Potential& potential, Scratch<Real>& s,
               LocalBlocks& out) {
  const BatchPoints x = grid.points(batch);
  std::array<std::int64_t, kBatch> index{};
  grid.indices(batch, index);
  const bool sphere = batch.owner >= 0;
  for (int k = 0; k * kPack<Real> < batch.n_points; ++k) {
    const int n = detail::pack_atoms<Real>(grid, batch, k, s.atoms, s.which);
    if (n == 0) continue;
    std::array<std::array<double, 4 * kOctet>, detail::kPackOctets<Real>> v;
    detail::for_octets<Real>(k, [&](int o, int p) {
      v[static_cast<std::size_t>(p / kOctet)] = octet_potential(batch, potential, index, o);
    });
    for (std::size_t i = 0; i < s.atoms.size(); ++i) {
      const ActiveAtom& a = *s.which[i];
      const auto place = static_cast<std::size_t>(s.atoms[i].place);
      const std::size_t at = s.filled + static_cast<std::size_t>(s.atoms[i].first) * kPack<Real>;
      s.at[place][static_cast<std::size_t>(s.held)] = static_cast<std::int32_t>(at);
      s.mask[place] |= 1U << s.held;
      detail::for_octets<Real>(k, [&](int o, int p) {
        Real *phi = s.phi.data() + at + p, *psi = s.psi.data() + at + p;
        const double* w = v[static_cast<std::size_t>(p / kOctet)].data();
        const OrbitalTables& tables = grid.tables(a.atom);
        if (sphere) {
          tables.vector_potential(x, o, grid.center(a), w, phi, psi, kPack<Real>);
        } else {
          tables.potential(x, o, grid.center(a), w, phi, psi, kPack<Real>);
        }
      });
    }
    s.filled += static_cast<std::size_t>(n) * kPack<Real>;
    if (++s.held == kHeld) flush(sphere, s, out);
  }
}

template <class Real>
void group_blocks(const Grid& grid, const Group& group, const Potential& potential,
                  Scratch<Real>& s, LocalBlocks& out) {
  out.lay_out(grid, group);
  s.start(out.orbitals.size());
  const auto batches = grid.batches(group);
  for (const Batch& batch : batches) add_batch(grid, batch, potential, s, out);
  if (s.held > 0) flush(batches.front().owner >= 0, s, out);
}

/// One block per pair (i, j >= i) of the pattern, each tile by tile: what the groups add up.
struct Sums {
  const Pattern& pattern;
  std::vector<std::ptrdiff_t> start;  ///< per pair; -1 where j < i
  AlignedDoubles data;

  explicit Sums(const Pattern& p) : pattern(p), start(pattern.n_pairs(), -1) {
    std::ptrdiff_t size = 0;
    for (std::size_t k = 0; k < start.size(); ++k) {
      if (pattern.atom_j[k] < pattern.atom_i[k]) continue;
      start[k] = size;
      size += detail::block_size(rows(k), columns(k));
    }
    data.resize(static_cast<std::size_t>(size));
  }
  int rows(std::size_t p) const {
    return pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_i[p])];
  }
  int columns(std::size_t p) const {
    return pattern.n_orbitals[static_cast<std::size_t>(pattern.atom_j[p])];
  }
  /// visit(x, y, element) of the block of pair p; `triangle`: only x <= y.
  template <class Visit>
  void for_elements(std::size_t p, bool triangle, Visit&& visit) const {
    const double* M = data.data() + start[p];
    detail::for_tiles(rows(p), columns(p), triangle,
                      [&](auto height, auto width, int r, int c, std::ptrdiff_t at) {
                        for (int x = 0; x < height(); ++x) {
                          for (int y = triangle ? std::max(0, r + x - c) : 0; y < width(); ++y)
                            visit(r + x, c + y, M[at + x * width() + y]);
                        }
                      });
  }
};

/// Adds the blocks of a group whose rows belong to `writer`.
void scatter(const Grid& grid, const Group& group, const LocalBlocks& local, int writer,
             Sums& sums) {
  const Pattern& pattern = grid.pattern();
  const auto atoms = grid.atoms(group);
  std::size_t k = 0;
  for (std::size_t a = 0; a < atoms.size(); k += atoms.size() - a, ++a) {
    if (atoms[a].atom % kWriters != writer) continue;
    for (std::size_t b = a; b < atoms.size(); ++b) {
      if (local.filled[k + b - a] == 0) continue;
      const int pair = pattern.find(atoms[a].atom, atoms[b].atom,
                                    detail::difference(atoms[b].cell, atoms[a].cell));
      if (pair < 0) continue;
      const double* M = local.data.data() + local.start[k + b - a];
      double* target = sums.data.data() + sums.start[static_cast<std::size_t>(pair)];
      const std::ptrdiff_t size = detail::block_size(local.orbitals[a], local.orbitals[b]);
      // Of a block on the diagonal, the tiles below it are neither filled nor ever read.
      for (std::ptrdiff_t v = 0; v < size; v += detail::kLanes)
        detail::store(target + v, detail::load(target + v) + detail::load(M + v));
    }
  }
}

/// Row-major blocks of both directions of every pair. Local pairs were counted once, in the order
/// of their atoms; the two directions of a pair of images of one atom were both counted, in part.
void unfold(const Sums& sums, std::vector<double>& H) {
  const Pattern& pattern = sums.pattern;
#pragma omp parallel for schedule(dynamic, 64)
  for (std::size_t p = 0; p < pattern.n_pairs(); ++p) {
    const auto q = static_cast<std::size_t>(pattern.reverse[p]);
    const bool images = pattern.atom_i[p] == pattern.atom_j[p];
    if (sums.start[p] < 0 || (images && q < p)) continue;
    const int n = sums.rows(p), m = sums.columns(p);
    double *A = H.data() + pattern.offset[p], *B = H.data() + pattern.offset[q];
    sums.for_elements(p, p == q, [=](int x, int y, double h) { A[x * m + y] = B[y * n + x] = h; });
    if (!images || p == q) continue;
    sums.for_elements(q, false, [=](int x, int y, double h) {
      A[y * m + x] += h;
      B[x * n + y] += h;
    });
  }
}

template <class Real>
void add_groups(const Grid& grid, const Potential& potential, Sums& sums) {
  const auto& groups = grid.groups();
  std::vector<LocalBlocks> wave(std::min(kWave, groups.size()));
#pragma omp parallel
  {
    Scratch<Real> scratch(grid.max_orbitals());
    for (std::size_t first = 0; first < groups.size(); first += kWave) {
      const std::size_t last = std::min(first + kWave, groups.size());
#pragma omp for schedule(dynamic, 1)
      for (std::size_t k = first; k < last; ++k)
        group_blocks(grid, groups[k], potential, scratch, wave[k - first]);
#pragma omp for schedule(dynamic, 1)
      for (int writer = 0; writer < kWriters; ++writer) {
        for (std::size_t k = first; k < last; ++k)
          scatter(grid, groups[k], wave[k - first], writer, sums);
      }
    }
  }
}

}  // namespace

std::vector<double> potential_matrix(const Grid& grid, const Potential& potential,
                                     Precision precision) {
  Sums sums(grid.pattern());
  precision == Precision::single ? add_groups<float>(grid, potential, sums)
                                 : add_groups<double>(grid, potential, sums);
  std::vector<double> H(static_cast<std::size_t>(grid.pattern().nnz()));
  unfold(sums, H);
  return H;
}

}  // namespace mlh
