"""CPU time of bond-switching moves at the start of the melt.

python bench/python/bond_switching.py 96 1008
"""

from __future__ import annotations

import argparse
import time

from mlh.structures import amorphous, load_recipe
from mlh.structures.recipe import Recipe


def main() -> None:
    """One line per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("atoms", type=int, nargs="+")
    parser.add_argument("--moves", type=int, default=200)
    arguments = parser.parse_args()
    content = load_recipe("SiO2").model_dump()
    content["schedule"].update({"melt_moves": arguments.moves, "quench_moves": 0})
    for atoms in arguments.atoms:
        start = time.process_time()
        run = amorphous(Recipe.model_validate(content), atoms=atoms, seed=1)
        seconds = time.process_time() - start
        print(
            f"{atoms} atoms: {seconds:.1f} s, {arguments.moves / seconds:.0f} moves/s, "
            f"{run.counters['accepted']} accepted, {run.counters['given_up']} given up"
        )


if __name__ == "__main__":
    main()
