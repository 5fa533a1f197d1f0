"""The compiled core (cpp/bindings; its types: _core.pyi), in the version for this processor."""

import sys
from pathlib import Path

from mlh.common.instructions import load_core

# Python takes from here what the import returns, so that `mlh._core` is the compiled module itself.
sys.modules[__name__] = load_core(__name__, Path(__file__).parent)
