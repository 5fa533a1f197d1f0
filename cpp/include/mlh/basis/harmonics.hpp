#pragma once
// Real solid harmonics r^l Y_lm(r-hat) and real Gaunt coefficients.
//
// Order within l (OpenMX's): p: x, y, z; d: 3z2-r2, x2-y2, xy, xz, yz; f: z(5z2-3r2), x(5z2-r2),
// y(5z2-r2), z(x2-y2), xyz, x(x2-3y2), y(3x2-y2). No Condon-Shortley phase, normalised on the
// sphere. For l >= 4 (needed only inside two-centre sums): m = 0, then (cos m phi, sin m phi) for m
// = 1..l.

#include <array>
#include <vector>

#include "mlh/geometry/structure.hpp"

namespace mlh {

/// Largest l of orbitals and projectors of the nonlocal potential.
inline constexpr int kMaxOrbitalL = 3;
/// Largest l of the projectors that expand a local potential.
inline constexpr int kMaxExpansionL = kMaxOrbitalL + 6;
/// Largest l of the solid harmonics: the product of an orbital and a projector.
inline constexpr int kMaxHarmonicL = kMaxOrbitalL + kMaxExpansionL;
inline constexpr int kMaxHarmonics = (kMaxHarmonicL + 1) * (kMaxHarmonicL + 1);

/// Place of component m (0 .. 2l, order above) of l in an array over all l.
constexpr int harmonic_index(int l, int m) { return l * l + m; }

/// values[harmonic_index(l, m)] = r^l Y_lm(r-hat) for l <= lmax <= kMaxHarmonicL; regular at r = 0.
/// `values` holds (lmax+1)^2 doubles.
void solid_harmonics(const Vec3& r, int lmax, double* values);

/// The same and its Cartesian gradient: gradients[3 * index + c] = d(r^l Y_lm)/dr_c.
void solid_harmonics(const Vec3& r, int lmax, double* values, double* gradients);

/// One nonzero G = int Y_{l1 m1} Y_{l2 m2} Y_{L M} dOmega; m1, m2, m are places in the order above.
struct GauntTerm {
  int m1 = 0;
  int m2 = 0;
  int m = 0;
  double value = 0.0;
};

/// All nonzero G of (l1, l2, L), by a quadrature that is exact for products of total degree
/// l1 + l2 + L <= 2 kMaxHarmonicL. Computed once; empty unless |l1-l2| <= L <= l1+l2 and l1+l2+L
/// even. Requires l1 <= kMaxOrbitalL, l2 <= kMaxExpansionL and L <= kMaxHarmonicL.
const std::vector<GauntTerm>& gaunt_terms(int l1, int l2, int L);

}  // namespace mlh
