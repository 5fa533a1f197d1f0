#include <omp.h>

#include <Eigen/Dense>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include "mlh/sparse/block_sparse.hpp"

using namespace mlh;

namespace {

using Dense = Eigen::MatrixXd;

/// A chain of atoms on a ring: orbitals 1, 4, 13, 18, 5, ... and blocks between neighbours up to
/// `range`.
Pattern ring(int n_atoms, int range) {
  constexpr int kinds[] = {1, 4, 13, 18, 5};
  Pattern p;
  for (int i = 0; i < n_atoms; ++i) p.n_orbitals.push_back(kinds[i % 5]);
  p.row_start = {0};
  p.offset = {0};
  for (int i = 0; i < n_atoms; ++i) {
    for (int j = 0; j < n_atoms; ++j) {
      for (int R = -1; R <= 1; ++R) {
        if (std::abs(j + R * n_atoms - i) > range) continue;
        p.atom_i.push_back(i);
        p.atom_j.push_back(j);
        p.cell.push_back({R, 0, 0});
        p.offset.push_back(p.offset.back() + p.n_orbitals[static_cast<std::size_t>(i)] *
                                                 p.n_orbitals[static_cast<std::size_t>(j)]);
      }
    }
    p.row_start.push_back(static_cast<std::int64_t>(p.atom_j.size()));
  }
  // Some order: every third atom, then the others.
  for (int first = 0; first < 3; ++first) {
    for (int i = first; i < n_atoms; i += 3) p.compact_order.push_back(i);
  }
  return p;
}

template <class Real = double>
BlockSparse<Real> blocks(const Pattern& p, const std::vector<double>& data) {
  return fold<Real>(block_layout<Real>(p), p, data);
}

std::vector<double> random_blocks(const Pattern& p, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> value(-1.0, 1.0);
  std::vector<double> data(static_cast<std::size_t>(p.nnz()));
  for (double& x : data) x = value(random);
  return data;
}

/// Place of every orbital of the layout in the order of the atoms.
std::vector<Eigen::Index> atom_order(const BlockLayout& layout) {
  std::vector<Eigen::Index> first(layout.n_blocks() + 1, 0), out;
  for (std::size_t a = 0; a < layout.n_blocks(); ++a) {
    first[a + 1] = first[a] + layout.size[static_cast<std::size_t>(layout.row[a])];
  }
  for (std::size_t r = 0; r < layout.n_blocks(); ++r) {
    for (int k = 0; k < layout.size[r]; ++k) {
      out.push_back(first[static_cast<std::size_t>(layout.atom[r])] + k);
    }
  }
  return out;
}

/// The matrix column by column, through `apply`; orbitals in the order of the atoms or (`rows`) of
/// the layout.
template <class Real>
Dense dense(const BlockSparse<Real>& M, bool rows = false) {
  const Eigen::Index n = M.layout().start.back();
  Dense out(n, n);
  for (Eigen::Index c = 0; c < n; ++c) {
    std::vector<double> unit(static_cast<std::size_t>(n), 0.0);
    unit[static_cast<std::size_t>(c)] = 1.0;
    const auto column = mlh::apply(M, unit);
    out.col(c) = Eigen::Map<const Eigen::VectorXd>(column.data(), n);
  }
  if (rows) return out;
  const auto place = atom_order(M.layout());
  Dense ordered(n, n);
  for (Eigen::Index a = 0; a < n; ++a) {
    for (Eigen::Index b = 0; b < n; ++b) {
      ordered(place[static_cast<std::size_t>(a)], place[static_cast<std::size_t>(b)]) = out(a, b);
    }
  }
  return ordered;
}

/// Direct sum over the pairs of a Pattern.
Dense folded(const Pattern& p, const std::vector<double>& data) {
  std::vector<Eigen::Index> start{0};
  for (const int n : p.n_orbitals) start.push_back(start.back() + n);
  Dense out = Dense::Zero(start.back(), start.back());
  for (std::size_t k = 0; k < p.n_pairs(); ++k) {
    const auto i = static_cast<std::size_t>(p.atom_i[k]), j = static_cast<std::size_t>(p.atom_j[k]);
    for (int a = 0; a < p.n_orbitals[i]; ++a) {
      for (int b = 0; b < p.n_orbitals[j]; ++b) {
        out(start[i] + a, start[j] + b) += data[static_cast<std::size_t>(p.offset[k]) +
                                                static_cast<std::size_t>(a * p.n_orbitals[j] + b)];
      }
    }
  }
  return out;
}

double difference(const Dense& a, const Dense& b) { return (a - b).cwiseAbs().maxCoeff(); }

/// 1e-13 in double precision.
template <class Real>
constexpr double kRounding = 500.0 * std::numeric_limits<Real>::epsilon();

/// Positive definite with a dominant diagonal.
template <class Real>
BlockSparse<Real> overlap(const BlockSparse<Real>& A) {
  const auto symmetric = combine(0.5, A, 0.5, transpose(A), 0.0, 0.0);
  return combine(0.02, symmetric, 0.0, symmetric, 1.0, 0.0);
}

}  // namespace

TEST_CASE("fold sums the images of a pair, unfold gives each its block", "[block_sparse]") {
  for (const int atoms : {2, 3, 11}) {
    const Pattern p = ring(atoms, 2);
    const auto data = random_blocks(p, 1);
    const auto M = blocks(p, data);
    CHECK(difference(dense(M), folded(p, data)) < 1e-14);
    // Every image carries the folded block, so that folding again counts the images.
    const auto back = unfold(M, p);
    const Dense again = folded(p, back);
    const auto ones = folded(p, std::vector<double>(data.size(), 1.0));
    CHECK(difference(again, dense(M).cwiseProduct(ones)) < 1e-13);
  }
}

TEMPLATE_TEST_CASE("elementwise operations and traces", "[block_sparse]", float, double) {
  const Pattern p = ring(11, 2), q = ring(11, 1);
  const auto A = blocks<TestType>(p, random_blocks(p, 1)),
             B = blocks<TestType>(q, random_blocks(q, 2));
  const Dense a = dense(A), b = dense(B);
  const Dense one = Dense::Identity(a.rows(), a.cols());
  CHECK(difference(dense(combine(2.0, A, -0.5, B, 3.0, 0.0)), 2.0 * a - 0.5 * b + 3.0 * one) <
        kRounding<TestType>);
  CHECK(difference(dense(transpose(A)), a.transpose()) == 0.0);
  CHECK(trace(A) == Approx(a.trace()).epsilon(kRounding<TestType>));
  CHECK(dot(A, B) == Approx(a.cwiseProduct(b).sum()).epsilon(kRounding<TestType>));
}

TEMPLATE_TEST_CASE("products are the dense ones for every size of block", "[block_sparse]", float,
                   double) {
  const Pattern p = ring(23, 3), q = ring(23, 1);
  const auto A = blocks<TestType>(p, random_blocks(p, 1)),
             B = blocks<TestType>(q, random_blocks(q, 2));
  CHECK(difference(dense(multiply(A, B, {})), dense(A) * dense(B)) < 10.0 * kRounding<TestType>);
  const auto product = multiply_symmetric(A, transpose(A), {});
  CHECK(difference(dense(product), dense(A) * dense(A).transpose()) < 10.0 * kRounding<TestType>);
  CHECK(difference(dense(product), dense(product).transpose()) == 0.0);
}

TEMPLATE_TEST_CASE("products on a Pattern have its blocks and no others", "[block_sparse]", float,
                   double) {
  const Pattern p = ring(23, 3), q = ring(23, 1);
  const auto A = blocks<TestType>(p, random_blocks(p, 1));
  const auto full = multiply(A, transpose(A), {});
  for (const auto& part :
       {multiply(A, transpose(A), {}, {&q}), multiply_symmetric(A, transpose(A), {}, {&q})}) {
    const auto pairs = static_cast<std::int64_t>(q.n_pairs());
    CHECK(part.n_blocks() == pairs);
    const auto expected = unfold(full, q), got = unfold(part, q);
    for (std::size_t k = 0; k < got.size(); ++k)
      CHECK(std::abs(got[k] - expected[k]) < 10.0 * kRounding<TestType>);
  }
  CHECK_THROWS_WITH(multiply(A, A, {}, {std::make_unique<Pattern>(ring(22, 1)).get()}),
                    Catch::Contains("expected the atoms of the matrix"));
}

TEST_CASE("parts of the rows join to the matrix, and so do their products", "[block_sparse]") {
  const Pattern p = ring(23, 3);
  const auto A = blocks(p, random_blocks(p, 1)), B = blocks(p, random_blocks(p, 2));
  for (const std::size_t parts : {1, 2, 3, 7}) {
    std::vector<BlockSparse<double>> part, product;
    for (std::size_t k = 0; k < parts; ++k) {
      part.push_back(row_part(A, k, parts));
      product.push_back(multiply(part.back(), B, {}));
      CHECK((parts == 1 || part.back().n_blocks() < A.n_blocks()));
    }
    std::vector<const BlockSparse<double>*> of_A, of_AB;
    for (std::size_t k = 0; k < parts; ++k) {
      of_A.push_back(&part[k]);
      of_AB.push_back(&product[k]);
    }
    CHECK(join_parts(of_A).n_blocks() == A.n_blocks());
    CHECK(difference(dense(join_parts(of_A)), dense(A)) == 0.0);
    CHECK(difference(dense(join_parts(of_AB)), dense(multiply(A, B, {}))) == 0.0);
  }
  CHECK_THROWS_WITH(join_parts<double>({}), Catch::Contains("parts: expected at least 1"));
  CHECK_THROWS_WITH(row_part(A, 2, 2), Catch::Contains("part: expected 0 to parts - 1 = 1, got 2"));
}

TEST_CASE("an order that is no permutation is an error", "[block_sparse]") {
  CHECK_THROWS_WITH(BlockLayout({4, 4, 4}, {0, 2, 2}, 8),
                    Catch::Contains("permutation of 3 atoms"));
  CHECK_THROWS_WITH(BlockLayout({4, 4, 4}, {0, 2}, 8), Catch::Contains("permutation of 3 atoms"));
  CHECK_THROWS_WITH(BlockLayout({4, 4}, {0, 2}, 8), Catch::Contains("permutation of 2 atoms"));
}

TEST_CASE("truncation leaves out what it says", "[block_sparse]") {
  const Pattern p = ring(23, 3);
  const auto A = blocks(p, random_blocks(p, 1)), B = blocks(p, random_blocks(p, 2));
  const Dense exact = dense(A, true) * dense(B, true);
  const auto full = multiply(A, B, {});
  const double drop = 6.0, screen = 8.0;
  const auto dropped = multiply(A, B, {0.0, drop});
  CHECK(dropped.n_blocks() < full.n_blocks());
  for (std::size_t i = 0; i < dropped.n_rows(); ++i) {
    for (const double norm : dropped.row(i).norm) CHECK(norm > drop);
  }
  // Sum of the skipped products of norms bounds the error of a block.
  const Dense error = dense(multiply(A, B, {screen, 0.0}), true) - exact;
  CHECK(error.cwiseAbs().maxCoeff() > 0.0);
  for (std::size_t i = 0; i < A.n_rows(); ++i) {
    for (std::size_t j = 0; j < A.n_rows(); ++j) {
      double bound = 1e-12;
      for (std::size_t x = 0; x < A.row(i).column.size(); ++x) {
        const auto& b = B.row(static_cast<std::size_t>(A.row(i).column[x]));
        for (std::size_t y = 0; y < b.column.size(); ++y) {
          const double norms = A.row(i).norm[x] * b.norm[y];
          if (b.column[y] == static_cast<int>(j) && !(norms > screen)) bound += norms;
        }
      }
      const auto& L = A.layout();
      CHECK(error.block(L.start[i], L.start[j], L.size[i], L.size[j]).norm() <= bound);
    }
  }
}

TEMPLATE_TEST_CASE("products do not depend on the number of threads", "[block_sparse]", float,
                   double) {
  const Pattern p = ring(40, 4);
  const auto A = blocks<TestType>(p, random_blocks(p, 1)),
             B = blocks<TestType>(p, random_blocks(p, 2));
  const int before = omp_get_max_threads();
  std::vector<std::vector<double>> results;
  for (const int threads : {1, 2, 3}) {
    omp_set_num_threads(threads);
    results.push_back(unfold(multiply_symmetric(A, transpose(A), {1.0, 1.0}), p));
    results.back().push_back(dot(A, B));
    results.back().push_back(trace(multiply(A, B, {1.0, 1.0})));
  }
  omp_set_num_threads(before);
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
}

TEMPLATE_TEST_CASE("local inverse factor: exact on whole rows, close on neighbourhoods",
                   "[block_sparse]", float, double) {
  const Pattern p = ring(17, 2), all = ring(17, 8);
  const auto S = overlap(blocks<TestType>(p, random_blocks(p, 3)));
  const Dense s = dense(S, true);
  const Dense one = Dense::Identity(s.rows(), s.cols());
  const auto everything =
      blocks<TestType>(all, std::vector<double>(static_cast<std::size_t>(all.nnz()), 1.0));
  const Dense G = dense(local_inverse_factor(S, everything), true);
  CHECK(difference(G * s * G.transpose(), one) < 10.0 * kRounding<TestType>);
  const Dense inverse_cholesky = s.llt().matrixL().solve(one);
  CHECK(difference(G, inverse_cholesky) < 10.0 * kRounding<TestType>);
  const Dense local = dense(local_inverse_factor(S, S), true);
  const double error = difference(local * s * local.transpose(), one);
  CHECK(error < 0.02);
  CHECK(error > 1e-8);
}

TEST_CASE("single precision keeps many small terms beside a large one", "[block_sparse]") {
  const Pattern p = ring(64, 32);
  std::vector<double> data(static_cast<std::size_t>(p.nnz()), 1.0 / 4096.0);
  for (std::size_t k = 0; k < p.n_pairs(); ++k) {
    const int n = p.n_orbitals[static_cast<std::size_t>(p.atom_i[k])];
    if (p.atom_i[k] != p.atom_j[k] || p.cell[k][0] != 0) continue;
    for (int a = 0; a < n; ++a) data[static_cast<std::size_t>(p.offset[k] + a * (n + 1))] = 1.0;
  }
  const auto A = blocks<float>(p, data);
  const auto B = blocks<double>(p, data);
  const double exact = trace(multiply(B, transpose(B), {}));
  const double large = static_cast<double>(B.layout().start.back());
  const double error = std::abs(trace(multiply(A, transpose(A), {})) - exact);
  // In the tile of the large term, an eighth of them, they are lost.
  CHECK(error < 0.125 * (exact - large));
}

TEST_CASE("double to single precision and back", "[block_sparse]") {
  const Pattern p = ring(11, 2);
  const auto A = blocks(p, random_blocks(p, 1));
  const auto single = to_single(A);
  CHECK(single.n_blocks() == A.n_blocks());
  CHECK(difference(dense(single), dense(A)) < 1e-7);
  const auto direct = blocks<float>(p, random_blocks(p, 1));
  CHECK(dot(combine(1.0, single, -1.0, direct, 0.0, 0.0), direct) == 0.0);
}

TEST_CASE("an indefinite overlap is an error that names the atom", "[block_sparse]") {
  const Pattern p = ring(5, 1);
  const auto A = blocks(p, random_blocks(p, 1));
  const auto S = combine(0.01, A, 0.01, transpose(A), -1.0, 0.0);
  CHECK_THROWS_WITH(local_inverse_factor(S, S), Catch::Contains("not positive definite"));
}

namespace {

/// n x m blocks of the given sizes with about every third one missing, and the same matrix dense.
template <class Real>
std::pair<BlockSparse<Real>, Dense> rectangular(const std::vector<int>& rows,
                                                const std::vector<int>& columns, unsigned seed) {
  const auto left = block_layout<Real>(rows), right = block_layout<Real>(columns);
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> value(-1.0, 1.0);
  std::vector<int> row, column;
  std::vector<double> values;
  Dense full = Dense::Zero(left->start.back(), right->start.back());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = 0; j < columns.size(); ++j) {
      if ((i + 2 * j + seed) % 3 == 0) continue;
      row.push_back(static_cast<int>(i));
      column.push_back(static_cast<int>(j));
      for (int a = 0; a < rows[i]; ++a) {
        for (int b = 0; b < columns[j]; ++b) {
          values.push_back(value(random));
          full(left->start[i] + a, right->start[j] + b) = values.back();
        }
      }
    }
  }
  return {assemble<Real>(left, right, row, column, values), full};
}

template <class Real>
Dense dense_rectangular(const BlockSparse<Real>& M) {
  Dense out(M.layout().start.back(), M.columns().start.back());
  for (Eigen::Index c = 0; c < out.cols(); ++c) {
    std::vector<double> unit(static_cast<std::size_t>(out.cols()), 0.0);
    unit[static_cast<std::size_t>(c)] = 1.0;
    const std::vector<double> y = mlh::apply(M, unit);
    out.col(c) = Eigen::Map<const Eigen::VectorXd>(y.data(), out.rows());
  }
  return out;
}

const std::vector<int> kAtoms{13, 13, 5, 9, 13, 13, 5, 13, 13, 4, 1, 13, 13, 8, 13, 13, 13, 2, 13};
const std::vector<int> kGroups{16, 16, 12, 16, 16, 7, 16, 16, 3, 16};

}  // namespace

TEMPLATE_TEST_CASE("rectangular matrices against dense ones", "[block_sparse]", float, double) {
  const double rounding = 30.0 * kRounding<TestType>;
  const auto [A, a] = rectangular<TestType>(kAtoms, kGroups, 1);
  const auto [B, b] = rectangular<TestType>(kGroups, kAtoms, 2);
  CHECK(difference(dense_rectangular(A), a) < rounding);
  CHECK(difference(dense_rectangular(transpose(A)), a.transpose()) < rounding);
  CHECK(difference(dense_rectangular(multiply(A, B, {})), a * b) < rounding);
  CHECK(difference(dense_rectangular(multiply(B, A, {})), b * a) < rounding);
  CHECK(difference(dense_rectangular(multiply_symmetric(transpose(A), A, {})), a.transpose() * a) <
        rounding);
  CHECK(difference(dense_rectangular(combine(2.0, A, 0.5, transpose(B), 0.0, 0.0)),
                   2.0 * a + 0.5 * b.transpose()) < rounding);
  CHECK(dot(A, transpose(B)) == Approx((a * b).trace()).epsilon(rounding));
  double sum = 0.0;
  for (const double part : column_dots(A, transpose(B))) sum += part;
  CHECK(sum == Approx((a * b).trace()).epsilon(rounding));
  CHECK(column_dots(A, A)[1] == Approx(a.middleCols(16, 16).squaredNorm()).epsilon(rounding));
  CHECK_THROWS_WITH(multiply(A, A, {}), Catch::Contains("expected blocks of the same sizes"));
  CHECK_THROWS_WITH(combine(1.0, A, 0.0, A, 1.0, 0.0), Catch::Contains("not square"));
  CHECK_THROWS_WITH(multiply_symmetric(A, multiply(B, A, {}), {}), Catch::Contains("square"));
}

TEMPLATE_TEST_CASE("vectors one beside the other", "[block_sparse]", float, double) {
  const auto [A, a] = rectangular<TestType>(kAtoms, kGroups, 1);
  Eigen::Matrix<double, -1, kVectors, Eigen::RowMajor> x =
      Eigen::MatrixXd::Random(a.cols(), kVectors);
  const auto count = static_cast<std::size_t>(x.size());
  const std::vector<double> y = apply_vectors(A, std::span<const double>(x.data(), count));
  const Eigen::Map<const Eigen::Matrix<double, -1, kVectors, Eigen::RowMajor>> found(
      y.data(), a.rows(), kVectors);
  CHECK((found - a * x).cwiseAbs().maxCoeff() < 30.0 * kRounding<TestType>);
}

TEST_CASE("a rectangular matrix in the other precision", "[block_sparse]") {
  const auto [A, a] = rectangular<double>(kAtoms, kGroups, 1);
  const auto single = to_single(A);
  CHECK(difference(dense_rectangular(single), a) < 30.0 * kRounding<float>);
  CHECK(difference(dense_rectangular(to_double(single)), dense_rectangular(single)) == 0.0);
}

TEMPLATE_TEST_CASE("only the blocks that another matrix has", "[block_sparse]", float, double) {
  const auto [A, a] = rectangular<TestType>(kAtoms, kGroups, 1);
  const auto [B, b] = rectangular<TestType>(kGroups, kAtoms, 2);
  const auto [W, w] = rectangular<TestType>(kAtoms, kAtoms, 3);
  const Dense there = (w.array() != 0.0).template cast<double>();
  const auto part = multiply(A, B, {}, {nullptr, &W});
  CHECK(difference(dense_rectangular(part), (a * b).cwiseProduct(there)) <
        30.0 * kRounding<TestType>);
  // A block stays where one of the two is above its limit.
  const auto [M, m] = rectangular<TestType>(kAtoms, kGroups, 2);
  const double limit = A.row(0).norm[0];
  const auto chosen = select_blocks<TestType>(A, {{&M, 0.0}, {&A, limit}});
  for (std::size_t i = 0; i < A.n_rows(); ++i) {
    for (std::size_t k = 0; k < A.row(i).column.size(); ++k) {
      const auto has = [j = A.row(i).column[k]](const std::vector<int>& columns) {
        return std::binary_search(columns.begin(), columns.end(), j);
      };
      CHECK(has(chosen.row(i).column) == (has(M.row(i).column) || A.row(i).norm[k] > limit));
    }
  }
}
