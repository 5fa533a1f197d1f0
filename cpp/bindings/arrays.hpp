#pragma once
// NumPy arrays at the boundary: wrong dtype, layout or shape is an error that says name, expected,
// got.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "mlh/geometry/structure.hpp"

namespace mlh::bind {

namespace py = pybind11;

inline std::string shape_text(const py::array& a) {
  std::string text = "(";
  for (py::ssize_t d = 0; d < a.ndim(); ++d) text += (d ? ", " : "") + std::to_string(a.shape(d));
  return text + ")";
}

/// A C-contiguous array of T with the given shape (-1: any length), without a copy.
template <class T>
py::array_t<T, py::array::c_style> require(const py::object& object, const char* name,
                                           const std::vector<py::ssize_t>& shape) {
  const std::string what = std::string(name) + ": expected a C-contiguous array of " +
                           py::str(py::dtype::of<T>()).cast<std::string>() + ", got ";
  if (!py::isinstance<py::array>(object)) {
    throw py::type_error(what + py::str(py::type::of(object)).cast<std::string>());
  }
  const auto array = py::reinterpret_borrow<py::array>(object);
  if (!array.dtype().is(py::dtype::of<T>()) && array.dtype().num() != py::dtype::of<T>().num()) {
    throw py::type_error(what + py::str(array.dtype()).cast<std::string>());
  }
  if (!(array.flags() & py::array::c_style)) throw py::type_error(what + "another memory layout");
  bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
  std::string expected = "(";
  for (std::size_t d = 0; d < shape.size(); ++d) {
    fits = fits && (shape[d] < 0 || array.shape(static_cast<py::ssize_t>(d)) == shape[d]);
    expected += (d ? ", " : "") + (shape[d] < 0 ? std::string("any") : std::to_string(shape[d]));
  }
  if (!fits) {
    throw py::value_error(std::string(name) + ": expected shape " + expected + "), got " +
                          shape_text(array));
  }
  return py::reinterpret_borrow<py::array_t<T, py::array::c_style>>(object);
}

/// Moves a vector into a NumPy array that owns it; no copy.
template <class T>
py::array_t<T> take(std::vector<T>&& values, std::vector<py::ssize_t> shape = {}) {
  auto* owner = new std::vector<T>(std::move(values));
  const py::capsule guard(owner, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  if (shape.empty()) shape = {static_cast<py::ssize_t>(owner->size())};
  return py::array_t<T>(shape, owner->data(), guard);
}

/// Read-only view of memory owned by `base`.
template <class T>
py::array_t<T> view(const T* data, std::vector<py::ssize_t> shape, const py::handle& base) {
  py::array_t<T> array(std::move(shape), data, base);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

inline py::array_t<double> to_array(const std::vector<Vec3>& rows) {
  py::array_t<double> out({static_cast<py::ssize_t>(rows.size()), py::ssize_t{3}});
  auto m = out.mutable_unchecked<2>();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (int d = 0; d < 3; ++d) m(static_cast<py::ssize_t>(i), d) = rows[i][d];
  }
  return out;
}

inline py::array_t<double> to_array(const Mat3& m) {
  py::array_t<double> out({py::ssize_t{3}, py::ssize_t{3}});
  auto v = out.mutable_unchecked<2>();
  for (int a = 0; a < 3; ++a) {
    for (int b = 0; b < 3; ++b) v(a, b) = m(a, b);
  }
  return out;
}

}  // namespace mlh::bind
