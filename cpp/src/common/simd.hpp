#pragma once
// Internal: the vector register of the machine that compiles, in the compiler's vector extension,
// and how many of them a tile may use. A vector wider than the register would be split by the
// compiler into pieces kept in memory, at a tenth of the speed.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace mlh::detail {

#if defined(__AVX512F__)
inline constexpr int kLanes = 8;
inline constexpr int kRegisters = 32;
#elif defined(__AVX__)
inline constexpr int kLanes = 4;
inline constexpr int kRegisters = 16;
#elif defined(__aarch64__)
inline constexpr int kLanes = 2;
inline constexpr int kRegisters = 32;
#else
inline constexpr int kLanes = 2;
inline constexpr int kRegisters = 16;
#endif

template <class Real>
struct Register {
  static constexpr int lanes = 8 * kLanes / static_cast<int>(sizeof(Real));
  typedef Real Type __attribute__((vector_size(8 * kLanes)));  // as an alias GCC drops it
};
using Vec = Register<double>::Type;

/// Any alignment: the allocator of a portable build aligns to 16 bytes only.
template <class Real>
inline typename Register<Real>::Type load(const Real* p) {
  typename Register<Real>::Type v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class Real>
inline void store(Real* p, const typename Register<Real>::Type& v) {
  std::memcpy(p, &v, sizeof v);
}

/// Calls f(std::integral_constant<std::size_t, k>) for k in [0, n): straight-line code, so that an
/// array indexed by k stays in registers.
template <std::size_t n, class F>
[[gnu::always_inline]] inline void unroll(F&& f) {
  [&]<std::size_t... k>(std::index_sequence<k...>) {
    (f(std::integral_constant<std::size_t, k>{}), ...);
  }
  (std::make_index_sequence<n>{});
}

namespace lanes {

using Index = std::int64_t __attribute__((vector_size(8 * kLanes)));

/// Lane i of the result: lane from(i) of a, or lane from(i) - kLanes of b.
template <class From, int... i>
[[gnu::always_inline]] inline Vec shuffle(const Vec& a, const Vec& b, From,
                                          std::integer_sequence<int, i...>) {
  constexpr From from{};
#if defined(__clang__)
  return __builtin_shufflevector(a, b, from(i)...);
#else
  return __builtin_shuffle(a, b, Index{from(i)...});
#endif
}
template <class From>
[[gnu::always_inline]] inline Vec shuffle(const Vec& a, const Vec& b, From from) {
  return shuffle(a, b, from, std::make_integer_sequence<int, kLanes>{});
}

/// a, and b in the lanes with bit h.
template <int h>
struct Own {
  constexpr int operator()(int i) const { return (i & h) != 0 ? kLanes + i : i; }
};
/// The lane with the other value of bit h, of a or of b as in Own.
template <int h>
struct Partner {
  constexpr int operator()(int i) const { return (i & h) != 0 ? kLanes + (i ^ h) : i ^ h; }
};
/// First and second rows of a transposed pair of rows at distance h.
template <int h>
struct Low {
  constexpr int operator()(int i) const { return (i & h) != 0 ? kLanes + i - h : i; }
};
template <int h>
struct High {
  constexpr int operator()(int i) const { return (i & h) != 0 ? kLanes + i : i + h; }
};

template <int h>
[[gnu::always_inline]] inline void transpose_step(Vec (&v)[kLanes]) {
  if constexpr (h < kLanes) {
    for (int i = 0; i < kLanes; ++i) {
      if ((i & h) != 0) continue;
      const Vec a = v[i], b = v[i + h];
      v[i] = shuffle(a, b, Low<h>{});
      v[i + h] = shuffle(a, b, High<h>{});
    }
    transpose_step<2 * h>(v);
  }
}

template <int h>
[[gnu::always_inline]] inline Vec sum_step(const Vec* v) {
  if constexpr (h == 0) {
    return v[0];
  } else {
    const Vec a = sum_step<h / 2>(v), b = sum_step<h / 2>(v + h);
    return shuffle(a, b, Own<h>{}) + shuffle(a, b, Partner<h>{});
  }
}

}  // namespace lanes

/// v[i][j] <-> v[j][i]
[[gnu::always_inline]] inline void transpose(Vec (&v)[kLanes]) { lanes::transpose_step<1>(v); }

/// The sum of the two halves of a register of floats, as doubles; doubles as they are.
[[gnu::always_inline]] inline Vec folded(const Vec& v) { return v; }
[[gnu::always_inline]] inline Vec folded(const Register<float>::Type& v) {
  typedef float Half __attribute__((vector_size(4 * kLanes)));
  Half low, high;
  std::memcpy(&low, &v, sizeof low);
  std::memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof low, sizeof high);
  return __builtin_convertvector(low + high, Vec);
}

/// Lanes of doubles stored as they are, or rounded to floats.
inline void store_as(double* p, const Vec& v) { store(p, v); }
inline void store_as(float* p, const Vec& v) {
  typedef float Half __attribute__((vector_size(4 * kLanes)));
  const Half rounded = __builtin_convertvector(v, Half);
  std::memcpy(p, &rounded, sizeof rounded);
}

/// Lane i of the result: the sum of the lanes of v[i].
[[gnu::always_inline]] inline Vec sums(const Vec (&v)[kLanes]) {
  return lanes::sum_step<kLanes / 2>(v);
}

}  // namespace mlh::detail
