#pragma once
// Random numbers whose whole state is four integers, the same on every machine and standard
// library.

#include <array>
#include <bit>
#include <cstdint>

namespace mlh {

/// xoshiro256++ 1.0 (Blackman, Vigna, ACM Trans. Math. Softw. 47, 36 (2021)), seeded by splitmix64.
class Random {
 public:
  using State = std::array<std::uint64_t, 4>;

  explicit Random(std::uint64_t seed) {
    for (auto& word : state_) {
      seed += 0x9e3779b97f4a7c15ULL;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
      word = z ^ (z >> 31);
    }
  }
  explicit Random(const State& state) : state_(state) {}

  const State& state() const { return state_; }

  std::uint64_t next() {
    const std::uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Uniform in (0, 1]: its logarithm is finite.
  double uniform() { return (static_cast<double>(next() >> 11) + 1.0) * 0x1.0p-53; }

  /// Uniform in 0 .. count-1, without the bias of a plain remainder.
  int below(int count) {
    const auto range = static_cast<std::uint64_t>(count);
    const std::uint64_t limit = UINT64_MAX - UINT64_MAX % range;
    std::uint64_t value = next();
    while (value >= limit) value = next();
    return static_cast<int>(value % range);
  }

 private:
  State state_{};
};

}  // namespace mlh
