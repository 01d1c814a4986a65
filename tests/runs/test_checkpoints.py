"""Checkpoints when more than one process writes them."""

import concurrent.futures

import numpy as np

from kdzoo.runs import checkpoints


def test_two_processes_of_one_run_may_save_at_once(tmp_path):
    """A node that was thought dead may still write: what both write is the same, and what one removes is gone."""
    arrays = {"x": np.zeros(3)}

    def save(first: int) -> None:
        for step in range(first, 200, 2):
            checkpoints.save(tmp_path, step=step, arrays=arrays, meta={})

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for future in [pool.submit(save, first) for first in (0, 1)]:
            future.result()
    assert checkpoints.load(tmp_path)[1] == {}
