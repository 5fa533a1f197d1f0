"""How a command ends: 0 done, 1 not converged or failed, 2 wrong input, by the error of the library."""

from __future__ import annotations

INPUT = (ValueError, KeyError, OSError)
"""What the library raises for input that it cannot use."""

KNOWN = (*INPUT, RuntimeError, ArithmeticError)
"""Errors that end in words. Anything else is a defect of mlh, and its traceback is what a report needs."""


def status_of(error: BaseException) -> int:
    """1 where right input failed on the way, 2 where the input is wrong."""
    from ase.calculators.calculator import CalculatorSetupError

    from mlh.dataset.store import DatasetError
    from mlh.model.card import ModelError

    wrong = (*INPUT, CalculatorSetupError, DatasetError, ModelError, NotImplementedError)
    return 2 if isinstance(error, wrong) else 1


def message_of(error: BaseException) -> str:
    """The words of an error; a KeyError without words is re-raised, since nobody wrote them for the user."""
    if not isinstance(error, KeyError):
        return str(error) or type(error).__name__
    if not (error.args and " " in str(error.args[0])):
        raise error
    return str(error.args[0])
