#pragma once
// What every benchmark shares: its command line, the structure, timers, the measured DGEMM rate and
// one JSON line per case.
//
//   bench_NAME structure.xyz [n, default 1] [repeats, default 5]      n x n x n copies of the cell

#include <omp.h>

#include <Eigen/Dense>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>

namespace mlh::bench {

/// Best of the repeats. `cpu` is the processor time of all threads: on a machine that others use
/// too, cpu / threads is what the wall time would be alone.
struct Timing {
  double wall = 1e30, cpu = 1e30;
};

inline double cpu_seconds() {
  std::timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

inline Timing best_time(int repeats, const std::function<void()>& work) {
  Timing best;
  for (int n = 0; n < repeats; ++n) {
    const auto start = std::chrono::steady_clock::now();
    const double cpu = cpu_seconds();
    work();
    best.cpu = std::min(best.cpu, cpu_seconds() - cpu);
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
    best.wall = std::min(best.wall, wall.count());
  }
  return best;
}

/// GFlop per second of processor time of large matrix products, one per thread: the ceiling for the
/// products of a kernel.
inline double dgemm_rate() {
  constexpr int n = 768;
  const int threads = omp_get_max_threads();
  const Timing t = best_time(5, [&] {
#pragma omp parallel num_threads(threads)
    {
      const Eigen::MatrixXd a = Eigen::MatrixXd::Constant(n, n, 0.5);
      Eigen::MatrixXd c(n, n);
      c.noalias() = a * a;
      c.noalias() = a * c;
    }
  });
  return 4.0 * n * n * n * threads / t.cpu * 1e-9;
}

/// Multiplications and additions that a kernel must do, and bytes that it must move to and from
/// memory; zero: not counted.
struct Floor {
  double gflop = 0.0, gbyte = 0.0;
};

/// One line; `fraction` is that of the DGEMM rate measured just before, both per processor second.
inline void report(const char* name, std::size_t atoms, const Timing& t, const Floor& floor = {}) {
  std::printf("{\"case\": \"%s\", \"atoms\": %zu, \"threads\": %d, \"wall_s\": %.4f, ", name, atoms,
              omp_get_max_threads(), t.wall);
  std::printf("\"cpu_per_thread_s\": %.4f", t.cpu / omp_get_max_threads());
  if (floor.gflop > 0.0) {
    const double rate = dgemm_rate();
    std::printf(", \"gflop\": %.2f, \"gbyte\": %.3f, \"dgemm_gflops_per_thread\": %.1f, ",
                floor.gflop, floor.gbyte, rate);
    std::printf("\"floor_s\": %.3f, \"fraction\": %.2f", floor.gflop / rate / omp_get_max_threads(),
                floor.gflop / t.cpu / rate);
  }
  std::printf("}\n");
  std::fflush(stdout);
}

struct Arguments {
  std::string structure;
  int copies = 1, repeats = 5;
};

/// The main function of a benchmark.
inline int run(int argc, char** argv, const std::function<void(const Arguments&)>& work) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s structure.xyz [copies per axis] [repeats]\n", argv[0]);
    return 2;
  }
  try {
    work({argv[1], argc > 2 ? std::stoi(argv[2]) : 1, argc > 3 ? std::stoi(argv[3]) : 5});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}

}  // namespace mlh::bench
