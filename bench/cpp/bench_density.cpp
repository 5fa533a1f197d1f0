// Density from a density matrix, with its gradient on the spheres; 200 Ry.

#include "case.hpp"
#include "harness.hpp"
#include "mlh/grid/field.hpp"

int main(int argc, char** argv) {
  using namespace mlh;
  return bench::run(argc, argv, [](const bench::Arguments& a) {
    const bench::Case c(a.structure, a.copies);
    const Grid grid = c.grid();
    const std::vector<double> D(static_cast<std::size_t>(c.pattern->nnz()), 0.01);
    const auto t = bench::best_time(a.repeats, [&] { density(grid, D); });
    bench::report("density", c.atoms(), t,
                  {bench::product_gflop(grid), bench::field_gbyte(grid, 1, 4)});
  });
}
