"""Prefetching of teacher outputs: the rows that the tables lack are computed ahead of the steps, in full calls."""

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from kdzoo.data.workers import ImmediateExecutor
from kdzoo.teachers.cached_teacher import CALL_IMAGES, CachedTeacher

LOOK_AHEAD = 64  # steps among which rows are gathered to fill a call
Step = tuple[int, int]  # (epoch, step of the epoch)


class _StepOutputs:
    """The outputs of one teacher for a step, complete once `unsent` is 0 and all `calls` are done."""

    def __init__(self, outputs: dict[str, np.ndarray], rows: int, missing: int):
        self.outputs, self.rows, self.unsent = outputs, rows, missing
        self.calls: list[concurrent.futures.Future[None]] = []

    def fill(self, positions: Sequence[int], outputs: dict[str, np.ndarray]) -> None:
        """Sets the outputs at these positions of the step."""
        for kind, values in outputs.items():
            # If several threads come here at once, the array of the first one is used.
            whole = self.outputs.setdefault(kind, np.empty((self.rows, *values.shape[1:]), values.dtype))
            whole[positions] = values


class OutputPrefetcher:
    """The outputs of one teacher for each step, computed ahead where its tables lack them.

    Args:
        teacher: the teacher and its tables.
        rows_of: returns the row numbers [batch] of a step.
        following: returns the step after a step; None after the last.
        steps: among how many steps rows are gathered to fill a call.

    Attributes:
        needed: number of rows that the steps so far needed.
        computed: number of rows that were missing in the tables and so were computed.
    """

    def __init__(
        self,
        teacher: CachedTeacher,
        rows_of: Callable[[Step], np.ndarray],
        following: Callable[[Step], Step | None],
        *,
        steps: int = LOOK_AHEAD,
    ):
        self._steps = steps
        self._teacher, self._rows_of, self._following = teacher, rows_of, following
        self._max_calls = teacher.teacher.max_calls_ahead
        self._pool: concurrent.futures.Executor = (
            concurrent.futures.ThreadPoolExecutor(self._max_calls) if self._max_calls else ImmediateExecutor()
        )
        self._planned: dict[Step, _StepOutputs] = {}
        self._backlog: collections.deque[tuple[_StepOutputs, int, int]] = collections.deque()  # position in step, row
        self._pending: list[concurrent.futures.Future[None]] = []
        self._next: Step | None = None
        self.needed = self.computed = 0

    def __call__(self, step: Step) -> dict[str, np.ndarray]:
        """The outputs by kind, [batch, ...] each; waits until all of them are computed."""
        if step not in self._planned:
            self._planned, self._backlog, self._next = {}, collections.deque(), step
        self._planned = dict(itertools.dropwhile(lambda planned: planned[0] != step, self._planned.items()))
        while step not in self._planned or self._planned[step].unsent:
            if not self._plan():
                self._send()
        current = self._planned.pop(step)
        while len(self._pending) < self._max_calls and self._plan():
            pass
        for call in current.calls:
            call.result()
        self._pending = [call for call in self._pending if not call.done()]
        self.needed += current.rows
        return current.outputs

    def close(self) -> None:
        """Cancels the calls that have not begun and waits for the others."""
        self._pool.shutdown(cancel_futures=True)

    def _plan(self) -> bool:
        """Looks up the next step in the tables. Returns False if there is none, or it is too far ahead."""
        if self._next is None or len(self._planned) >= self._steps:
            return False
        rows = self._rows_of(self._next)
        outputs, missing = self._teacher.look_up(rows)
        step = self._planned[self._next] = _StepOutputs(outputs, len(rows), int(missing.sum()))
        self._next = self._following(self._next)
        self.computed += step.unsent
        self._backlog.extend((step, position, rows[position]) for position in np.flatnonzero(missing).tolist())
        while len(self._backlog) >= CALL_IMAGES:
            self._send()
        return True

    def _send(self) -> None:
        """Submits a call for the rows that have waited longest, at most a full call."""
        wanted = [self._backlog.popleft() for _ in range(min(CALL_IMAGES, len(self._backlog)))]
        call = self._pool.submit(self._compute, wanted)
        self._pending.append(call)
        for step in dict.fromkeys(step for step, _, _ in wanted):
            step.calls.append(call)
        for step, _, _ in wanted:
            step.unsent -= 1

    def _compute(self, wanted: Sequence[tuple[_StepOutputs, int, int]]) -> None:
        outputs = self._teacher.compute(np.array([row for _, _, row in wanted]))
        begin = 0
        for step, of_step in itertools.groupby(wanted, key=lambda one: one[0]):
            positions = [position for _, position, _ in of_step]
            end = begin + len(positions)
            step.fill(positions, {kind: values[begin:end] for kind, values in outputs.items()})
            begin = end
