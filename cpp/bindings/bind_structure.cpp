#include <pybind11/stl.h>

#include <optional>
#include <tuple>

#include "arrays.hpp"
#include "mlh/basis/basis.hpp"
#include "mlh/geometry/pattern.hpp"

namespace mlh::bind {

namespace {

/// Values g on the standard mesh, or a RadialTable with its own.
RadialTable table_from(int l, const py::object& g, const char* name) {
  if (py::isinstance<RadialTable>(g)) {
    const auto& table = g.cast<const RadialTable&>();
    if (table.l() != l) {
      throw std::invalid_argument(std::string(name) + ": expected a table with l = " +
                                  std::to_string(l) + ", got l = " + std::to_string(table.l()));
    }
    return table;
  }
  const auto array = require<double>(g, name, {-1});
  return RadialTable(l, {array.data(), static_cast<std::size_t>(array.size())});
}

SpeciesData make_species(std::string symbol, double valence,
                         const std::vector<std::tuple<int, py::object>>& orbitals,
                         const std::vector<std::tuple<int, py::object, double>>& projectors,
                         const py::object& neutral_potential, const py::object& density,
                         const std::optional<py::object>& core_density,
                         const std::optional<std::tuple<double, double, double>>& sphere,
                         const std::optional<WaveTable>& wave_table) {
  SpeciesData s;
  s.symbol = std::move(symbol);
  s.valence = valence;
  for (const auto& [l, g] : orbitals) s.orbitals.push_back(table_from(l, g, "orbitals"));
  for (const auto& [l, g, e] : projectors) {
    s.projectors.push_back({table_from(l, g, "projectors"), e});
  }
  s.neutral_potential = table_from(0, neutral_potential, "neutral_potential");
  s.density = table_from(0, density, "density");
  if (core_density) s.core_density = table_from(0, *core_density, "core_density");
  if (sphere)
    s.sphere = SphereData{std::get<0>(*sphere), std::get<1>(*sphere), std::get<2>(*sphere)};
  s.wave_table = wave_table;
  validate(s);
  return s;
}

WaveTable make_wave_table(double start, double step, const py::object& orbitals,
                          const py::object& projectors, const py::object& density) {
  const auto d = require<double>(density, "density", {-1});
  const auto matrix = [&d](const py::object& object, const char* name) {
    const auto a = require<double>(object, name, {d.shape(0), -1});
    using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    return Eigen::MatrixXd(Eigen::Map<const RowMajor>(a.data(), a.shape(0), a.shape(1)));
  };
  const Eigen::VectorXd n = Eigen::Map<const Eigen::VectorXd>(d.data(), d.shape(0));
  return {{start, step, d.shape(0)},
          {matrix(orbitals, "orbitals"), matrix(projectors, "projectors"), n}};
}

Structure make_structure(const py::object& cell, const py::object& positions,
                         const py::object& species) {
  const auto c = require<double>(cell, "cell", {3, 3});
  const auto p = require<double>(positions, "positions", {-1, 3});
  const auto s = require<int>(species, "species", {p.shape(0)});
  Structure out;
  for (int a = 0; a < 3; ++a) {
    for (int b = 0; b < 3; ++b) out.cell(a, b) = c.at(a, b);
  }
  for (py::ssize_t i = 0; i < p.shape(0); ++i) {
    out.positions.emplace_back(p.at(i, 0), p.at(i, 1), p.at(i, 2));
    out.species.push_back(s.at(i));
  }
  return out;
}

void bind_pattern(py::module_& m) {
  using py::ssize_t;
  py::class_<Pattern, std::shared_ptr<Pattern>> pattern(
      m, "Pattern",
      "Pairs (i, j, R) with overlapping orbitals, CSR by i; see docs/architecture.md.");
  pattern.def(py::init([](const Structure& s, const BasisData& b, double nearest) {
                const py::gil_scoped_release release;
                return std::make_shared<Pattern>(make_pattern(s, b, nearest));
              }),
              py::arg("structure"), py::arg("basis"), py::arg("nearest") = kNearest);
  pattern.def_property_readonly("n_pairs", &Pattern::n_pairs);
  pattern.def_property_readonly("n_atoms", &Pattern::n_atoms);
  pattern.def_property_readonly("nnz", &Pattern::nnz);
  pattern.def("find", [](const Pattern& p, int i, int j, Cell R) {
    const int n = static_cast<int>(p.n_atoms());
    if (i < 0 || j < 0 || i >= n || j >= n) throw py::index_error("find: atom index out of range");
    return p.find(i, j, R);
  });
  const auto ints = [&pattern](const char* name, auto member) {
    pattern.def_property_readonly(name, [member](const py::object& self) {
      const auto& v = self.cast<const Pattern&>().*member;
      return view(v.data(), {static_cast<ssize_t>(v.size())}, self);
    });
  };
  ints("row_start", &Pattern::row_start);
  ints("atom_i", &Pattern::atom_i);
  ints("atom_j", &Pattern::atom_j);
  ints("offset", &Pattern::offset);
  ints("n_orbitals", &Pattern::n_orbitals);
  ints("reverse", &Pattern::reverse);
  pattern.def_property_readonly("cell", [](const py::object& self) {
    const auto& p = self.cast<const Pattern&>();
    return view(p.cell.empty() ? nullptr : p.cell[0].data(), {static_cast<ssize_t>(p.n_pairs()), 3},
                self);
  });
}

}  // namespace

void bind_structure(py::module_& m) {
  py::class_<RadialTable>(m, "RadialTable", "Spline of g = f/r^l on a mesh with its own step.")
      .def(py::init([](int l, const py::object& g, double step, double end_slope) {
             const auto array = require<double>(g, "g", {-1});
             return RadialTable(l, {array.data(), static_cast<std::size_t>(array.size())}, step,
                                end_slope);
           }),
           py::arg("l"), py::arg("g"), py::arg("step") = kRadialStep, py::arg("end_slope") = 0.0)
      .def_property_readonly("step", &RadialTable::step)
      .def_property_readonly("cutoff", &RadialTable::cutoff);
  py::class_<WaveTable>(m, "WaveTable", "Bessel transforms on the mesh k_i = start + i * step.")
      .def(py::init(&make_wave_table), py::arg("start"), py::arg("step"), py::arg("orbitals"),
           py::arg("projectors"), py::arg("density"));
  py::class_<SpeciesData>(m, "SpeciesData",
                          "One species as the core knows it; arrays hold g = f/r^l.")
      .def(py::init(&make_species), py::arg("symbol"), py::arg("valence"), py::arg("orbitals"),
           py::arg("projectors"), py::arg("neutral_potential"), py::arg("density"),
           py::arg("core_density") = py::none(), py::arg("sphere") = py::none(),
           py::arg("wave_table") = py::none())
      .def_readonly("symbol", &SpeciesData::symbol)
      .def_property_readonly("n_orbitals", &SpeciesData::n_orbitals)
      .def_property_readonly("cutoff", &SpeciesData::orbital_cutoff);
  py::class_<BasisData, std::shared_ptr<BasisData>>(m, "BasisData")
      .def(py::init([](std::vector<SpeciesData> species) {
             return std::make_shared<BasisData>(BasisData{std::move(species)});
           }),
           py::arg("species"))
      .def_property_readonly("n_species", [](const BasisData& b) { return b.species.size(); });
  py::class_<Structure, std::shared_ptr<Structure>>(m, "Structure",
                                                    "Cell (rows), positions (Bohr), species index.")
      .def(py::init(&make_structure), py::arg("cell"), py::arg("positions"), py::arg("species"))
      .def_property_readonly("size", &Structure::size)
      .def_property_readonly("volume", &Structure::volume)
      .def_property_readonly("cell", [](const Structure& s) { return to_array(s.cell); })
      .def_property_readonly("positions", [](const Structure& s) { return to_array(s.positions); })
      .def_property_readonly("species",
                             [](const Structure& s) { return take(std::vector<int>(s.species)); });
  bind_pattern(m);
}

}  // namespace mlh::bind
