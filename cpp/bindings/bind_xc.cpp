#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "mlh/xc/xc.hpp"

namespace py = pybind11;

namespace mlh {
namespace {

using ContiguousArray = py::array_t<double, py::array::c_style>;

std::string describe(const py::array& array) {
  return "dtype " + std::string(py::str(array.dtype())) + ", shape " +
         std::string(py::str(array.attr("shape")));
}

/// Throws unless the array is a C-contiguous float64 array of shape (rows, columns).
void require(const char* name, const py::array& array, py::ssize_t rows, py::ssize_t columns) {
  if (py::isinstance<ContiguousArray>(array) && array.ndim() == 2 && array.shape(0) == rows &&
      array.shape(1) == columns) {
    return;
  }
  throw py::value_error(std::string(name) + ": expected a C-contiguous float64 array of shape (" +
                        std::to_string(rows) + ", " + std::to_string(columns) + "), got " +
                        describe(array));
}

py::tuple evaluate(const std::string& name, const py::array& density,
                   const std::optional<py::array>& sigma) {
  const Functional functional = functional_from_name(name);
  if (density.ndim() != 2 || (density.shape(1) != 1 && density.shape(1) != 2)) {
    throw py::value_error("density: expected shape (npts, 1) or (npts, 2), got " +
                          describe(density));
  }
  const py::ssize_t n_points = density.shape(0);
  const py::ssize_t nspin = density.shape(1);
  const py::ssize_t nsigma = nspin == 1 ? 1 : 3;
  require("density", density, n_points, nspin);
  if (sigma) require("sigma", *sigma, n_points, nsigma);
  if (!sigma && needs_gradient(functional)) {
    throw py::value_error("sigma: expected an array, since " + name +
                          " needs the density gradient; got None");
  }

  ContiguousArray energy(n_points);
  ContiguousArray v_density({n_points, nspin});
  ContiguousArray v_sigma({n_points, nsigma});
  const auto* density_data = static_cast<const double*>(density.data());
  const auto* sigma_data = sigma ? static_cast<const double*>(sigma->data()) : nullptr;
  double* energy_data = energy.mutable_data();
  double* v_density_data = v_density.mutable_data();
  double* v_sigma_data = v_sigma.mutable_data();
  {
    py::gil_scoped_release release;
    evaluate_xc(functional, static_cast<int>(nspin), static_cast<std::size_t>(n_points),
                density_data, sigma_data, energy_data, v_density_data, v_sigma_data);
  }
  return py::make_tuple(energy, v_density, v_sigma);
}

}  // namespace

void bind_xc(py::module_& m) {
  m.def("evaluate_xc", &evaluate, py::arg("name"), py::arg("density"),
        py::arg("sigma") = py::none(),
        R"(Exchange-correlation energy density e and its derivatives at every point.

name is "PBE", "PW92", "PZ", "PBE-PW92" or "PBE-OpenMX"; density has shape (npts, nspin), sigma (npts, 1) or
(npts, 3) holds grad n . grad n, or its (uu, ud, dd) parts; both in atomic units, float64,
C-contiguous.
Returns (e (npts,), de/dn (npts, nspin), de/dsigma (npts, 1|3)); e is per volume, Hartree/Bohr^3.)");
}

}  // namespace mlh
