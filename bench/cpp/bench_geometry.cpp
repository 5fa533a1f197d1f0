// What a geometry needs once on the grid: batches and spheres, superposed neutral atoms; 200 Ry.

#include "case.hpp"
#include "harness.hpp"
#include "mlh/grid/field.hpp"

int main(int argc, char** argv) {
  using namespace mlh;
  return bench::run(argc, argv, [](const bench::Arguments& a) {
    const bench::Case c(a.structure, a.copies);
    bench::report("batches", c.atoms(), bench::best_time(a.repeats, [&] { c.grid(); }));
    const Grid grid = c.grid();
    bench::report("neutral_fields", c.atoms(),
                  bench::best_time(a.repeats, [&] { neutral_fields(grid); }));
  });
}
