// Exchange and correlation (libxc, PBE) on grid and spheres, one and two spins; 200 Ry.

#include "case.hpp"
#include "harness.hpp"
#include "mlh/grid/field.hpp"

int main(int argc, char** argv) {
  using namespace mlh;
  return bench::run(argc, argv, [](const bench::Arguments& a) {
    const bench::Case c(a.structure, a.copies);
    const Grid grid = c.grid();
    const NeutralFields neutral = neutral_fields(grid);
    const Density n = neutral_density(neutral);
    for (const int spins : {1, 2}) {
      const std::vector<Density> densities(static_cast<std::size_t>(spins), n);
      const auto t = bench::best_time(
          a.repeats, [&] { exchange_correlation(grid, neutral, Functional::pbe, densities); });
      bench::report(spins == 1 ? "xc" : "xc_spin", c.atoms(), t);
    }
  });
}
