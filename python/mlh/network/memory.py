"""Gradients in the memory of a prediction: parts that are made again on the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def made_again(function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments); where a gradient is wanted, nothing inside is kept for it but the arguments.

    For one chunk of a loop over pairs: what a chunk needs is freed before the next begins, both ways.
    """
    if not torch.is_grad_enabled():
        return function(*arguments)
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """The weights as constants: nothing is kept for their gradients."""
    wanted = [p for p in module.parameters() if p.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
