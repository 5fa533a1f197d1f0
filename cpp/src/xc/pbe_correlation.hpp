#pragma once
// Correlation of Perdew, Burke, Ernzerhof (PRL 77, 3865 (1996)) with the rounded constants of
// Perdew and Wang (PRB 45, 13244 (1992), table I), as OpenMX 3.9 has it: A = 0.031091 where libxc's
// PBE uses 0.0310907, which shifts E_c by 1e-5 of its value.

namespace mlh::detail {

/// Of one point: e = n eps_c and its derivatives.
struct Correlation {
  double energy = 0.0;
  double up = 0.0, down = 0.0;  ///< de/dn_up, de/dn_down
  double sigma = 0.0;           ///< de/d(|grad n|^2), n the total density
};

/// Unpolarised: n, sigma = |grad n|^2; `up` = `down` = de/dn.
Correlation pbe_correlation(double n, double sigma);

/// Collinear spin; densities below the floor count as the floor. largest_zeta: the polarisation is
/// held there in magnitude, as OpenMX does at 0.99 (energy and potential then do not fit).
Correlation pbe_correlation(double n_up, double n_down, double sigma, double largest_zeta = 1.0);

/// How e and its derivatives change, to first order, along (dn, dsigma).
Correlation pbe_correlation_change(double n, double sigma, double dn, double dsigma);
Correlation pbe_correlation_change(double n_up, double n_down, double sigma, double dn_up,
                                   double dn_down, double dsigma, double largest_zeta = 1.0);

}  // namespace mlh::detail
