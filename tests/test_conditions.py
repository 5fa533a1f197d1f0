"""Chemical potentials of limiting conditions, by hand."""

from __future__ import annotations

import ase
import pytest

from mlh.defects.conditions import Compound, compound_of, limiting_potentials, parse_conditions
from mlh.structures import crystal

SIO2 = Compound({"O": 2, "Si": 1}, -9.0)


def test_both_ends_of_a_binary_host() -> None:
    assert limiting_potentials("O", SIO2).potentials == {"O": 0.0, "Si": -9.0}
    assert limiting_potentials("Si", SIO2).potentials == {"Si": 0.0, "O": -4.5}


def test_a_compound_of_the_same_elements_narrows_the_range() -> None:
    """SiO at -5 eV: 2 mu_O + mu_Si = -9 and mu_O + mu_Si <= -5 leave mu_O >= -4, mu_Si <= -1."""
    found = limiting_potentials("Si", SIO2, [Compound({"O": 1, "Si": 1}, -5.0)])
    assert found.potentials == pytest.approx({"Si": -1.0, "O": -4.0})
    with pytest.raises(ValueError, match="stable beside SiO"):
        limiting_potentials("Si", SIO2, [Compound({"O": 1, "Si": 1}, -9.5)])


def test_an_impurity_is_limited_by_its_own_compounds() -> None:
    """Water at -2.5 eV: 2 mu_H + mu_O <= -2.5."""
    water = Compound({"H": 2, "O": 1}, -2.5)
    rich = limiting_potentials("O", SIO2, [water], ["H"])
    assert rich.potentials == pytest.approx({"O": 0.0, "Si": -9.0, "H": -1.25})
    poor = limiting_potentials("Si", SIO2, [water], ["H"])
    assert poor.potentials == pytest.approx({"O": -4.5, "Si": 0.0, "H": 0.0})


def test_a_ternary_host_is_taken_to_a_corner() -> None:
    host = Compound({"Ba": 1, "O": 3, "Ti": 1}, -16.0)
    found = limiting_potentials(
        "O", host, [Compound({"O": 2, "Ti": 1}, -9.5), Compound({"Ba": 1, "O": 1}, -5.5)]
    )
    assert found.potentials == pytest.approx({"O": 0.0, "Ba": -5.5, "Ti": -10.5}, abs=1e-6)


def test_formation_energy_of_a_cell() -> None:
    quartz = crystal("alpha-quartz")
    compound = compound_of(quartz, 3 * -1000.0, {"Si": -100.0, "O": -445.0})
    assert dict(compound.formula) == {"O": 2, "Si": 1} and compound.formation_energy == pytest.approx(-10.0)
    assert str(compound) == "SiO2"
    with pytest.raises(ValueError, match=r"got none of \['Si'\]"):
        compound_of(quartz, -3000.0, {"O": -445.0})


def test_what_is_no_condition_is_refused_in_words() -> None:
    assert parse_conditions("Si-rich") == "Si"
    for text in ("O", "rich", "O-poor", "-rich"):
        with pytest.raises(ValueError, match="conditions: expected a form such as O-rich"):
            parse_conditions(text)
    with pytest.raises(ValueError, match="an element of"):
        limiting_potentials("N", SIO2)
    with pytest.raises(ValueError, match="stable against its elements"):
        limiting_potentials("O", compound_of(ase.Atoms("SiO2"), 1.0, {"Si": 0.0, "O": 0.0}))
