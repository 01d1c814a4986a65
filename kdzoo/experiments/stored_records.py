"""The records of runs whose directories are in a store."""

import concurrent.futures
from collections.abc import Sequence

from kdzoo.experiments.grid import Run
from kdzoo.runs import records
from kdzoo.stores import directories, open_store

SCRATCH = "runs"  # folder of the runs on a machine that has copies of them
AT_ONCE = 16  # reads, each of which waits for the network


def fetch(uri: str, runs: Sequence[Run]) -> None:
    """Copies the records of runs that are finished in a store, as far as their directories lack them.

    Raises:
        InputError: if the store cannot be read.
    """
    store = open_store(uri)
    there = set(directories.list_directories(store))
    missing = [run for run in runs if run.name in there and not (run.workdir / records.RECORD).exists()]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for future in [
            pool.submit(directories.download, store, run.name, run.workdir, only=lambda file: file == records.RECORD)
            for run in missing
        ]:
            future.result()
