// Networks of bonds: energy, relaxation, bond-switching Monte Carlo.

#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <tuple>

#include "arrays.hpp"
#include "bindings.hpp"
#include "mlh/glass/bond_switching.hpp"
#include "mlh/glass/ring_statistics.hpp"

namespace mlh::bind {

namespace {

Network make_network(const py::object& is_former, const py::object& start,
                     const py::object& neighbors) {
  const auto former = require<bool>(is_former, "is_former", {-1});
  const auto first = require<int>(start, "start", {former.shape(0) + 1});
  const auto bonds = require<int>(neighbors, "neighbors", {-1, 4});
  Network network;
  network.is_former.assign(former.data(), former.data() + former.size());
  network.start.assign(first.data(), first.data() + first.size());
  for (std::size_t i = 0; i < network.size(); ++i) {
    if (network.start[i + 1] < network.start[i]) throw py::value_error("start: expected ascending");
  }
  if (network.start.front() != 0 || network.start.back() != bonds.shape(0)) {
    throw py::value_error("start: expected 0 to " + std::to_string(bonds.shape(0)));
  }
  for (py::ssize_t k = 0; k < bonds.shape(0); ++k) {
    network.neighbors.push_back({bonds.at(k, 0), {bonds.at(k, 1), bonds.at(k, 2), bonds.at(k, 3)}});
  }
  validate(network);
  return network;
}

py::array_t<int> neighbor_rows(const Network& network) {
  std::vector<int> rows;
  for (const Neighbor& n : network.neighbors) {
    rows.insert(rows.end(), {n.atom, n.shift[0], n.shift[1], n.shift[2]});
  }
  return take(std::move(rows), {static_cast<py::ssize_t>(network.neighbors.size()), 4});
}

std::vector<double> table(const py::object& object, const char* name, int n_species, int rank) {
  const std::vector<py::ssize_t> shape(static_cast<std::size_t>(rank), n_species);
  const auto array = require<double>(object, name, shape);
  return {array.data(), array.data() + array.size()};
}

NetworkPotential make_potential(const std::string& form, int n_species, const py::object& bond_k,
                                const py::object& bond_d, const py::object& angle_k,
                                const py::object& angle_c, const py::object& repulsion_k,
                                const py::object& repulsion_r) {
  if (form != "harmonic" && form != "keating") {
    throw py::value_error("form: expected harmonic or keating, got " + form);
  }
  NetworkPotential potential;
  potential.form = form == "harmonic" ? NetworkForm::harmonic : NetworkForm::keating;
  potential.n_species = n_species;
  potential.bond_stiffness = table(bond_k, "bond_stiffness", n_species, 2);
  potential.bond_length = table(bond_d, "bond_length", n_species, 2);
  potential.angle_stiffness = table(angle_k, "angle_stiffness", n_species, 3);
  potential.angle_cosine = table(angle_c, "angle_cosine", n_species, 3);
  potential.repulsion_stiffness = table(repulsion_k, "repulsion_stiffness", n_species, 2);
  potential.repulsion_range = table(repulsion_r, "repulsion_range", n_species, 2);
  validate(potential);
  return potential;
}

std::vector<int> all_atoms(const Structure& structure) {
  std::vector<int> atoms(structure.size());
  std::iota(atoms.begin(), atoms.end(), 0);
  return atoms;
}

void check(const Structure& structure, const Network& network, const NetworkPotential& potential) {
  if (structure.size() != network.size()) {
    throw py::value_error("network: expected " + std::to_string(structure.size()) + " atoms, got " +
                          std::to_string(network.size()));
  }
  for (const int s : structure.species) {
    if (s < 0 || s >= potential.n_species) {
      throw py::value_error("species: expected 0 to " + std::to_string(potential.n_species - 1) +
                            ", got " + std::to_string(s));
    }
  }
}

py::tuple energy(const Structure& structure, const Network& network,
                 const NetworkPotential& potential) {
  check(structure, network, potential);
  std::vector<Vec3> gradient;
  const std::vector<int> atoms = all_atoms(structure);
  const double value = energy_around(structure, network, potential, atoms, atoms, gradient);
  return py::make_tuple(value, to_array(gradient));
}

py::tuple relax(Structure structure, const Network& network, const NetworkPotential& potential,
                const RelaxationSettings& settings) {
  check(structure, network, potential);
  RelaxationResult result;
  {
    const py::gil_scoped_release release;
    result = relax_network(structure, network, potential, all_atoms(structure), settings,
                           settings.max_steps, GiveUp{});
  }
  return py::make_tuple(to_array(structure.positions), result.energy, result.largest_force,
                        result.steps, result.converged);
}

/// A run of bond-switching Monte Carlo: the state and what it moves by.
struct Switcher {
  SwitchingState state;
  NetworkPotential potential;
  SwitchingSettings settings;
};

std::unique_ptr<Switcher> make_switcher(Structure structure, Network network,
                                        NetworkPotential potential, SwitchingSettings settings,
                                        std::uint64_t seed) {
  check(structure, network, potential);
  auto switcher = std::make_unique<Switcher>(
      Switcher{SwitchingState{std::move(structure), std::move(network), Random(seed)},
               std::move(potential), settings});
  const py::gil_scoped_release release;
  start(switcher->state, switcher->potential, switcher->settings);
  return switcher;
}

using Counters = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t>;

std::unique_ptr<Switcher> restore_switcher(Structure structure, Network network,
                                           NetworkPotential potential, SwitchingSettings settings,
                                           const Random::State& random, double energy_now,
                                           const Counters& counters) {
  check(structure, network, potential);
  SwitchingState state{std::move(structure), std::move(network), Random(random), energy_now};
  std::tie(state.moves, state.accepted, state.forbidden, state.given_up, state.unconverged) =
      counters;
  return std::make_unique<Switcher>(Switcher{std::move(state), std::move(potential), settings});
}

py::tuple run_switcher(Switcher& switcher, const py::object& thermal_energies) {
  const auto kt = require<double>(thermal_energies, "thermal_energies", {-1});
  const auto count = static_cast<std::size_t>(kt.size());
  std::vector<double> energies(count);
  std::vector<std::uint8_t> accepted(count);
  {
    const py::gil_scoped_release release;
    run(switcher.state, switcher.potential, switcher.settings, {kt.data(), count}, energies,
        accepted);
  }
  return py::make_tuple(take(std::move(energies)), take(std::move(accepted)));
}

py::array_t<std::int64_t> rings(const py::object& start, const py::object& links, int max_size) {
  const auto first = require<int>(start, "start", {-1});
  const auto rows = require<int>(links, "links", {-1, 4});
  if (max_size < 3) throw py::value_error("max_size: expected at least 3");
  LinkGraph graph;
  graph.start.assign(first.data(), first.data() + first.size());
  if (graph.start.empty() || graph.start.front() != 0 || graph.start.back() != rows.shape(0) ||
      !std::is_sorted(graph.start.begin(), graph.start.end())) {
    throw py::value_error("start: expected ascending from 0 to " + std::to_string(rows.shape(0)));
  }
  for (py::ssize_t k = 0; k < rows.shape(0); ++k) {
    if (rows.at(k, 0) < 0 || rows.at(k, 0) >= graph.size()) {
      throw py::value_error("links: expected nodes 0 to " + std::to_string(graph.size() - 1));
    }
    graph.links.push_back({rows.at(k, 0), {rows.at(k, 1), rows.at(k, 2), rows.at(k, 3)}});
  }
  std::vector<std::int64_t> counts;
  {
    const py::gil_scoped_release release;
    counts = count_rings(graph, max_size);
  }
  return take(std::move(counts));
}

void bind_settings(py::module_& m) {
  py::class_<RelaxationSettings>(m, "RelaxationSettings", "See mlh/glass/network_relaxation.hpp.")
      .def(
          py::init([](double force_tolerance, int max_steps, double max_displacement, double skin) {
            return RelaxationSettings{force_tolerance, max_steps, max_displacement, skin};
          }),
          py::kw_only(), py::arg("force_tolerance"), py::arg("max_steps"),
          py::arg("max_displacement"), py::arg("skin"));
  py::class_<SwitchingSettings>(m, "SwitchingSettings", "See mlh/glass/bond_switching.hpp.")
      .def(py::init([](const RelaxationSettings& relaxation, double give_up_factor,
                       int local_shells, int local_steps, double penalty_three, double penalty_four,
                       int volume_interval, double volume_step, double pressure) {
             return SwitchingSettings{relaxation,      give_up_factor, local_shells,
                                      local_steps,     penalty_three,  penalty_four,
                                      volume_interval, volume_step,    pressure};
           }),
           py::kw_only(), py::arg("relaxation"), py::arg("give_up_factor"), py::arg("local_shells"),
           py::arg("local_steps"), py::arg("penalty_three"), py::arg("penalty_four"),
           py::arg("volume_interval"), py::arg("volume_step"), py::arg("pressure"));
}

void bind_switcher(py::module_& m) {
  py::class_<Switcher> switcher(m, "BondSwitcher", "Bond-switching Monte Carlo of one network.");
  switcher.def(py::init(&make_switcher), py::arg("structure"), py::arg("network"),
               py::arg("potential"), py::arg("settings"), py::arg("seed"));
  switcher.def_static("restore", &restore_switcher, py::arg("structure"), py::arg("network"),
                      py::arg("potential"), py::arg("settings"), py::arg("random"),
                      py::arg("energy"), py::arg("counters"));
  switcher.def("run", &run_switcher, py::arg("thermal_energies"),
               "One move per entry; returns (energy after each move, 1 where it was accepted).");
  switcher.def_property_readonly(
      "cell", [](const Switcher& s) { return to_array(s.state.structure.cell); });
  switcher.def_property_readonly(
      "positions", [](const Switcher& s) { return to_array(s.state.structure.positions); });
  switcher.def_property_readonly("neighbors",
                                 [](const Switcher& s) { return neighbor_rows(s.state.network); });
  switcher.def_property_readonly("energy", [](const Switcher& s) { return s.state.energy; });
  switcher.def_property_readonly("random",
                                 [](const Switcher& s) { return s.state.random.state(); });
  switcher.def_property_readonly("counters", [](const Switcher& s) {
    return Counters{s.state.moves, s.state.accepted, s.state.forbidden, s.state.given_up,
                    s.state.unconverged};
  });
}

}  // namespace

void bind_network(py::module_& m) {
  py::class_<Network>(m, "Network", "Bonds between formers and bridges; see mlh/glass/network.hpp.")
      .def(py::init(&make_network), py::arg("is_former"), py::arg("start"), py::arg("neighbors"))
      .def_property_readonly("neighbors", &neighbor_rows)
      .def("small_rings", [](const Network& n) {
        const SmallRings rings = count_small_rings(n);
        return std::make_pair(rings.three, rings.four);
      });
  py::class_<NetworkPotential>(m, "NetworkPotential", "See mlh/glass/network_potential.hpp.")
      .def(py::init(&make_potential), py::kw_only(), py::arg("form"), py::arg("n_species"),
           py::arg("bond_stiffness"), py::arg("bond_length"), py::arg("angle_stiffness"),
           py::arg("angle_cosine"), py::arg("repulsion_stiffness"), py::arg("repulsion_range"));
  bind_settings(m);
  m.def("network_energy", &energy, py::arg("structure"), py::arg("network"), py::arg("potential"),
        "(energy, dE/dtau (natoms, 3)) of all terms of a network.");
  m.def("relax_network", &relax, py::arg("structure"), py::arg("network"), py::arg("potential"),
        py::arg("settings"),
        "(positions (natoms, 3), energy, largest force component, steps, converged).");
  m.def("count_rings", &rings, py::arg("start"), py::arg("links"), py::arg("max_size"),
        "Shortest-path rings per cell by size (max_size + 1); see mlh/glass/ring_statistics.hpp.");
  bind_switcher(m);
}

}  // namespace mlh::bind
