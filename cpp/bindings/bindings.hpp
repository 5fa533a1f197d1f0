#pragma once
// What module.cpp registers: one function per group, each defined in the bind_*.cpp of its name.

#include <pybind11/pybind11.h>

namespace mlh::bind {

void bind_structure(pybind11::module_& m);   // Structure, SpeciesData, BasisData, Pattern
void bind_two_center(pybind11::module_& m);  // overlap, kinetic, nonlocal, core repulsion
void bind_grid(pybind11::module_& m);        // uniform grid, density, potential matrices, gradients
void bind_sparse(pybind11::module_& m);      // block-sparse matrices at Gamma
void bind_network(pybind11::module_& m);     // networks of bonds, bond switching, rings
void bind_openmx(pybind11::module_& m);      // kernels of the integration that follows OpenMX

}  // namespace mlh::bind

namespace mlh {

void bind_xc(pybind11::module_& m);  // exchange and correlation (libxc)

}  // namespace mlh
