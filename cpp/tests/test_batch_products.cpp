#include <Eigen/Dense>
#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "grid/batch_products.hpp"

using namespace mlh;
using namespace mlh::detail;

namespace {

using ColumnMatrix = Eigen::MatrixXd;
using RowMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr int kMaxWidth = 60;
constexpr double kUntouched = -77.0;

int padded_width(int n) { return (n + 7) / 8 * 8; }

/// Values in [-1, 1]; a fixed seed per shape.
template <class Matrix>
Matrix random_matrix(Eigen::Index rows, Eigen::Index columns) {
  std::mt19937 random(static_cast<unsigned>(1000 * rows + columns));
  std::uniform_real_distribution<double> value(-1.0, 1.0);
  return Matrix::NullaryExpr(rows, columns, [&] { return value(random); });
}

}  // namespace

TEST_CASE("multiply is the dense product for every width", "[batch_products]") {
  for (int n = 1; n <= kMaxWidth; ++n) {
    const ColumnMatrix phi = random_matrix<ColumnMatrix>(kBatch, n);
    const RowMatrix P = random_matrix<RowMatrix>(n, padded_width(n));
    ColumnMatrix X = ColumnMatrix::Constant(kBatch, n, kUntouched);
    multiply(phi.data(), n, P.data(), P.outerStride(), 0, n, X.data());
    INFO("width " << n);
    CHECK((X - phi.lazyProduct(P.leftCols(n))).cwiseAbs().maxCoeff() < 1e-13);
  }
}

TEST_CASE("multiply writes the columns it was asked for", "[batch_products]") {
  const int n = 31;
  const ColumnMatrix phi = random_matrix<ColumnMatrix>(kBatch, n);
  const RowMatrix P = random_matrix<RowMatrix>(n, padded_width(n));
  for (int begin = 0; begin < n; ++begin) {
    for (int end = begin; end <= n; ++end) {
      ColumnMatrix X = ColumnMatrix::Constant(kBatch, n, kUntouched);
      multiply(phi.data(), end, P.data(), P.outerStride(), begin, end, X.data());
      ColumnMatrix expected = ColumnMatrix::Constant(kBatch, n, kUntouched);
      expected.middleCols(begin, end - begin) =
          phi.leftCols(end).lazyProduct(P.block(0, begin, end, end - begin));
      REQUIRE((X - expected).cwiseAbs().maxCoeff() < 1e-13);
    }
  }
}

TEST_CASE("transpose pads with zeros", "[batch_products]") {
  for (int n = 1; n <= kMaxWidth; ++n) {
    const ColumnMatrix phi = random_matrix<ColumnMatrix>(kBatch, n);
    RowMatrix out = RowMatrix::Constant(kBatch, padded_width(n), kUntouched);
    transpose(phi.data(), n, out.outerStride(), out.data());
    INFO("width " << n);
    CHECK(out.leftCols(n) == phi);
    CHECK((out.rightCols(out.cols() - n).array() == 0.0).all());
  }
}

TEST_CASE("inner_product is the dense product for every width", "[batch_products]") {
  for (int n = 1; n <= kMaxWidth; ++n) {
    const ColumnMatrix left = random_matrix<ColumnMatrix>(kBatch, n);
    const ColumnMatrix right = random_matrix<ColumnMatrix>(kBatch, n + 100).leftCols(n);
    RowMatrix right_t(kBatch, padded_width(n));
    transpose(right.data(), n, right_t.outerStride(), right_t.data());
    RowMatrix M = RowMatrix::Constant(n, padded_width(n), kUntouched);
    inner_product(left.data(), right_t.data(), M.outerStride(), 0, n, 0, n, false, M.data());
    const RowMatrix expected = left.transpose().lazyProduct(right);
    INFO("width " << n);
    CHECK((M.leftCols(n) - expected).cwiseAbs().maxCoeff() < 1e-12);
    inner_product(left.data(), right_t.data(), M.outerStride(), 0, n, 0, n, true, M.data());
    CHECK((M.leftCols(n) - 2.0 * expected).cwiseAbs().maxCoeff() < 1e-12);
  }
}

TEST_CASE("inner_product of a row block reaches every column from its own on", "[batch_products]") {
  // The use of potential_matrix: rows of one atom, columns from its first orbital to the end.
  for (int n = 1; n <= kMaxWidth; ++n) {
    const ColumnMatrix phi = random_matrix<ColumnMatrix>(kBatch, n);
    RowMatrix phi_t(kBatch, padded_width(n));
    transpose(phi.data(), n, phi_t.outerStride(), phi_t.data());
    const RowMatrix expected = phi.transpose().lazyProduct(phi);
    for (const int count : {1, 3, 5, 9, 13}) {
      for (int row = 0; row < n; row += count) {
        const int rows = std::min(count, n - row);
        RowMatrix M = RowMatrix::Constant(n, padded_width(n), kUntouched);
        inner_product(phi.data(), phi_t.data(), M.outerStride(), row, rows, row, n, false,
                      M.data());
        const auto got = M.block(row, row, rows, n - row);
        REQUIRE((got - expected.block(row, row, rows, n - row)).cwiseAbs().maxCoeff() < 1e-12);
        REQUIRE((M.topRows(row).array() == kUntouched).all());
        REQUIRE((M.bottomRows(n - row - rows).array() == kUntouched).all());
      }
    }
  }
}
