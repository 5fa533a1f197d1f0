#pragma once
// Storage that starts at a vector register's boundary. The default allocator aligns to 16 bytes: a
// 64-byte load then crosses a cache line every time.

#include <Eigen/Core>
#include <vector>

namespace mlh {

using AlignedDoubles = std::vector<double, Eigen::aligned_allocator<double>>;

}  // namespace mlh
