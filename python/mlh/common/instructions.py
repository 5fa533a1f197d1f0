"""Which of the compiled cores this processor runs: docs/architecture.md, Instruction sets.

The core is compiled several times, each time complete, for the levels x86-64-v2 (SSE4.2), v3 (AVX2, FMA) and
v4 (AVX-512) of the x86-64 psABI, or `plain` on other architectures, or `native` where asked for. Import takes
the best that the processor has; the environment variable MLH_ISA names another.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

ENVIRONMENT = "MLH_ISA"

# Flags of /proc/cpuinfo that each level adds (cx16: CMPXCHG16B, lahf_lm: LAHF, pni: SSE3, abm: LZCNT). Linux
# leaves out what it does not save on a change of processes.
_ADDED = {
    "x86-64-v2": {"cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"},
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
_PREFERENCE = ("native", *reversed(_ADDED), "plain")


def processor_levels(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """The levels of x86-64 that this processor has, lowest first; none on another architecture."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ()
    present = _flags(cpuinfo)
    levels: list[str] = []
    for level, added in _ADDED.items():
        if not added <= present:
            break
        levels.append(level)
    return tuple(levels)


def _flags(cpuinfo: Path) -> set[str]:
    """Features of the first processor in the list; where there is no such list, those of the lowest level."""
    try:
        with cpuinfo.open() as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "flags":
                    return set(value.split())
    except OSError:
        pass
    return _ADDED["x86-64-v2"]


def compiled_levels(folder: Path) -> tuple[str, ...]:
    """The levels that the core in the folder of the package was compiled for, best first."""
    present = {path.name.split(".")[1] for path in folder.glob(f"_core.*{EXTENSION_SUFFIXES[0]}")}
    return tuple(level for level in _PREFERENCE if level in present)


def chosen_level(compiled: Iterable[str], processor: Iterable[str], wanted: str | None) -> str:
    """The level to load: the one that is wanted, else the best compiled one that the processor has.

    Raises ImportError where there is none, ValueError where the wanted one is none of them.
    """
    compiled, processor = tuple(compiled), tuple(processor)
    if not compiled:
        raise ImportError(
            "mlh: the compiled core is missing: expected files mlh/_core.LEVEL"
            f"{EXTENSION_SUFFIXES[0]}, got none; install the package, or `make build` in its sources"
        )
    usable = tuple(level for level in compiled if level in ("native", "plain", *processor))
    if wanted:
        if wanted not in usable:
            why = "this processor does not have it" if wanted in compiled else "not compiled"
            expected = ", ".join(usable) or "nothing"
            raise ValueError(f"{ENVIRONMENT}: expected one of {expected}, got {wanted} ({why})")
        return wanted
    if not usable:
        raise ImportError(
            "mlh: this processor has none of the instruction sets that the core is compiled for: "
            f"{', '.join(compiled)}; build it here from source with CMAKE_ARGS=-DMLH_ISA=plain"
        )
    return usable[0]


def load_core(name: str, folder: Path) -> ModuleType:
    """The extension module for this processor, under that name (of a type in a pickle, for example)."""
    level = chosen_level(compiled_levels(folder), processor_levels(), os.environ.get(ENVIRONMENT))
    path = folder / f"_core.{level}{EXTENSION_SUFFIXES[0]}"
    spec = spec_from_file_location(name, path, loader=ExtensionFileLoader(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
