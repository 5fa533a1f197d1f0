#include "geometry/point_order.hpp"

#include <algorithm>
#include <numeric>

namespace mlh::detail {

namespace {

using Iterator = std::vector<int>::iterator;

void halve(const std::vector<Vec3>& points, Iterator begin, Iterator end,
           const std::vector<int>& units, std::size_t level) {
  const auto size = end - begin;
  while (level < units.size() && size <= units[level]) ++level;
  if (level == units.size()) return;
  Vec3 low = points[static_cast<std::size_t>(*begin)], high = low;
  for (auto i = begin; i != end; ++i) {
    low = low.cwiseMin(points[static_cast<std::size_t>(*i)]);
    high = high.cwiseMax(points[static_cast<std::size_t>(*i)]);
  }
  int axis = 0;
  (high - low).maxCoeff(&axis);
  const auto unit = units[level];
  const auto pieces = (size + unit - 1) / unit;
  const auto middle = begin + (pieces + 1) / 2 * unit;
  // Ties are cut along the other axes and then by index, so that the order is unique.
  std::nth_element(begin, middle, end, [&](int a, int b) {
    const Vec3 &p = points[static_cast<std::size_t>(a)], &q = points[static_cast<std::size_t>(b)];
    for (int k = 0; k < 3; ++k) {
      const int d = (axis + k) % 3;
      if (p[d] != q[d]) return p[d] < q[d];
    }
    return a < b;
  });
  halve(points, begin, middle, units, level);
  halve(points, middle, end, units, level);
}

}  // namespace

std::vector<int> compact_order(const std::vector<Vec3>& points, const std::vector<int>& units) {
  std::vector<int> order(points.size());
  std::iota(order.begin(), order.end(), 0);
  if (!points.empty()) halve(points, order.begin(), order.end(), units, 0);
  return order;
}

}  // namespace mlh::detail
