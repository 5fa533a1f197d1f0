"""Subcommands of `mlh`: one file each, with a `register(app)` that `mlh.commands.cli` calls."""

from mlh.common.load import wait_passively_when_busy

wait_passively_when_busy()  # before a command loads a library with OpenMP
