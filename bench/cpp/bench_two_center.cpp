// Two-centre terms: set-up of the Si + O tables, matrices and gradients of a geometry.

#include "case.hpp"
#include "harness.hpp"
#include "mlh/two_center/core_repulsion.hpp"
#include "mlh/two_center/nonlocal.hpp"
#include "mlh/two_center/two_center.hpp"

int main(int argc, char** argv) {
  using namespace mlh;
  return bench::run(argc, argv, [](const bench::Arguments& a) {
    const bench::Case c(a.structure, a.copies);
    const TwoCenterTables tables(*c.basis);
    const Structure& s = *c.structure;
    const Pattern& p = *c.pattern;
    const std::vector<double> W(static_cast<std::size_t>(p.nnz()), 0.1);
    const std::vector<std::pair<const char*, std::function<void()>>> cases = {
        {"two_center_tables", [&] { const TwoCenterTables again(*c.basis); }},
        {"pattern", [&] { make_pattern(s, *c.basis); }},
        {"overlap", [&] { overlap_matrix(tables, s, p); }},
        {"kinetic", [&] { kinetic_matrix(tables, s, p); }},
        {"nonlocal", [&] { nonlocal_matrix(tables, s, p); }},
        {"overlap_gradient", [&] { overlap_gradient(tables, s, p, W); }},
        {"kinetic_gradient", [&] { kinetic_gradient(tables, s, p, W); }},
        {"nonlocal_gradient", [&] { nonlocal_gradient(tables, s, p, W); }},
        {"core_repulsion", [&] { core_repulsion(tables.core(), s); }},
    };
    for (const auto& [name, work] : cases)
      bench::report(name, c.atoms(), bench::best_time(a.repeats, work));
  });
}
