#pragma once
// Derivatives of an energy with respect to the geometry.

#include <vector>

#include "mlh/geometry/structure.hpp"

namespace mlh {

/// Gradients are dE/dtau (a force is minus that); strain is dE/deps for tau -> (1 + eps) tau,
/// R -> (1 + eps) R at fixed matrices, made symmetric.
struct Gradient {
  std::vector<Vec3> atoms;     ///< dE/dtau_I, Hartree/Bohr
  Mat3 strain = Mat3::Zero();  ///< dE/deps, Hartree, symmetric
};

inline Mat3 symmetric_part(const Mat3& m) { return 0.5 * (m + m.transpose()); }

}  // namespace mlh
