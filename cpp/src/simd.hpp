#pragma once
// Internal: the vector register of the machine that compiles, in the compiler's vector extension,
// and how many of them a tile may use. A vector wider than the register would be split by the
// compiler into pieces kept in memory, at a tenth of the speed.

#include <cstring>

namespace mlh::detail {

#if defined(__AVX512F__)
inline constexpr int kLanes = 8;
inline constexpr int kRegisters = 32;
#elif defined(__AVX__)
inline constexpr int kLanes = 4;
inline constexpr int kRegisters = 16;
#else
inline constexpr int kLanes = 2;
inline constexpr int kRegisters = 16;
#endif

using Vec = double __attribute__((vector_size(8 * kLanes)));

/// Any alignment: the allocator of a portable build aligns to 16 bytes only.
inline Vec load(const double* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(double* p, const Vec& v) { std::memcpy(p, &v, sizeof v); }

}  // namespace mlh::detail
