#pragma once
// A periodic network of bonds: formers (Si) linked directly (a-Si) or through two-coordinated
// bridges (SiO2).

#include <array>
#include <optional>
#include <vector>

#include "mlh/common/random.hpp"
#include "mlh/geometry/structure.hpp"

namespace mlh {

using Shift = std::array<int, 3>;  ///< lattice translation n1 a1 + n2 a2 + n3 a3

inline Shift operator+(const Shift& a, const Shift& b) {
  return {a[0] + b[0], a[1] + b[1], a[2] + b[2]};
}
inline Shift operator-(const Shift& a) { return {-a[0], -a[1], -a[2]}; }

/// One end of a bond: `atom` in the cell `shift`, seen from an atom in the cell 0.
struct Neighbor {
  int atom;
  Shift shift;
  bool operator==(const Neighbor&) const = default;
};

/// Bonds in both directions, CSR by atom. The positions that belong to it are never wrapped, so
/// that the shifts stay valid while atoms move. Switching keeps every coordination number, hence
/// `start`.
struct Network {
  std::vector<char> is_former;      ///< one per atom; others are bridges with exactly two bonds
  std::vector<int> start;           ///< size() + 1
  std::vector<Neighbor> neighbors;  ///< neighbors[start[i] .. start[i+1]) of atom i

  std::size_t size() const { return is_former.size(); }
  int coordination(int atom) const { return start[idx(atom) + 1] - start[idx(atom)]; }
  const Neighbor& bond(int atom, int slot) const { return neighbors[idx(start[idx(atom)] + slot)]; }
  Neighbor& bond(int atom, int slot) { return neighbors[idx(start[idx(atom)] + slot)]; }
  /// Slot of `target` among the bonds of `atom`; -1 without such a bond.
  int slot_of(int atom, const Neighbor& target) const;
  /// Former at the far end of a bond of a former: the neighbor itself, or what its bridge links to.
  Neighbor link(int former, int slot) const;

 private:
  static std::size_t idx(int i) { return static_cast<std::size_t>(i); }
};

/// Throws std::invalid_argument unless every bond has its reverse, no bond appears twice, and every
/// bridge has two bonds, both to formers.
void validate(const Network& network);

/// Bond transposition on the chain a - i ( - o ) - j - b: i-a and j-b become i-b and j-a.
struct Transposition {
  int i, slot_a;  ///< bond i-a
  int j, slot_b;  ///< bond j-b
  Shift shift_ij;
  int a, b;
};

/// Draws i, a link i-j, and one other bond of each. Nothing where the move would bond two atoms
/// twice, link two formers twice (edge sharing) or leave the links of the formers as they are.
std::optional<Transposition> draw_transposition(const Network& network,
                                                const std::vector<int>& formers, Random& random);

/// Carries the move out. Coordination numbers do not change.
void apply(const Transposition& move, Network& network);

/// Closed paths of three and of four links between formers (each counted once).
struct SmallRings {
  int three = 0;
  int four = 0;
};
SmallRings count_small_rings(const Network& network);

}  // namespace mlh
