#pragma once
// Internal: a block-sparse matrix seen as tiles of kTileAtoms x kTileAtoms blocks. Atoms of a tile
// are near each other, so that most of its blocks exist, and a product of two tiles reads each
// block from memory once for kTileAtoms products.

#include <algorithm>
#include <array>
#include <vector>

#include "mlh/sparse/block_sparse.hpp"

namespace mlh::detail {

/// [outer][inner]: of rows and columns the one summed over in the product is the inner one.
template <class T>
using TileTable = std::array<std::array<T, kTileAtoms>, kTileAtoms>;

template <class Real>
struct Tile {
  int column;                             ///< in tiles
  double largest = 0.0;                   ///< norm
  std::array<double, kTileAtoms> line{};  ///< largest norm of each outer index
  TileTable<double> norm{};               ///< Frobenius; zero where there is no block
  TileTable<const Real*> block{};
};

/// Tiles of one row of tiles, columns ascending.
template <class Real>
using TileRow = std::vector<Tile<Real>>;

template <class Real>
inline std::size_t tile_rows(const BlockSparse<Real>& M) {
  return (M.n_rows() + kTileAtoms - 1) / kTileAtoms;
}

/// Row I of tiles. inner_columns: the columns are summed over (left factor), else the rows (right).
template <class Real>
inline TileRow<Real> tile_row(const BlockSparse<Real>& M, std::size_t I, bool inner_columns) {
  std::vector<int> columns;
  const std::size_t begin = I * kTileAtoms, end = std::min(begin + kTileAtoms, M.n_rows());
  for (std::size_t i = begin; i < end; ++i) {
    for (const int j : M.row(i).column) columns.push_back(j / kTileAtoms);
  }
  std::sort(columns.begin(), columns.end());
  columns.erase(std::unique(columns.begin(), columns.end()), columns.end());
  TileRow<Real> tiles(columns.size());
  for (std::size_t t = 0; t < columns.size(); ++t) tiles[t].column = columns[t];
  for (std::size_t i = begin; i < end; ++i) {
    const BlockRow<Real>& row = M.row(i);
    std::size_t t = 0;
    for (std::size_t b = 0; b < row.column.size(); ++b) {
      while (tiles[t].column < row.column[b] / kTileAtoms) ++t;
      const auto r = i - begin, c = static_cast<std::size_t>(row.column[b] % kTileAtoms);
      const std::size_t outer = inner_columns ? r : c, inner = inner_columns ? c : r;
      Tile<Real>& tile = tiles[t];
      tile.norm[outer][inner] = row.norm[b];
      tile.block[outer][inner] = row.values.data() + row.offset[b];
      tile.line[outer] = std::max(tile.line[outer], row.norm[b]);
      tile.largest = std::max(tile.largest, row.norm[b]);
    }
  }
  return tiles;
}

}  // namespace mlh::detail
