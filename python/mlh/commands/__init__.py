"""Subcommands of `mlh`: one file each, with a `register(app)` that `mlh.commands.cli` calls."""
