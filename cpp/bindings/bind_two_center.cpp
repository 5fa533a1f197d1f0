// Two-centre terms: overlap, kinetic energy, nonlocal potential, core repulsion.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <utility>

#include "arrays.hpp"
#include "bindings.hpp"
#include "mlh/two_center/core_repulsion.hpp"
#include "mlh/two_center/nonlocal.hpp"
#include "mlh/two_center/two_center.hpp"

namespace mlh::bind {

namespace {

using MatrixFunction = std::vector<double> (*)(const TwoCenterTables&, const Structure&,
                                               const Pattern&);
using GradientFunction = PairGradient (*)(const TwoCenterTables&, const Structure&, const Pattern&,
                                          std::span<const double>);

template <MatrixFunction function>
py::array_t<double> matrix(const TwoCenterTables& tables, const Structure& structure,
                           const Pattern& pattern) {
  std::vector<double> values;
  {
    const py::gil_scoped_release release;
    values = function(tables, structure, pattern);
  }
  return take(std::move(values));
}

template <GradientFunction function>
py::tuple gradient(const TwoCenterTables& tables, const Structure& structure,
                   const Pattern& pattern, const py::object& weight, const char* name) {
  const auto array = require<double>(weight, name, {static_cast<py::ssize_t>(pattern.nnz())});
  const std::span<const double> view(array.data(), static_cast<std::size_t>(array.size()));
  PairGradient result;
  {
    const py::gil_scoped_release release;
    result = function(tables, structure, pattern, view);
  }
  return py::make_tuple(to_array(result.atoms), to_array(result.strain));
}

py::tuple core(const TwoCenterTables& tables, const Structure& structure) {
  CoreRepulsion result;
  {
    const py::gil_scoped_release release;
    result = core_repulsion(tables.core(), structure);
  }
  return py::make_tuple(result.energy, to_array(result.gradient.atoms),
                        to_array(result.gradient.strain));
}

}  // namespace

void bind_two_center(py::module_& m) {
  py::class_<TwoCenterTables, std::shared_ptr<TwoCenterTables>>(
      m, "TwoCenterTables",
      "Two-centre integrals of a basis, built once and reused for every geometry. Matrices are "
      "(nnz,)\n"
      "arrays on a Pattern; gradients are tuples (dE/dtau (n_atoms, 3) Hartree/Bohr, dE/dstrain "
      "(3, 3)\n"
      "Hartree, symmetric) of sum_p sum_ab W_p[ab] M_p[ab] at fixed W.")
      .def(py::init([](const BasisData& basis, double wave_cutoff) {
             const py::gil_scoped_release release;
             return std::make_shared<TwoCenterTables>(basis, wave_cutoff);
           }),
           py::arg("basis"), py::arg("wave_cutoff") = kWaveCutoff)
      .def("overlap", &matrix<&overlap_matrix>, py::arg("structure"), py::arg("pattern"),
           "S (nnz,).")
      .def("kinetic", &matrix<&kinetic_matrix>, py::arg("structure"), py::arg("pattern"),
           "T = -nabla^2/2 (nnz,), Hartree.")
      .def("nonlocal_potential", &matrix<&nonlocal_matrix>, py::arg("structure"),
           py::arg("pattern"), "V_nl = q sum_K B E B^T (nnz,), Hartree.")
      .def(
          "overlap_gradient",
          [](const TwoCenterTables& t, const Structure& s, const Pattern& p, const py::object& W) {
            return gradient<&overlap_gradient>(t, s, p, W, "W");
          },
          py::arg("structure"), py::arg("pattern"), py::arg("W"))
      .def(
          "kinetic_gradient",
          [](const TwoCenterTables& t, const Structure& s, const Pattern& p, const py::object& W) {
            return gradient<&kinetic_gradient>(t, s, p, W, "W");
          },
          py::arg("structure"), py::arg("pattern"), py::arg("W"))
      .def(
          "nonlocal_gradient",
          [](const TwoCenterTables& t, const Structure& s, const Pattern& p, const py::object& D,
             double damping_slope) {
            const auto a = require<double>(D, "D", {static_cast<py::ssize_t>(p.nnz())});
            const std::span<const double> view(a.data(), static_cast<std::size_t>(a.size()));
            PairGradient result;
            {
              const py::gil_scoped_release release;
              result = nonlocal_gradient(t, s, p, view, damping_slope);
            }
            return py::make_tuple(to_array(result.atoms), to_array(result.strain));
          },
          py::arg("structure"), py::arg("pattern"), py::arg("D"), py::arg("damping_slope") = 1.0,
          "damping_slope: factor of dq/dr; only 1 gives the gradient of the energy.")
      .def(
          "core_repulsion", &core, py::arg("structure"),
          "(energy Hartree, dE/dtau (n_atoms, 3), dE/dstrain (3, 3)) of the neutral atoms' E_scc.");
}

}  // namespace mlh::bind
