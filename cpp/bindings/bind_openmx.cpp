// Kernels of the integration that follows OpenMX: cylinder integrals, reference functional,
// projector expansion of the neutral-atom potential.

#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>

#include "arrays.hpp"
#include "bindings.hpp"
#include "mlh/openmx/cylinder.hpp"
#include "mlh/openmx/projector_expansion.hpp"
#include "mlh/openmx/reference_xc.hpp"
#include "mlh/two_center/core_repulsion.hpp"

namespace mlh::bind {

namespace {

std::span<const double> span_of(const py::array_t<double, py::array::c_style>& a) {
  return {a.data(), static_cast<std::size_t>(a.size())};
}

Eigen::MatrixXd matrix_of(const py::object& object, const char* name) {
  const auto a = require<double>(object, name, {-1, -1});
  using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  return Eigen::Map<const RowMajor>(a.data(), a.shape(0), a.shape(1));
}

Eigen::VectorXd vector_of(const py::object& object, const char* name) {
  const auto a = require<double>(object, name, {-1});
  return Eigen::Map<const Eigen::VectorXd>(a.data(), a.shape(0));
}

py::tuple gradient_tuple(double energy, const Gradient& g) {
  return py::make_tuple(energy, to_array(g.atoms), to_array(g.strain));
}

py::array_t<double> cylinder(const LogTable& potential, const py::object& z, const py::object& x,
                             const py::object& weight, const py::object& distances) {
  const auto za = require<double>(z, "z", {-1}), xa = require<double>(x, "x", {-1});
  const auto w = require<double>(weight, "weight", {za.shape(0), xa.shape(0)});
  const auto d = require<double>(distances, "distances", {-1});
  std::vector<std::array<double, 3>> rows;
  {
    const py::gil_scoped_release release;
    rows = cylinder_integrals(potential, span_of(za), span_of(xa), span_of(w), span_of(d));
  }
  py::array_t<double> out({static_cast<py::ssize_t>(rows.size()), py::ssize_t{3}});
  auto m = out.mutable_unchecked<2>();
  for (std::size_t n = 0; n < rows.size(); ++n) {
    for (std::size_t k = 0; k < 3; ++k) {
      m(static_cast<py::ssize_t>(n), static_cast<py::ssize_t>(k)) = rows[n][k];
    }
  }
  return out;
}

/// pair[a][b]: (F, F', F'') at the nodes as an (n, 3) array, and J_ab(0); symmetric.
CoreTables make_core_tables(const std::vector<std::vector<std::pair<py::object, double>>>& pair,
                            const std::vector<double>& cutoff) {
  CoreTables tables;
  tables.cutoff = cutoff;
  for (std::size_t a = 0; a < cutoff.size(); ++a) {
    for (std::size_t b = 0; b < cutoff.size(); ++b) {
      const auto& [nodes, on_site] = pair.at(a).at(b);
      const double range = cutoff[a] + cutoff[b];
      const auto expected = DistanceTable::nodes(range);
      const Eigen::MatrixXd f = matrix_of(nodes, "nodes");
      if (f.rows() != expected || f.cols() != 3) {
        throw py::value_error("nodes: expected shape (" + std::to_string(expected) + ", 3)");
      }
      tables.pair.push_back({DistanceTable(range, f.col(0), f.col(1), f.col(2)), on_site});
    }
  }
  return tables;
}

py::tuple reference_energies(const py::object& density) {
  const auto n = require<double>(density, "density", {-1});
  std::vector<double> eps(static_cast<std::size_t>(n.size())), slope(eps.size());
  {
    const py::gil_scoped_release release;
    const double* data = n.data();
#pragma omp parallel for schedule(static)
    for (std::size_t p = 0; p < eps.size(); ++p) {
      const auto f = perdew_zunger(data[p]);
      eps[p] = f[0];
      slope[p] = f[1];
    }
  }
  return py::make_tuple(take(std::move(eps)), take(std::move(slope)));
}

py::tuple fine_energy(const std::vector<std::pair<LogTable, double>>& density,
                      const std::vector<std::pair<py::object, py::object>>& radii,
                      const py::object& directions, const py::object& weights,
                      const Structure& structure) {
  std::vector<FineSpecies> species;
  for (std::size_t s = 0; s < density.size(); ++s) {
    FineSpecies one{density[s].first, density[s].second, {}};
    const Eigen::VectorXd r = vector_of(radii.at(s).first, "radii");
    const Eigen::VectorXd w = vector_of(radii.at(s).second, "radii");
    if (r.size() != w.size()) throw py::value_error("radii: expected as many weights as radii");
    for (Eigen::Index k = 0; k < r.size(); ++k) one.radii.push_back({r[k], w[k]});
    species.push_back(std::move(one));
  }
  const auto d = require<double>(directions, "directions", {-1, 3});
  const auto w = require<double>(weights, "weights", {d.shape(0)});
  std::vector<WeightedPoint> points;
  for (py::ssize_t k = 0; k < d.shape(0); ++k) {
    points.push_back({Vec3(d.at(k, 0), d.at(k, 1), d.at(k, 2)), w.at(k)});
  }
  FineEnergy result;
  {
    const py::gil_scoped_release release;
    result = fine_reference_energy(species, points, structure);
  }
  return gradient_tuple(result.energy, result.gradient);
}

ExpansionSpecies make_expansion_species(double cutoff, const std::vector<int>& orbital_l,
                                        const py::object& orbitals,
                                        const std::vector<int>& projector_l,
                                        const py::object& projectors,
                                        const std::vector<double>& energy,
                                        const py::object& products, const py::object& potential) {
  return {cutoff,
          orbital_l,
          matrix_of(orbitals, "orbitals"),
          projector_l,
          matrix_of(projectors, "projectors"),
          energy,
          matrix_of(products, "products"),
          vector_of(potential, "potential")};
}

void bind_expansion(py::module_& m) {
  py::class_<ExpansionSpecies>(m, "ExpansionSpecies", "Bessel transforms of one species.")
      .def(py::init(&make_expansion_species), py::arg("cutoff"), py::arg("orbital_l"),
           py::arg("orbitals"), py::arg("projector_l"), py::arg("projectors"), py::arg("energy"),
           py::arg("products"), py::arg("potential"));
  m.def(
      "product_channels",
      [](const std::vector<int>& orbital_l) {
        py::list out;
        for (const auto& c : product_channels(orbital_l)) out.append(py::make_tuple(c.a, c.b, c.L));
        return out;
      },
      py::arg("orbital_l"), "(shell a, shell b, L) of the columns of ExpansionSpecies.products.");
  py::class_<ProjectorExpansion, std::shared_ptr<ProjectorExpansion>>(
      m, "ProjectorExpansion",
      "Neutral-atom potential expanded in projectors; built once per basis.")
      .def(py::init([](const std::vector<ExpansionSpecies>& species, const py::object& k,
                       const py::object& weight) {
             const WaveQuadrature waves{vector_of(k, "k"), vector_of(weight, "weight")};
             if (waves.k.size() != waves.weight.size()) {
               throw py::value_error("weight: expected one per wave number");
             }
             const py::gil_scoped_release release;
             return std::make_shared<ProjectorExpansion>(species, waves);
           }),
           py::arg("species"), py::arg("k"), py::arg("weight"))
      .def(
          "matrix",
          [](const ProjectorExpansion& t, const Structure& s, const Pattern& p) {
            std::vector<double> H;
            {
              const py::gil_scoped_release release;
              H = expansion_matrix(t, s, p);
            }
            return take(std::move(H));
          },
          py::arg("structure"), py::arg("pattern"), "(nnz,), Hartree.")
      .def(
          "gradient",
          [](const ProjectorExpansion& t, const Structure& s, const Pattern& p, const py::object& D,
             const py::object& matrix, double damping_slope) {
            const auto nnz = static_cast<py::ssize_t>(p.nnz());
            const auto d = require<double>(D, "D", {nnz});
            const auto h = require<double>(matrix, "matrix", {nnz});
            Gradient g;
            {
              const py::gil_scoped_release release;
              g = expansion_gradient(t, s, p, span_of(d), span_of(h), damping_slope);
            }
            return py::make_tuple(to_array(g.atoms), to_array(g.strain));
          },
          py::arg("structure"), py::arg("pattern"), py::arg("D"), py::arg("matrix"),
          py::arg("damping_slope") = 1.0,
          "(dE/dtau, dE/deps) of sum D H at fixed D; damping_slope: factor of dq/dr, 1 for the "
          "gradient of the energy.");
}

}  // namespace

void bind_openmx(py::module_& m) {
  py::class_<LogTable>(
      m, "LogTable",
      "Catmull-Rom cubics in ln r; beyond the last node tail / r or, without tail, the last value.")
      .def(py::init([](const py::object& r, const py::object& f, std::optional<double> tail) {
             const auto ra = require<double>(r, "r", {-1});
             return LogTable(span_of(ra), span_of(require<double>(f, "f", {ra.shape(0)})), tail);
           }),
           py::arg("r"), py::arg("f"), py::arg("tail") = py::none())
      .def("derivatives", &LogTable::derivatives, py::arg("r"), "(f, f', f'') at one radius.");
  m.def("cylinder_integrals", &cylinder, py::arg("potential"), py::arg("z"), py::arg("x"),
        py::arg("weight"), py::arg("distances"),
        "J, J', J'' (n, 3) of sum_zx weight V(sqrt(x^2 + (R - z)^2)) at distances R (n,).");
  m.def("distance_nodes", &DistanceTable::nodes, py::arg("range"),
        "Nodes of a distance table that ends at `range`.");
  py::class_<CoreTables, std::shared_ptr<CoreTables>>(
      m, "CoreTables", "Pair functions F(d) = Z Z - d J(d) of a core repulsion.")
      .def(py::init(&make_core_tables), py::arg("pair"), py::arg("cutoff"))
      .def(
          "repulsion",
          [](const CoreTables& tables, const Structure& structure) {
            CoreRepulsion result;
            {
              const py::gil_scoped_release release;
              result = core_repulsion(tables, structure);
            }
            return gradient_tuple(result.energy, result.gradient);
          },
          py::arg("structure"), "(energy, dE/dtau, dE/deps), Hartree, Bohr.");
  m.def("perdew_zunger", &reference_energies, py::arg("density"),
        "(eps, d eps/dn) of the unpolarised Perdew-Zunger LDA at densities (n,).");
  m.def("fine_reference_energy", &fine_energy, py::arg("density"), py::arg("radii"),
        py::arg("directions"), py::arg("weights"), py::arg("structure"),
        "(E_0, dE_0/dtau, dE_0/deps); density (table, cutoff), radii (r, weights): per species; "
        "weights sum to 1.");
  bind_expansion(m);
}

}  // namespace mlh::bind
