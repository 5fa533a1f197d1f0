#pragma once

/// Exchange-correlation functionals, evaluated point by point by libxc.

#include <cstddef>
#include <string_view>

namespace mlh {

/// Functionals the package offers: PBE (gga_x_pbe + gga_c_pbe), PW92 (lda_x + lda_c_pw), PZ
/// (lda_x + lda_c_pz: Perdew and Zunger, PRB 23, 5048 (1981), of Ceperley and Alder's energies),
/// and PBE with the rounded constants of Perdew and Wang in its correlation, as in OpenMX
/// (xc/pbe_correlation.hpp; libxc's PW92 has them); pbe_openmx also holds the polarisation at 0.99
/// as OpenMX does, where the potential is no longer the derivative of the energy.
enum class Functional { pbe, lda_pw92, lda_pz, pbe_pw92, pbe_openmx };

/// Points with a total density below this (electrons/Bohr^3) contribute exact zeros.
inline constexpr double kXcDensityThreshold = 1e-14;

/// Where one spin holds less than half this share of the density, the spin interpolation of
/// correlation no longer follows it. d phi/dn of PBE's phi = [(1+zeta)^2/3 + (1-zeta)^2/3]/2 grows
/// as (1-zeta)^-1/3: without a bound the potential of an empty spin is hundreds of Hartree, and
/// noise. The energy changes by 1e-8 of a Hartree per fully polarised electron.
inline constexpr double kXcSpinThreshold = 1e-8;

/// "PBE", "PW92", "PZ", "PBE-PW92" or "PBE-OpenMX"; throws std::invalid_argument for any other
/// name.
Functional functional_from_name(std::string_view name);

/// True when the energy depends on the density gradient.
bool needs_gradient(Functional functional);

/// Energy density e(n_s, sigma_ss') and its first derivatives.
///
/// - density [n_points * nspin]: n, or (n_up, n_down) per point, electrons/Bohr^3
/// - sigma [n_points * (1|3)]: grad n . grad n, or (uu, ud, dd) per point; may be null for an LDA
/// - energy_density [n_points]: e = n eps_xc, Hartree/Bohr^3
/// - v_density [n_points * nspin]: de/dn_s
/// - v_sigma [n_points * (1|3)]: de/dsigma_ss' (zeros for an LDA; may then be null)
///
/// Every point is independent of all others and of the number of threads. Throws
/// std::invalid_argument when nspin is neither 1 nor 2 or a needed pointer is null.
void evaluate_xc(Functional functional, int nspin, std::size_t n_points, const double* density,
                 const double* sigma, double* energy_density, double* v_density, double* v_sigma);

/// How e, de/dn_s and de/dsigma_ss' change, to first order, when density and sigma change by
/// `density_change` and `sigma_change`; layouts and errors as of evaluate_xc.
void evaluate_xc_change(Functional functional, int nspin, std::size_t n_points,
                        const double* density, const double* sigma, const double* density_change,
                        const double* sigma_change, double* energy_density, double* v_density,
                        double* v_sigma);

}  // namespace mlh
