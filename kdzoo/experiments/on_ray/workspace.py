"""The folders of a run on a node: those that all nodes share, or scratch whose changes are published in a store."""

import contextlib
import dataclasses
import os
import pathlib
import tempfile
import threading
from collections.abc import Iterator

from kdzoo import files
from kdzoo.experiments.logged_process import LOGS
from kdzoo.experiments.stored_records import SCRATCH
from kdzoo.runs import checkpoints, records
from kdzoo.stores import directories, open_store
from zoo import InputError


@dataclasses.dataclass(frozen=True)
class Location:
    """Where a run works.

    Attributes:
        directory: of the sweep; all nodes have it, or its runs are in the store.
        name: of the run.
        needs: names of the runs that teach it.
        cwd: folder of the command, which all nodes have; not used with a store.
        store: URI of the store of the runs; "": none.
    """

    directory: str
    name: str
    needs: tuple[str, ...]
    cwd: str
    store: str = ""


@dataclasses.dataclass(frozen=True)
class Workspace:
    """The folders of a run on this node.

    Attributes:
        cwd: folder of its process.
        log: file of its output.
        workdir: its directory.
        lost: is set if another node has taken the run over, since this one was thought dead.
    """

    cwd: pathlib.Path
    log: pathlib.Path
    workdir: pathlib.Path
    lost: threading.Event

    def record(self) -> bytes | None:
        """Returns the content of the run's record; None if it has none."""
        path = self.workdir / records.RECORD
        return path.read_bytes() if path.exists() else None


@contextlib.contextmanager
def opened(location: Location, node: str) -> Iterator[Workspace]:
    """Opens the folders of a run on this node. With a store, they are published as they change and when the block ends.

    Raises:
        InputError: if the node lacks the shared folders, or the store cannot be read or written.
    """
    if location.store:
        with _opened_scratch(location) as workspace:
            yield workspace
        return
    directory = pathlib.Path(location.directory)
    for folder in (location.cwd, directory):
        if not os.path.isdir(folder):
            raise InputError(
                "On Ray the current folder and that of the runs must be folders that all nodes share, for example by"
                f" NFS, unless --store is set. Received: {folder}, which {node} lacks"
            )
    log = directory / LOGS / f"{location.name}.txt"
    yield Workspace(pathlib.Path(location.cwd), log, directory / location.name, threading.Event())


@contextlib.contextmanager
def _opened_scratch(location: Location) -> Iterator[Workspace]:
    store = open_store(location.store)
    with files.scratch_beside(pathlib.Path(tempfile.gettempdir()) / f"kdzoo-run-{os.getuid()}") as scratch:
        root = scratch / SCRATCH
        for teacher in location.needs:
            directories.download(store, teacher, root / teacher, only=_is_of_a_finished_run)
        logs = root / LOGS / location.name
        directories.download(store, f"{LOGS}/{location.name}", logs)
        workspace = Workspace(scratch, logs / f"{location.name}.txt", root / location.name, threading.Event())
        try:
            with directories.working_copy(store, location.name, workspace.workdir, lost=workspace.lost.set):
                yield workspace
        finally:
            directories.upload(store, f"{LOGS}/{location.name}", logs)


def _is_of_a_finished_run(file: str) -> bool:
    return not file.startswith(f"{checkpoints.DIRECTORY}/")
