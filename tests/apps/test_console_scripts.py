"""The installed scripts: each runs the same module as `python -m`, with the same help, flags and exit codes."""

import importlib.metadata
import pathlib
import subprocess
import sys

import pytest

from conftest import ROOT, run_python

NAMES = sorted(
    path.stem for path in ROOT.glob("apps/*.py") if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
)


def script(name: str) -> pathlib.Path:
    """The script beside this Python; skips the test if kdzoo is not installed there."""
    path = pathlib.Path(sys.executable).with_name(f"kdzoo-{name}")
    if not path.exists():
        pytest.skip(f"{path.name} is not installed beside {sys.executable}: pip install -e . installs it")
    return path


def run_script(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script(name), *args], capture_output=True, text=True, timeout=300, check=False)


def test_every_command_has_a_script() -> None:
    script("train")
    installed = importlib.metadata.entry_points(group="console_scripts")
    assert sorted(entry.name for entry in installed if entry.name.startswith("kdzoo-")) == [
        f"kdzoo-{name}" for name in NAMES
    ]


@pytest.mark.parametrize("name", NAMES)
def test_help_is_that_of_the_module(name: str) -> None:
    done = run_script(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout == run_python("-m", f"apps.{name}", "--help").stdout


def test_an_error_is_one_line_and_exit_code_2() -> None:
    done = run_script("train", "--model=wrn10-1", "--schedule=1-2", "--workdir=unused", "word")
    assert done.returncode == 2
    assert done.stderr == "error: Arguments must be flags, for example --seed=1. Received: word\n"


def test_a_script_runs_its_command(tmp_path: pathlib.Path) -> None:
    done = run_script("list", "--models=wrn*", f"--path={tmp_path}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "no published model is named like wrn*\n"
