"""Complete state of a training run in one .npz (no pickle): weights, averaged weights, optimiser, order of
samples.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mlh.common.files import intact
from mlh.common.npz import write_npz


def save_checkpoint(
    path: Path,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """Write everything in one move; `state`: JSON values (step, elapsed time, random generator, remaining
    order).
    """
    arrays: dict[str, Any] = {"state": np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)}
    for prefix, module in (("network", network), ("average", average)):
        arrays.update({f"{prefix}/{k}": v.detach().cpu().numpy() for k, v in module.state_dict().items()})
    for index, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            arrays[f"optimizer/{index}/{name}"] = torch.as_tensor(value).cpu().numpy()
    write_npz(path, arrays)


def load_checkpoint(
    path: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore the modules and the optimiser in place; returns `state`."""
    advice = "remove it to train from the start"
    with intact(path, advice), np.load(path, allow_pickle=False) as archive:
        for prefix, module in (("network", network), ("average", average)):
            module.load_state_dict(
                {
                    k.removeprefix(f"{prefix}/"): torch.from_numpy(archive[k].copy())
                    for k in archive.files
                    if k.startswith(f"{prefix}/")
                }
            )
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key in archive.files:
            if key.startswith("optimizer/"):
                _, index, name = key.split("/")
                moments.setdefault(int(index), {})[name] = torch.from_numpy(archive[key].copy())
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        state: dict[str, Any] = json.loads(archive["state"].tobytes().decode())
    return state
