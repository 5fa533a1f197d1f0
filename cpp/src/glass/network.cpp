#include "mlh/glass/network.hpp"

#include <stdexcept>
#include <string>

namespace mlh {

namespace {

bool linked(const Network& network, int former, const Neighbor& target) {
  for (int slot = 0; slot < network.coordination(former); ++slot) {
    if (network.link(former, slot) == target) return true;
  }
  return false;
}

}  // namespace

int Network::slot_of(int atom, const Neighbor& target) const {
  for (int slot = 0; slot < coordination(atom); ++slot) {
    if (bond(atom, slot) == target) return slot;
  }
  return -1;
}

Neighbor Network::link(int former, int slot) const {
  const Neighbor& near = bond(former, slot);
  if (is_former[idx(near.atom)]) return near;
  const Neighbor back{former, -near.shift};
  const Neighbor& first = bond(near.atom, 0);
  const Neighbor& other = first == back ? bond(near.atom, 1) : first;
  return {other.atom, near.shift + other.shift};
}

void validate(const Network& network) {
  const auto fail = [](int atom, const std::string& what) {
    throw std::invalid_argument("network: atom " + std::to_string(atom) + ": " + what);
  };
  for (int i = 0; i < static_cast<int>(network.size()); ++i) {
    const bool former = network.is_former[static_cast<std::size_t>(i)];
    if (!former && network.coordination(i) != 2) {
      fail(i, "expected a bridge with 2 bonds, got " + std::to_string(network.coordination(i)));
    }
    for (int slot = 0; slot < network.coordination(i); ++slot) {
      const Neighbor& n = network.bond(i, slot);
      if (n.atom < 0 || n.atom >= static_cast<int>(network.size())) {
        fail(i, "expected neighbors inside the structure, got " + std::to_string(n.atom));
      }
      if (network.slot_of(i, n) != slot) fail(i, "bonded twice to " + std::to_string(n.atom));
      if (network.slot_of(n.atom, {i, -n.shift}) < 0) {
        fail(i, "no bond back from " + std::to_string(n.atom));
      }
      if (!former && !network.is_former[static_cast<std::size_t>(n.atom)]) {
        fail(i,
             "expected a bridge between formers, got a bond to bridge " + std::to_string(n.atom));
      }
    }
  }
  for (int i = 0; i < static_cast<int>(network.size()); ++i) {
    if (!network.is_former[static_cast<std::size_t>(i)]) continue;
    for (int slot = 0; slot < network.coordination(i); ++slot) {
      const Neighbor far = network.link(i, slot);
      if (far == Neighbor{i, {0, 0, 0}}) fail(i, "linked to itself");
      for (int other = 0; other < slot; ++other) {
        if (network.link(i, other) == far) {
          fail(i, "linked twice to " + std::to_string(far.atom) + " (edge sharing)");
        }
      }
    }
  }
}

std::optional<Transposition> draw_transposition(const Network& network,
                                                const std::vector<int>& formers, Random& random) {
  const int i = formers[static_cast<std::size_t>(random.below(static_cast<int>(formers.size())))];
  const int slot_ij = random.below(network.coordination(i));
  const Neighbor j = network.link(i, slot_ij);
  // The slot of the same link seen from j: its first bond that leads back to i is the only one.
  int slot_ji = 0;
  while (!(network.link(j.atom, slot_ji) == Neighbor{i, -j.shift})) ++slot_ji;

  const auto another = [&](int atom, int taken) {
    const int slot = random.below(network.coordination(atom) - 1);
    return slot < taken ? slot : slot + 1;
  };
  const int slot_a = another(i, slot_ij);
  const int slot_b = another(j.atom, slot_ji);
  const Neighbor a = network.bond(i, slot_a);
  const Neighbor b = network.bond(j.atom, slot_b);
  const Neighbor far_a = network.link(i, slot_a);
  const Neighbor far_b = network.link(j.atom, slot_b);
  const Neighbor far_b_from_i{far_b.atom, j.shift + far_b.shift};
  const Neighbor far_a_from_j{far_a.atom, -j.shift + far_a.shift};

  // In a tiny cell an atom can be its own neighbor's image; such moves are left out.
  const bool self_image = i == j.atom || a.atom == b.atom || far_a.atom == i ||
                          far_a.atom == j.atom || far_b.atom == i || far_b.atom == j.atom;
  const bool forbidden = self_image || far_a == far_b_from_i || linked(network, i, far_b_from_i) ||
                         linked(network, j.atom, far_a_from_j);
  if (forbidden) return std::nullopt;
  return Transposition{i, slot_a, j.atom, slot_b, j.shift, a.atom, b.atom};
}

void apply(const Transposition& move, Network& network) {
  Neighbor& ia = network.bond(move.i, move.slot_a);
  Neighbor& jb = network.bond(move.j, move.slot_b);
  Neighbor& ai = network.bond(move.a, network.slot_of(move.a, {move.i, -ia.shift}));
  Neighbor& bj = network.bond(move.b, network.slot_of(move.b, {move.j, -jb.shift}));
  const Neighbor ib{move.b, move.shift_ij + jb.shift};
  const Neighbor ja{move.a, -move.shift_ij + ia.shift};
  ia = ib;
  jb = ja;
  ai = {move.j, -ja.shift};
  bj = {move.i, -ib.shift};
}

SmallRings count_small_rings(const Network& network) {
  int three = 0, four = 0;
  for (int i = 0; i < static_cast<int>(network.size()); ++i) {
    if (!network.is_former[static_cast<std::size_t>(i)]) continue;
    const Neighbor home{i, {0, 0, 0}};
    for (int p = 0; p < network.coordination(i); ++p) {
      const Neighbor first = network.link(i, p);
      for (int q = 0; q < network.coordination(first.atom); ++q) {
        Neighbor second = network.link(first.atom, q);
        second.shift = first.shift + second.shift;
        if (second == home) continue;
        for (int r = 0; r < network.coordination(second.atom); ++r) {
          Neighbor third = network.link(second.atom, r);
          third.shift = second.shift + third.shift;
          if (third == home) ++three;
          if (third == home || third == first) continue;
          for (int s = 0; s < network.coordination(third.atom); ++s) {
            const Neighbor last = network.link(third.atom, s);
            if (last.atom == i && third.shift + last.shift == home.shift) ++four;
          }
        }
      }
    }
  }
  // Every ring is met from each of its formers and in both directions.
  return {three / 6, four / 8};
}

}  // namespace mlh
