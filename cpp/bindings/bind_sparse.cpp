// Block-sparse matrices at Gamma.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "arrays.hpp"
#include "bindings.hpp"
#include "mlh/sparse/block_sparse.hpp"

namespace mlh::bind {

namespace {

std::span<const double> numbers(const py::array_t<double, py::array::c_style>& a) {
  return {a.data(), static_cast<std::size_t>(a.size())};
}

/// A block-sparse matrix of either precision.
struct Matrix {
  std::variant<BlockSparse<float>, BlockSparse<double>> value;
};

/// f of the matrix in its own precision.
template <class F>
auto visit(const Matrix& A, const F& f) {
  return std::visit(f, A.value);
}

/// B, which must have the precision of A.
template <class Real>
const BlockSparse<Real>& same_precision(const BlockSparse<Real>&, const Matrix& B) {
  const auto* same = std::get_if<BlockSparse<Real>>(&B.value);
  if (same == nullptr) {
    throw std::invalid_argument("B: expected the precision of A, got the other one");
  }
  return *same;
}

/// f of two matrices, which must have one precision.
template <class F>
auto visit(const Matrix& A, const Matrix& B, const F& f) {
  return visit(A, [&](const auto& a) { return f(a, same_precision(a, B)); });
}

Matrix fold_checked(const Pattern& pattern, const py::object& data, const Matrix* like) {
  const auto array = require<double>(data, "data", {static_cast<py::ssize_t>(pattern.nnz())});
  const auto view = numbers(array);
  const py::gil_scoped_release release;
  if (like == nullptr) return {fold<double>(block_layout<double>(pattern), pattern, view)};
  return visit(*like, [&]<class Real>(const BlockSparse<Real>& l) -> Matrix {
    return {fold<Real>(l.shared_layout(), pattern, view)};
  });
}

py::array_t<double> unfold_checked(const Matrix& M, const Pattern& pattern) {
  std::vector<double> data;
  {
    const py::gil_scoped_release release;
    data = visit(M, [&](const auto& m) { return unfold(m, pattern); });
  }
  return take(std::move(data));
}

Matrix to_single_checked(const Matrix& M) {
  const auto* twice = std::get_if<BlockSparse<double>>(&M.value);
  return twice == nullptr ? M : Matrix{to_single(*twice)};
}

Matrix to_double_checked(const Matrix& M) {
  const auto* once = std::get_if<BlockSparse<float>>(&M.value);
  return once == nullptr ? M : Matrix{to_double(*once)};
}

std::int64_t n_orbitals(const Matrix& M) {
  return visit(M, [](const auto& m) { return m.layout().start.back(); });
}
std::int64_t n_columns(const Matrix& M) {
  return visit(M, [](const auto& m) { return m.columns().start.back(); });
}

/// One side of a matrix: that of the rows of another one, in double precision, or blocks of sizes.
std::shared_ptr<const BlockLayout> side(const py::object& from, const char* name) {
  if (py::isinstance<Matrix>(from)) {
    const auto* like = std::get_if<BlockSparse<double>>(&from.cast<const Matrix&>().value);
    if (like != nullptr) return like->shared_layout();
    throw std::invalid_argument(std::string(name) + ": expected a matrix in double precision");
  }
  return block_layout<double>(from.cast<std::vector<int>>());
}

Matrix assemble_checked(const py::object& rows, const py::object& columns, const py::object& i,
                        const py::object& j, const py::object& values) {
  const auto row_side = side(rows, "rows"), column_side = side(columns, "columns");
  const auto row = require<int>(i, "i", {-1});
  const auto column = require<int>(j, "j", {row.size()});
  const std::span<const int> r{row.data(), static_cast<std::size_t>(row.size())};
  const std::span<const int> c{column.data(), static_cast<std::size_t>(column.size())};
  py::ssize_t count = 0;
  for (std::size_t b = 0; b < r.size(); ++b) {
    const auto inside = [](int k, const BlockLayout& l) {
      return k >= 0 && static_cast<std::size_t>(k) < l.n_blocks();
    };
    if (!inside(r[b], *row_side) || !inside(c[b], *column_side) ||
        (b > 0 && (r[b] < r[b - 1] || (r[b] == r[b - 1] && c[b] <= c[b - 1])))) {
      throw std::invalid_argument("i, j: expected ascending places of blocks in the matrix");
    }
    count += row_side->size[static_cast<std::size_t>(r[b])] *
             column_side->size[static_cast<std::size_t>(c[b])];
  }
  const auto data = require<double>(values, "values", {count});
  return {assemble<double>(row_side, column_side, r, c, numbers(data))};
}

/// (i, j, values) of the stored blocks, as `assemble` takes them.
py::tuple blocks_of(const Matrix& M) {
  std::vector<int> row, column;
  std::vector<double> values;
  visit(M, [&](const auto& m) {
    for (std::size_t i = 0; i < m.n_rows(); ++i) {
      for (std::size_t b = 0; b < m.row(i).column.size(); ++b) {
        const auto j = static_cast<std::size_t>(m.row(i).column[b]);
        row.push_back(static_cast<int>(i));
        column.push_back(static_cast<int>(j));
        const auto* block = m.row(i).values.data() + m.row(i).offset[b];
        for (int a = 0; a < m.layout().size[i]; ++a, block += m.columns().stride[j]) {
          values.insert(values.end(), block, block + m.columns().size[j]);
        }
      }
    }
  });
  return py::make_tuple(take(std::move(row)), take(std::move(column)), take(std::move(values)));
}

Matrix selected(const Matrix& M, const std::vector<std::pair<const Matrix*, double>>& marks) {
  return visit(M, [&]<class Real>(const BlockSparse<Real>& a) -> Matrix {
    std::vector<Mark<Real>> all;
    for (const auto& [mark, limit] : marks) all.push_back({&same_precision(a, *mark), limit});
    return {select_blocks(a, all)};
  });
}

Matrix product(const Matrix& A, const Matrix& B, double screen, double drop, bool symmetric,
               const Pattern* pattern, const Matrix* wanted) {
  return visit(A, B, [&]<class Real>(const BlockSparse<Real>& a, const BlockSparse<Real>& b) {
    const Wanted<Real> which{pattern, wanted == nullptr ? nullptr : &same_precision(a, *wanted)};
    return Matrix{symmetric ? multiply_symmetric(a, b, {screen, drop}, which)
                            : multiply(a, b, {screen, drop}, which)};
  });
}

py::array_t<double> apply_checked(const Matrix& M, const py::object& x) {
  const auto array = require<double>(x, "x", {static_cast<py::ssize_t>(n_columns(M))});
  const auto view = numbers(array);
  std::vector<double> y;
  {
    const py::gil_scoped_release release;
    y = visit(M, [&](const auto& m) { return apply(m, view); });
  }
  return take(std::move(y));
}

py::array_t<double> apply_vectors_checked(const Matrix& M, const py::object& x) {
  const auto array =
      require<double>(x, "x", {static_cast<py::ssize_t>(n_columns(M)), py::ssize_t{kVectors}});
  const auto view = numbers(array);
  std::vector<double> y;
  {
    const py::gil_scoped_release release;
    y = visit(M, [&](const auto& m) { return apply_vectors(m, view); });
  }
  return take(std::move(y), {static_cast<py::ssize_t>(n_orbitals(M)), py::ssize_t{kVectors}});
}

Matrix joined(const std::vector<const Matrix*>& parts) {
  if (parts.empty()) throw std::invalid_argument("parts: expected at least 1, got none");
  return visit(*parts.front(), [&]<class Real>(const BlockSparse<Real>& first) -> Matrix {
    std::vector<const BlockSparse<Real>*> all;
    for (const Matrix* part : parts) all.push_back(&same_precision(first, *part));
    return {join_parts(all)};
  });
}

void return_free_pages() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace

void bind_sparse(py::module_& m) {
  using release = py::call_guard<py::gil_scoped_release>;
  py::class_<Matrix>(m, "BlockSparse",
                     "Block-sparse matrix at Gamma, one block per pair of atoms; immutable. Rows "
                     "or columns may also be groups of other functions.")
      .def_static("assemble", &assemble_checked, py::arg("rows"), py::arg("columns"), py::arg("i"),
                  py::arg("j"), py::arg("values"),
                  "Blocks (i, j), ascending, of values row-major; a side has the rows of a matrix "
                  "or blocks of the sizes given. In double precision.")
      .def("blocks", &blocks_of, "(i, j, values) of the stored blocks, as `assemble` takes them.")
      .def("select", &selected, py::arg("marks"), release(),
           "The blocks that one of the matrices of `marks` has with a norm above its limit.")
      .def_property_readonly(
          "row_sizes",
          [](const Matrix& M) { return visit(M, [](auto& a) { return a.layout().size; }); },
          "Orbitals of every row of blocks.")
      .def_property_readonly(
          "column_sizes",
          [](const Matrix& M) { return visit(M, [](auto& a) { return a.columns().size; }); })
      .def_property_readonly(
          "atoms",
          [](const Matrix& M) { return visit(M, [](auto& a) { return a.layout().atom; }); },
          "Atom of every row of blocks.")
      .def_property_readonly("n_columns", &n_columns)
      .def_static("fold", &fold_checked, py::arg("pattern"), py::arg("data"),
                  py::arg("like") = nullptr,
                  "sum_R M_ij(R) of a matrix on a Pattern; to be used together with `like`, in its "
                  "precision.")
      .def("unfold", &unfold_checked, py::arg("pattern"),
           "Blocks on a Pattern, the same for every image of a pair.")
      .def_property_readonly(
          "single", [](const Matrix& M) { return M.value.index() == 0; }, "Single precision.")
      .def("to_single", &to_single_checked, release(), "The matrix in single precision.")
      .def("to_double", &to_double_checked, release(), "The matrix in double precision.")
      .def_property_readonly("n_orbitals", &n_orbitals)
      .def_property_readonly(
          "n_atoms", [](const Matrix& M) { return visit(M, [](auto& a) { return a.n_rows(); }); })
      .def_property_readonly(
          "n_blocks",
          [](const Matrix& M) { return visit(M, [](auto& a) { return a.n_blocks(); }); })
      .def_property_readonly(
          "bytes", [](const Matrix& M) { return visit(M, [](auto& a) { return a.bytes(); }); })
      .def("apply", &apply_checked, py::arg("x"), "M x.")
      .def("apply_vectors", &apply_vectors_checked, py::arg("x"), "M x of 8 vectors, (n, 8).")
      .def(
          "trace", [](const Matrix& M) { return visit(M, [](auto& a) { return trace(a); }); },
          release(), "Tr M.")
      .def(
          "dot",
          [](const Matrix& M, const Matrix& B) {
            return visit(M, B, [](auto& a, auto& b) { return dot(a, b); });
          },
          py::arg("B"), release(), "Tr M^T B.")
      .def(
          "column_dots",
          [](const Matrix& M, const Matrix& B) {
            return take(visit(M, B, [](auto& a, auto& b) { return column_dots(a, b); }));
          },
          py::arg("B"), "Tr M^T B of every column of blocks.")
      .def(
          "transpose",
          [](const Matrix& M) { return visit(M, [](auto& a) { return Matrix{transpose(a)}; }); },
          release())
      .def(
          "row_part",
          [](const Matrix& M, std::size_t part, std::size_t parts) {
            return visit(M, [&](auto& a) { return Matrix{row_part(a, part, parts)}; });
          },
          py::arg("part"), py::arg("parts"), release(),
          "The rows of one part of `parts`, whole tiles of atoms; the others are empty.");
  m.def("sparse_join", &joined, py::arg("parts"), release(),
        "The matrix whose `row_part`s, or what was computed from them row by row, are given.");
  m.def("return_free_pages", &return_free_pages, release(),
        "Gives memory of deleted matrices back to the system: their rows have sizes that the "
        "allocator seldom finds a use for.");
  m.def(
      "sparse_combine",
      [](double a, const Matrix& A, double b, const Matrix& B, double c, double drop) {
        return visit(A, B, [&](auto& l, auto& r) { return Matrix{combine(a, l, b, r, c, drop)}; });
      },
      py::arg("a"), py::arg("A"), py::arg("b"), py::arg("B"), py::arg("c"), py::arg("drop"),
      release(), "a A + b B + c 1 without blocks up to `drop`.");
  m.def(
      "sparse_inverse_factor",
      [](const Matrix& S, const Matrix& reach) {
        return visit(S, reach, [](auto& s, auto& r) { return Matrix{local_inverse_factor(s, r)}; });
      },
      py::arg("S"), py::arg("reach"), release(),
      "Lower triangular G, G S G^T ~ 1, on the neighbourhoods `reach` of tiles of atoms.");
  m.def(
      "sparse_product", &product, py::arg("A"), py::arg("B"), py::arg("screen"), py::arg("drop"),
      py::arg("symmetric"), py::arg("pattern") = nullptr, py::arg("wanted") = nullptr, release(),
      "A B without products of blocks whose norms multiply to at most `screen` and without blocks "
      "up to `drop`; `symmetric` when the product is known to be; only on a Pattern, or where "
      "`wanted` has blocks, if given.");
}

}  // namespace mlh::bind
