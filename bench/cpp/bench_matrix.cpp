// Matrix elements of a potential on grid and spheres; 200 Ry.

#include "case.hpp"
#include "harness.hpp"
#include "mlh/grid/field.hpp"

int main(int argc, char** argv) {
  using namespace mlh;
  return bench::run(argc, argv, [](const bench::Arguments& a) {
    const bench::Case c(a.structure, a.copies);
    const Grid grid = c.grid();
    const NeutralFields neutral = neutral_fields(grid);
    const Potential v =
        exchange_correlation(grid, neutral, Functional::pbe, {neutral_density(neutral)})
            .potential[0];
    const auto t = bench::best_time(a.repeats, [&] { potential_matrix(grid, v); });
    bench::report("matrix", c.atoms(), t,
                  {bench::product_gflop(grid), bench::field_gbyte(grid, 1, 4)});
  });
}
