"""Entry point of the installed scripts: `kdzoo-train` runs `python -m apps.train`, and so on for every command."""

import pathlib
import runpy
import sys


def main() -> None:
    """Runs the command that the script is named after, exactly as `python -m` does.

    absl prints the flags of the main module for `--help`, so the command must be that module.
    """
    command = pathlib.Path(sys.argv[0]).stem.removeprefix("kdzoo-")
    runpy.run_module(f"apps.{command}", run_name="__main__", alter_sys=True)
