#include <cstdio>
#include <mlh/basis/harmonics.hpp>
#include <mlh/xc/xc.hpp>

int main() {
  double y[4];
  mlh::solid_harmonics({0.0, 0.0, 2.0}, 1, y);  // r^l Y_lm: s, p_x, p_y, p_z
  double n = 0.1, sigma = 0.0, energy, v, v_sigma;
  mlh::evaluate_xc(mlh::Functional::pbe, 1, 1, &n, &sigma, &energy, &v, &v_sigma);
  std::printf("%.10f %.10f %.10f\n", y[0], y[3], energy);
}
