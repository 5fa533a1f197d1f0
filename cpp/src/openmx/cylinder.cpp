#include "mlh/openmx/cylinder.hpp"

#include <cmath>
#include <stdexcept>

namespace mlh {

std::vector<std::array<double, 3>> cylinder_integrals(const LogTable& potential,
                                                      std::span<const double> z,
                                                      std::span<const double> x,
                                                      std::span<const double> weight,
                                                      std::span<const double> distances) {
  if (weight.size() != z.size() * x.size()) {
    throw std::invalid_argument("weight: expected one per z and x");
  }
  std::vector<std::array<double, 3>> result(distances.size());
  // One distance is summed by one thread, in the order of the mesh.
#pragma omp parallel for schedule(dynamic, 1)
  for (std::size_t n = 0; n < distances.size(); ++n) {
    std::array<double, 3> sum{};
    for (std::size_t i = 0; i < z.size(); ++i) {
      const double along = distances[n] - z[i], along2 = along * along;
      std::array<double, 3> line{};  // V, V'/s, V''/s^2 - V'/s^3
      for (std::size_t k = 0; k < x.size(); ++k) {
        const double w = weight[i * x.size() + k];
        if (w == 0.0) continue;
        const double s2 = x[k] * x[k] + along2, s = std::sqrt(s2);
        const auto v = potential.derivatives(s);
        const double slope = v[1] / s;
        line[0] += w * v[0];
        line[1] += w * slope;
        line[2] += w * (v[2] - slope) / s2;
      }
      sum[0] += line[0];
      sum[1] += line[1] * along;
      sum[2] += line[1] + line[2] * along2;
    }
    result[n] = sum;
  }
  return result;
}

}  // namespace mlh
