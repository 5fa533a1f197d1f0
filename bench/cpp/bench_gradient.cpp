// Gradients of the grid part: through the orbitals (Pulay) and through the functions of the atoms;
// 200 Ry.

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
    const std::vector<double> D(static_cast<std::size_t>(c.pattern->nnz()), 0.01);
    const auto orbitals = bench::best_time(a.repeats, [&] { orbital_gradient(grid, D, v); });
    bench::report("orbital_gradient", c.atoms(), orbitals,
                  {2.0 * bench::product_gflop(grid), bench::field_gbyte(grid, 1, 4)});
    const SphericalCoefficients k{v.uniform, v.uniform, v.uniform, v.sphere, nullptr};
    const auto atoms = bench::best_time(a.repeats, [&] { spherical_gradient(grid, k); });
    bench::report("spherical_gradient", c.atoms(), atoms);
  });
}
