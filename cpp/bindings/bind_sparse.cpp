// Block-sparse matrices at Gamma.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>

#include "arrays.hpp"
#include "bindings.hpp"
#include "mlh/block_sparse.hpp"

namespace mlh::bind {

namespace {

std::span<const double> numbers(const py::array_t<double, py::array::c_style>& a) {
  return {a.data(), static_cast<std::size_t>(a.size())};
}

BlockSparse fold_checked(const Pattern& pattern, const py::object& data, const BlockSparse* like) {
  const auto array = require<double>(data, "data", {static_cast<py::ssize_t>(pattern.nnz())});
  const auto view = numbers(array);
  const py::gil_scoped_release release;
  return fold(like != nullptr ? like->shared_layout() : block_layout(pattern), pattern, view);
}

py::array_t<double> unfold_checked(const BlockSparse& M, const Pattern& pattern) {
  std::vector<double> data;
  {
    const py::gil_scoped_release release;
    data = unfold(M, pattern);
  }
  return take(std::move(data));
}

py::array_t<double> apply_checked(const BlockSparse& M, const py::object& x) {
  const auto array = require<double>(x, "x", {static_cast<py::ssize_t>(M.layout().start.back())});
  const auto view = numbers(array);
  std::vector<double> y;
  {
    const py::gil_scoped_release release;
    y = apply(M, view);
  }
  return take(std::move(y));
}

}  // namespace

void bind_sparse(py::module_& m) {
  using release = py::call_guard<py::gil_scoped_release>;
  py::class_<BlockSparse>(m, "BlockSparse",
                          "Block-sparse matrix at Gamma, one block per pair of atoms; immutable.")
      .def_static("fold", &fold_checked, py::arg("pattern"), py::arg("data"),
                  py::arg("like") = nullptr,
                  "sum_R M_ij(R) of a matrix on a Pattern; to be used together with `like`.")
      .def("unfold", &unfold_checked, py::arg("pattern"),
           "Blocks on a Pattern, the same for every image of a pair.")
      .def(
          "identity", [](const BlockSparse& M) { return identity(M.shared_layout()); }, release(),
          "The unit matrix with the same blocks.")
      .def_property_readonly("n_orbitals",
                             [](const BlockSparse& M) { return M.layout().start.back(); })
      .def_property_readonly("n_atoms", &BlockSparse::n_rows)
      .def_property_readonly("n_blocks", &BlockSparse::n_blocks)
      .def_property_readonly("bytes", &BlockSparse::bytes)
      .def("apply", &apply_checked, py::arg("x"), "M x.")
      .def("trace", &trace, release(), "Tr M.")
      .def("dot", &dot, py::arg("B"), release(), "Tr M^T B.")
      .def("transpose", &transpose, release())
      .def("row_part", &row_part, py::arg("part"), py::arg("parts"), release(),
           "The rows of one part of `parts`, whole tiles of atoms; the others are empty.");
  m.def("sparse_combine", &combine, py::arg("a"), py::arg("A"), py::arg("b"), py::arg("B"),
        py::arg("c"), py::arg("drop"), release(), "a A + b B + c 1 without blocks up to `drop`.");
  m.def("sparse_inverse_factor", &local_inverse_factor, py::arg("S"), py::arg("reach"), release(),
        "Lower triangular G, G S G^T ~ 1, on the neighbourhoods `reach` of tiles of atoms.");
  m.def(
      "sparse_product",
      [](const BlockSparse& A, const BlockSparse& B, double screen, double drop, bool symmetric,
         const Pattern* pattern) {
        return (symmetric ? multiply_symmetric : multiply)(A, B, {screen, drop}, pattern);
      },
      py::arg("A"), py::arg("B"), py::arg("screen"), py::arg("drop"), py::arg("symmetric"),
      py::arg("pattern") = nullptr, release(),
      "A B without products of blocks whose norms multiply to at most `screen` and without blocks "
      "up to `drop`; `symmetric` when the product is known to be; only on a Pattern if given.");
}

}  // namespace mlh::bind
