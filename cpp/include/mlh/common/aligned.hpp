#pragma once
// Storage that starts at a vector register's boundary. The default allocator aligns to 16 bytes: a
// 64-byte load then crosses a cache line every time.

#include <Eigen/Core>
#include <vector>

namespace mlh {

template <class Real>
using AlignedVector = std::vector<Real, Eigen::aligned_allocator<Real>>;
using AlignedDoubles = AlignedVector<double>;

}  // namespace mlh
