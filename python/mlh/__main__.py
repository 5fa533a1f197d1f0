"""`python -m mlh`: the command `mlh`, also for launchers such as torchrun."""

from mlh.commands.cli import main

if __name__ == "__main__":
    main()
