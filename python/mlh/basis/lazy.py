"""A basis of many elements whose species are made when they are first looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mlh.basis.species import Basis, Species


class LazyBasis(Basis):
    """Every element that a set offers; a species is made on its first lookup.

    `species`, `fingerprint` and `to_core` ask for all of them: take `subset` first.
    """

    def __init__(self, symbols: Iterable[str], make: Callable[[str], Species], name: str) -> None:
        self._offered = tuple(symbols)
        self._make = make
        self._made: dict[str, Species] = {}
        self._name = name

    @property
    def species(self) -> tuple[Species, ...]:
        """All species, made where needed."""
        return tuple(self[symbol] for symbol in self._offered)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbols of the set."""
        return self._offered

    def __getitem__(self, symbol: str) -> Species:
        if symbol not in self._made:
            self.index(symbol)
            self._made[symbol] = self._make(symbol)
        return self._made[symbol]
