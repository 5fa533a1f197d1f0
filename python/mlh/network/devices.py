"""Data-parallel training: several processes that torchrun starts, one model, gradients summed every step.

    torchrun --nproc-per-node 2 -m mlh train CONFIG.yaml

Every process holds the same weights and the same random generator; each takes its share of a batch. The sum
over processes is that of one process with the whole batch, to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Ranks:
    """This process (0 .. size - 1) among `size`; local_size: those on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def share(self, items: Iterable[Any]) -> list[Any]:
        """The items of this process: every size-th."""
        return [item for k, item in enumerate(items) if k % self.size == self.rank]

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter], extra: torch.Tensor) -> torch.Tensor:
        """Sum all gradients over the processes in one message; returns the sum of `extra` as well.

        A weight that no process has used (of elements that are not in the batch) keeps no gradient, as in one
        process: the optimiser leaves it alone, where a gradient of zero would let it decay and coast.
        """
        if self.size == 1:
            return extra
        wanted = [p for p in parameters if p.requires_grad]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in wanted]
        used = [float(p.grad is not None) for p in wanted]
        dtype, device = grads[0].dtype, grads[0].device
        tail = torch.cat([torch.tensor(used, dtype=torch.float64), extra.to("cpu", torch.float64)])
        flat = self.sum(torch.cat([*(g.flatten() for g in grads), tail.to(device, dtype)]))
        first, tail = 0, flat[flat.numel() - tail.numel() :]
        for p, users in zip(wanted, tail.tolist()):  # the tail is longer: `extra` is behind the users
            p.grad = flat[first : first + p.numel()].reshape(p.shape) if users else None
            first += p.numel()
        return tail[len(wanted) :]

    def copy_from_first(self, module: nn.Module) -> None:
        """All weights and buffers of the first process."""
        if self.size > 1:
            for value in module.state_dict().values():
                dist.broadcast(value, src=0)

    def gather(self, mine: list[Any]) -> list[Any]:
        """Items of all processes at the first one, in the order before `share`; elsewhere an empty list."""
        if self.size == 1:
            return mine
        parts: list[Any] = [None] * self.size
        dist.gather_object(mine, parts if self.first else None, dst=0)
        if not self.first:
            return []
        return [parts[k % self.size][k // self.size] for k in range(sum(len(p) for p in parts))]


@contextmanager
def open_ranks(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started (environment variables WORLD_SIZE, RANK, ..), or this one alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, timeout=timedelta(hours=2))
    try:
        yield Ranks(
            int(os.environ["RANK"]),
            size,
            int(os.environ.get("LOCAL_RANK", "0")),
            int(os.environ.get("LOCAL_WORLD_SIZE", str(size))),
        )
    finally:
        dist.destroy_process_group()


def pick_device(name: str, ranks: Ranks) -> torch.device:
    """The device of this process; "cuda" means one GPU per process."""
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ValueError(f"device: expected a CUDA device for {name!r}, PyTorch finds none; use 'cpu'")
        if name == "cuda":
            name = f"cuda:{ranks.local_rank}"
        torch.cuda.set_device(name)
    elif name != "cpu":
        raise ValueError(f"device: expected 'cpu', 'cuda' or 'cuda:N', got {name!r}")
    return torch.device(name)
