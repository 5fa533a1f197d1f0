#pragma once
// Internal: an initialised functional (libxc and `pbe_correlation`), for callers that go through
// their points chunk by chunk.

#include <xc.h>

#include <cstddef>

#include "mlh/xc/xc.hpp"

namespace mlh::detail {

class XcEvaluator {
 public:
  /// Points per call of libxc: its scratch stays in the L1 cache.
  static constexpr std::size_t kChunk = 256;

  XcEvaluator(Functional functional, int nspin);
  ~XcEvaluator();
  XcEvaluator(const XcEvaluator&) = delete;
  XcEvaluator& operator=(const XcEvaluator&) = delete;
  XcEvaluator(XcEvaluator&&) = delete;
  XcEvaluator& operator=(XcEvaluator&&) = delete;

  /// evaluate_xc on at most kChunk points, by the calling thread.
  void operator()(std::size_t n_points, const double* density, const double* sigma,
                  double* energy_density, double* v_density, double* v_sigma) const noexcept;

  /// evaluate_xc_change likewise.
  void change(std::size_t n_points, const double* density, const double* sigma,
              const double* density_change, const double* sigma_change, double* energy_density,
              double* v_density, double* v_sigma) const noexcept;

 private:
  bool gradient_;
  std::size_t nspin_;
  bool own_correlation_ = false;  ///< `pbe_correlation` in place of libxc's
  double largest_zeta_ = 1.0;     ///< of that
  xc_func_type exchange_{}, correlation_{};
};

}  // namespace mlh::detail
