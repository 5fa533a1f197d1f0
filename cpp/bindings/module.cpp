// mlh._core: registers the groups of bindings. Each group lives in its own bind_*.cpp.

#include <omp.h>
#include <pybind11/pybind11.h>

#include <Eigen/Core>

#include <string>

#include "bindings.hpp"
#include "mlh/basis/radial.hpp"

namespace py = pybind11;

namespace mlh {
namespace {

#define MLH_STRINGIFY_(x) #x
#define MLH_STRINGIFY(x) MLH_STRINGIFY_(x)

void set_num_threads(int count) {
  if (count < 1) {
    throw py::value_error("count: expected at least 1 thread, got " + std::to_string(count));
  }
  omp_set_num_threads(count);
}

/// Compiler and options of this build, for `mlh info` and for bug reports.
py::dict compile_info() {
  py::dict info;
  info["compiler"] = MLH_COMPILER;
  info["build_type"] = MLH_BUILD_TYPE;
  info["instructions"] = MLH_ISA;
  info["openmp"] = _OPENMP;
  info["eigen"] = MLH_STRINGIFY(EIGEN_WORLD_VERSION) "." MLH_STRINGIFY(
      EIGEN_MAJOR_VERSION) "." MLH_STRINGIFY(EIGEN_MINOR_VERSION);
  info["libxc"] = MLH_LIBXC_VERSION;
  return info;
}

}  // namespace
}  // namespace mlh

PYBIND11_MODULE(_core, m) {
  m.doc() = "Compiled core of mlh: everything looped over orbital pairs or grid points.";
  m.attr("RADIAL_STEP") = mlh::kRadialStep;
  m.attr("__version__") = MLH_VERSION;
  m.def("set_num_threads", &mlh::set_num_threads, py::arg("count"),
        "Number of OpenMP threads that the core uses from now on.");
  m.def(
      "get_num_threads", [] { return omp_get_max_threads(); },
      "Number of OpenMP threads that the core uses.");
  m.def("compile_info", &mlh::compile_info, "Compiler, options and libraries of this build.");

  mlh::bind::bind_structure(m);
  mlh::bind::bind_two_center(m);
  mlh::bind::bind_grid(m);
  mlh::bind::bind_sparse(m);
  mlh::bind::bind_network(m);
  mlh::bind::bind_openmx(m);
  mlh::bind_xc(m);
}
