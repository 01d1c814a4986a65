"""What the attacks of tests/attacks.md need: data sets, runs, models, grids and caches, whole or damaged.

Each placeholder of the table names a state: a function that makes a thing in the attack's own directory, where the
attack may damage it, and returns its path. The modules `attack_data`, `attack_runs`, `attack_models` and `attack_grids`
define most of them.
"""

import contextlib
import dataclasses
import functools
import pathlib
import shutil
import socket
from collections.abc import Callable
from typing import Any

SMALL = {"model": "wrn10-1", "schedule": "1-1", "batch_size": 32}
# A grid of apps.sweep: a teacher and its students.
SWEEP: dict[str, Any] = {
    "workdir": "sweep",
    "common": {"schedule": "1-1", "batch_size": 32, "dataset": "digits"},
    "runs": [{"model": "wrn10-1"}, {"student": "wrn10-1", "teacher": "wrn10-1_1-1_seed0", "temperature": [2, 4]}],
}
DEEP = "[" * 100_000
FILE_NAME = "x" * 300  # longer than file systems allow


class Shared:
    """Runs and models that many attacks begin from, each made when it is first used.

    Args:
        folder: where they are kept.
        data: the .npz file of four classes of 16x16 images.
    """

    def __init__(self, folder: pathlib.Path, data: pathlib.Path):
        self.folder, self.data = folder, data
        self.listening = socket.socket()
        self.listening.bind(("127.0.0.1", 0))
        self.listening.listen()

    def train(self, name: str, **changes: Any) -> pathlib.Path:
        """Trains a network in a directory of this name."""
        from kdzoo.runs.config import RunConfig
        from kdzoo.training import train

        options = {key: changes.pop(key) for key in ("stopping", "progress") if key in changes}
        workdir = self.folder / name
        train.run(
            RunConfig(**{**SMALL, "dataset": f"npz:{self.data}", **changes}), workdir, teacher_cache="off", **options
        )
        return workdir

    @functools.cached_property
    def run(self) -> pathlib.Path:
        """A finished run."""
        return self.train("run")

    @functools.cached_property
    def run_seed1(self) -> pathlib.Path:
        """The same with another seed."""
        return self.train("run_seed1", seed=1)

    @functools.cached_property
    def unfinished(self) -> pathlib.Path:
        """A run of two epochs, stopped after the first."""
        from kdzoo.training import Stopped

        ended: list[int] = []
        with contextlib.suppress(Stopped):
            self.train(
                "unfinished",
                schedule="1-2",
                progress=lambda progress: ended.append(progress.epoch) if progress.row else None,
                stopping=lambda: bool(ended),
            )
        return self.folder / "unfinished"

    @functools.cached_property
    def models(self) -> pathlib.Path:
        """A folder in which the run is published as quarters/wrn10-1_1-1."""
        from kdzoo.publishing import publisher

        publisher.publish([self.run], self.folder / "models", name=PUBLISHED)
        return self.folder / "models"

    @functools.cached_property
    def sweep(self) -> pathlib.Path:
        """The directory of a finished sweep of `grid_sweep`: a teacher and its student."""
        from kdzoo.experiments.grid import expand
        from kdzoo.training import train

        for run in expand({**SWEEP, "workdir": str(self.folder / "sweep")}):
            config = dataclasses.replace(run.config, dataset=f"npz:{self.data}")
            train.run(config, run.workdir, teacher_cache="off")
        return self.folder / "sweep"


PUBLISHED = "quarters/wrn10-1_1-1"
State = Callable[[Shared, pathlib.Path], "pathlib.Path | str"]
STATES: dict[str, State] = {}


def state(function: State) -> State:
    """Makes a function's name a placeholder of the table."""
    STATES[function.__name__] = function
    return function


def prepare(name: str, shared: Shared, tmp: pathlib.Path) -> str:
    """Makes the thing that a placeholder names. Returns its path, or the word to put in its place."""
    return str(STATES[name](shared, tmp))


def copy(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """Copies a directory."""
    shutil.copytree(source, target)
    return target


def flip(path: pathlib.Path, position: int) -> None:
    """Changes one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def keep(fields: dict[str, Any], *keys: str) -> None:
    """Removes all other fields."""
    for key in fields.keys() - set(keys):
        del fields[key]


# Words and plain files.


@state
def tmp(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    return tmp


@state
def tiny(shared: Shared, _: pathlib.Path) -> str:
    """The data flag of most commands."""
    return f"--dataset=npz:{shared.data}"


@state
def busy_port(shared: Shared, _: pathlib.Path) -> str:
    return str(shared.listening.getsockname()[1])


@state
def name300(_: Shared, __: pathlib.Path) -> str:
    return FILE_NAME


@state
def file(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A file of the user's, where a directory is due."""
    path = tmp / "precious" / "file"
    path.parent.mkdir()
    path.write_text("mine")
    return path


@state
def empty_folder(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    (tmp / "empty").mkdir()
    return tmp / "empty"


@state
def loop(_: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A symbolic link to itself."""
    (tmp / "loop").symlink_to(tmp / "loop")
    return tmp / "loop"


@state
def flagfile_comment(shared: Shared, tmp: pathlib.Path) -> pathlib.Path:
    """A flagfile with a comment behind a value, which becomes part of the value."""
    path = tmp / "run.flags"
    path.write_text(f"--dataset=npz:{shared.data}\n--dataset_name=cifar10  # its mean and deviation\n")
    return path
