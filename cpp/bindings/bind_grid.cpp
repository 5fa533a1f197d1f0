#include <pybind11/complex.h>
#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>

#include "arrays.hpp"
#include "bindings.hpp"
#include "mlh/grid/field.hpp"
#include "mlh/grid/wavefunction.hpp"

namespace mlh::bind {

namespace {

/// A grid with its neutral-atom fields: the object Python holds for one geometry.
struct GridHandle {
  Grid grid;
  NeutralFields neutral;

  GridHandle(std::shared_ptr<const Structure> s, std::shared_ptr<const BasisData> b,
             std::shared_ptr<const Pattern> p, std::array<int, 3> n, const Axes& axes)
      : grid(std::move(s), std::move(b), std::move(p), n, axes), neutral(neutral_fields(grid)) {}
};

std::vector<py::ssize_t> uniform_shape(const GridHandle& h) {
  const auto& n = h.grid.uniform().n;
  return {n[0], n[1], n[2]};
}

std::span<const double> matrix_data(const GridHandle& h, const py::object& D, const char* name,
                                    py::array& keep) {
  const auto a = require<double>(D, name, {static_cast<py::ssize_t>(h.grid.pattern().nnz())});
  keep = a;
  return {a.data(), static_cast<std::size_t>(a.size())};
}

std::span<const double> uniform_data(const GridHandle& h, const py::object& f, const char* name,
                                     py::array& keep) {
  const auto a = require<double>(f, name, uniform_shape(h));
  keep = a;
  return {a.data(), static_cast<std::size_t>(a.size())};
}

void bind_values(py::module_& m) {
  py::class_<Density>(m, "Density", "One spin component of a density on grid and spheres.")
      .def_property_readonly("uniform",
                             [](const py::object& self) {
                               const auto& d = self.cast<const Density&>();
                               return view(d.uniform.data(),
                                           {static_cast<py::ssize_t>(d.uniform.size())}, self);
                             })
      .def_property_readonly("sphere", [](const py::object& self) {
        const auto& d = self.cast<const Density&>();
        return view(d.sphere.data(), {static_cast<py::ssize_t>(d.sphere.size())}, self);
      });
  py::class_<Potential>(m, "Potential", "One spin component of a potential, weights included.")
      .def(
          "__add__",
          [](const Potential& a, const Potential& b) {
            if (a.uniform.size() != b.uniform.size() || a.sphere.size() != b.sphere.size()) {
              throw std::invalid_argument("other: expected a Potential on the same points");
            }
            Potential sum = a;
            add(sum, b);
            return sum;
          },
          py::arg("other"))
      .def_property_readonly("uniform", [](const py::object& self) {
        const auto& v = self.cast<const Potential&>();
        return view(v.uniform.data(), {static_cast<py::ssize_t>(v.uniform.size())}, self);
      });
  py::class_<ExchangeCorrelation>(m, "ExchangeCorrelation")
      .def_readonly("energy", &ExchangeCorrelation::energy)
      .def_readonly("potential", &ExchangeCorrelation::potential)
      .def("core_potential", &core_potential, "dE_xc/dn_core: the mean over the spins.")
      .def_property_readonly(
          "strain", [](const ExchangeCorrelation& x) { return to_array(x.strain); },
          "dE/deps through the metric of the gradient stencil, (3, 3) Hartree.")
      .def_property_readonly("energy_density", [](const py::object& self) {
        const auto& x = self.cast<const ExchangeCorrelation&>();
        return view(x.energy_density.data(), {static_cast<py::ssize_t>(x.energy_density.size())},
                    self);
      });
}

Stencil stencil_of_order(int order) {
  if (order != 2 && order != 8) {
    throw py::value_error("stencil_order: expected 2 or 8, got " + std::to_string(order));
  }
  return order == 2 ? Stencil::second : Stencil::eighth;
}

Precision precision_of(bool single) { return single ? Precision::single : Precision::full; }

/// Matrices with their potentials, the last `densities` of which give their density too.
py::tuple gradient_of_orbitals(const GridHandle& h, const std::vector<py::object>& D,
                               const std::vector<const Potential*>& potential,
                               std::size_t densities, bool single) {
  if (D.size() != potential.size() || D.empty() || densities > D.size()) {
    throw py::value_error(
        "potential: expected one for each D, of which there is at least one, and no more "
        "densities");
  }
  std::vector<py::array> keep(D.size());
  std::vector<OrbitalTerm> terms;
  for (std::size_t k = 0; k < D.size(); ++k) {
    if (potential[k] == nullptr) throw py::value_error("potential: expected a Potential, got None");
    terms.push_back({matrix_data(h, D[k], "D", keep[k]), potential[k], k + densities >= D.size()});
  }
  OrbitalGradient result;
  {
    const py::gil_scoped_release release;
    result = orbital_gradient(h.grid, terms, precision_of(single));
  }
  std::vector<Density> found(
      std::make_move_iterator(result.density.end() - static_cast<std::ptrdiff_t>(densities)),
      std::make_move_iterator(result.density.end()));
  return py::make_tuple(to_array(result.gradient.atoms), to_array(result.gradient.strain),
                        std::move(found));
}

py::tuple gradient_of_atoms(const GridHandle& h, const py::object& potential,
                            const py::object& density, const py::object& weight,
                            const py::object& sphere_potential, const Potential* core,
                            const Potential* neutral) {
  py::array keep[4];
  SphericalCoefficients c;
  c.potential = uniform_data(h, potential, "potential", keep[0]);
  c.density = uniform_data(h, density, "density", keep[1]);
  c.weight = uniform_data(h, weight, "weight", keep[2]);
  const auto s = require<double>(sphere_potential, "sphere_potential",
                                 {static_cast<py::ssize_t>(h.grid.n_sphere_points())});
  c.sphere_potential = {s.data(), static_cast<std::size_t>(s.size())};
  c.core = core;
  c.neutral = neutral;
  Gradient gradient;
  {
    const py::gil_scoped_release release;
    gradient = spherical_gradient(h.grid, c);
  }
  return py::make_tuple(to_array(gradient.atoms), to_array(gradient.strain));
}

/// States (count, norb) on the uniform grid: (count, n1, n2, n3), real at Gamma, complex with k.
py::array states_on_grid(const GridHandle& h, const py::object& coefficients, const py::object& k) {
  std::size_t n_orbitals = 0;
  for (const int n : h.grid.pattern().n_orbitals) n_orbitals += static_cast<std::size_t>(n);
  const std::vector<py::ssize_t> rows{-1, static_cast<py::ssize_t>(n_orbitals)};
  std::vector<py::ssize_t> shape = uniform_shape(h);
  if (k.is_none()) {
    const auto c = require<double>(coefficients, "coefficients", rows);
    shape.insert(shape.begin(), c.shape(0));
    const std::span<const double> data{c.data(), static_cast<std::size_t>(c.size())};
    std::vector<double> psi;
    {
      const py::gil_scoped_release release;
      psi = wavefunctions(h.grid, data, static_cast<std::size_t>(shape[0]));
    }
    return take(std::move(psi), shape);
  }
  using Complex = std::complex<double>;
  const auto c = require<Complex>(coefficients, "coefficients", rows);
  const auto kpt = require<double>(k, "k", {3});
  const Vec3 fraction(kpt.at(0), kpt.at(1), kpt.at(2));
  shape.insert(shape.begin(), c.shape(0));
  const std::span<const Complex> data{c.data(), static_cast<std::size_t>(c.size())};
  std::vector<Complex> psi;
  {
    const py::gil_scoped_release release;
    psi = wavefunctions(h.grid, data, static_cast<std::size_t>(shape[0]), fraction);
  }
  return take(std::move(psi), shape);
}

}  // namespace

void bind_grid(py::module_& m) {
  m.def(
      "grid_size",
      [](const py::object& cell, double cutoff_ry) {
        const auto c = require<double>(cell, "cell", {3, 3});
        Mat3 matrix;
        for (int a = 0; a < 3; ++a) {
          for (int b = 0; b < 3; ++b) matrix(a, b) = c.at(a, b);
        }
        return grid_size(matrix, cutoff_ry);
      },
      py::arg("cell"), py::arg("cutoff_ry"), "Points per axis of the uniform grid.");
  bind_values(m);
  const auto array = [](const std::vector<double>& v, std::vector<py::ssize_t> shape,
                        const py::object& o) { return view(v.data(), std::move(shape), o); };
  py::class_<GridHandle>(m, "Grid", "Uniform grid and atom-centred spheres of one geometry.")
      .def(py::init([](std::shared_ptr<Structure> s, std::shared_ptr<BasisData> b,
                       std::shared_ptr<Pattern> p, std::array<int, 3> n, const Axes& axes) {
             const py::gil_scoped_release release;
             return std::make_unique<GridHandle>(std::move(s), std::move(b), std::move(p), n, axes);
           }),
           py::arg("structure"), py::arg("basis"), py::arg("pattern"), py::arg("n"),
           py::arg("axes") = kCellAxes)
      .def_property_readonly("shape", [](const GridHandle& h) { return h.grid.uniform().n; })
      .def_property_readonly(
          "cell", [](const GridHandle& h) { return to_array(h.grid.uniform().cell); },
          "Vectors along which the uniform grid runs, rows, Bohr.")
      .def_property_readonly("volume_element",
                             [](const GridHandle& h) { return h.grid.uniform().volume_element(); })
      .def_property_readonly("n_sphere_points",
                             [](const GridHandle& h) { return h.grid.n_sphere_points(); })
      .def_property_readonly("neutral_density",
                             [array](const py::object& self) {
                               const auto& h = self.cast<const GridHandle&>();
                               return array(h.neutral.density, uniform_shape(h), self);
                             })
      .def_property_readonly("neutral_potential",
                             [array](const py::object& self) {
                               const auto& h = self.cast<const GridHandle&>();
                               return array(h.neutral.potential, uniform_shape(h), self);
                             })
      .def_property_readonly("weight",
                             [array](const py::object& self) {
                               const auto& h = self.cast<const GridHandle&>();
                               return array(h.neutral.weight, uniform_shape(h), self);
                             })
      .def_property_readonly("sphere_weight",
                             [array](const py::object& self) {
                               const auto& h = self.cast<const GridHandle&>();
                               return array(h.neutral.sphere_weight,
                                            {static_cast<py::ssize_t>(h.grid.n_sphere_points())},
                                            self);
                             })
      .def_property_readonly("core_density",
                             [array](const py::object& self) {
                               const auto& h = self.cast<const GridHandle&>();
                               if (h.neutral.core.uniform.empty()) {
                                 throw std::invalid_argument("core_density: no species has one");
                               }
                               return array(h.neutral.core.uniform, uniform_shape(h), self);
                             })
      .def_property_readonly("has_core",
                             [](const GridHandle& h) { return !h.neutral.core.uniform.empty(); })
      .def(
          "neutral", [](const GridHandle& h) { return neutral_density(h.neutral); },
          "Superposed neutral atoms as a Density.")
      .def(
          "density",
          [](const GridHandle& h, const py::object& D, bool single) {
            py::array keep;
            const auto data = matrix_data(h, D, "D", keep);
            const py::gil_scoped_release release;
            return density(h.grid, data, precision_of(single));
          },
          py::arg("D"), py::arg("single") = false,
          "Density of one spin component from its density matrix, shape (nnz,); single: products "
          "of orbitals in single precision.")
      .def(
          "exchange_correlation",
          [](const GridHandle& h, const std::string& name, const std::vector<Density>& n,
             int order) {
            const Functional functional = functional_from_name(name);
            const Stencil stencil = stencil_of_order(order);
            const py::gil_scoped_release release;
            return exchange_correlation(h.grid, h.neutral, functional, n, stencil);
          },
          py::arg("functional"), py::arg("density"), py::arg("stencil_order") = 8,
          "E_xc of n + n_core; stencil_order of the density gradient on the grid: 2 or 8.")
      .def(
          "exchange_correlation_change",
          [](const GridHandle& h, const std::string& name, const std::vector<Density>& n,
             const std::vector<Density>& change, int order) {
            const Functional functional = functional_from_name(name);
            const Stencil stencil = stencil_of_order(order);
            const py::gil_scoped_release release;
            return exchange_correlation_change(h.grid, h.neutral, functional, n, change, stencil);
          },
          py::arg("functional"), py::arg("density"), py::arg("change"),
          py::arg("stencil_order") = 8,
          "First-order change of exchange_correlation when the density changes by `change`.")
      .def(
          "neutral_atoms", [](const GridHandle& h) { return neutral_potential(h.grid, h.neutral); },
          "V_na with its quadrature weights as a Potential.")
      .def(
          "uniform_potential",
          [](const GridHandle& h, const py::object& values) {
            py::array keep;
            return uniform_potential(h.grid, uniform_data(h, values, "values", keep));
          },
          py::arg("values"), "A function on the uniform grid as a Potential.")
      .def("neutral_energy", [](const GridHandle& h,
                                const Density& n) { return neutral_energy(h.grid, h.neutral, n); })
      .def(
          "matrix",
          [](const GridHandle& h, const Potential& v, bool single) {
            std::vector<double> H;
            {
              const py::gil_scoped_release release;
              H = potential_matrix(h.grid, v, precision_of(single));
            }
            return take(std::move(H));
          },
          py::arg("potential"), py::arg("single") = false,
          "Matrix elements of a potential, shape (nnz,); single: products of orbitals in single "
          "precision.")
      .def("wavefunctions", &states_on_grid, py::arg("coefficients"), py::arg("k") = py::none(),
           "States (count, norb) on the uniform grid, (count, n1, n2, n3); complex with k (3,).")
      .def("orbital_gradient", &gradient_of_orbitals, py::arg("D"), py::arg("potential"),
           py::arg("densities") = 0, py::arg("single") = false,
           "(dE/dtau (n_atoms, 3), dE/deps (3, 3), densities) through the orbitals of several "
           "matrices at fixed potentials, one each; the densities of the last ones.")
      .def("spherical_gradient", &gradient_of_atoms, py::arg("potential"), py::arg("density"),
           py::arg("weight"), py::arg("sphere_potential"), py::arg("core") = py::none(),
           py::arg("neutral") = py::none(),
           "(dE/dtau (n_atoms, 3), dE/deps (3, 3)) through V_na, n_I, w and n_core at fixed "
           "coefficients.");
}

}  // namespace mlh::bind
