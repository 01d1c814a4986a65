"""A simulation of many nodes that make the runs of a grid, or fill a table of teacher outputs.

What a node does by itself takes time and nothing else; what it shares with others is in `scaling_world`. Times are in
seconds, sizes in bytes.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence

import simpy
from scaling_world import Cluster, Outcome, Steps, World

READS = 2  # of a shard's manifest: before its rows are computed, and before it is committed


@dataclasses.dataclass(frozen=True)
class Driver:
    """What the process that starts the work costs, on its one thread. It looks at all runs again and again.

    Attributes:
        start: seconds to start a run.
        find: seconds to find the runs that can start, for each run of the grid; of a look while there is room for more.
        show: seconds of a look, for each run of the grid.
        watch: seconds of a look, for each run under way.
        end: seconds for a run that ended.
        poll: seconds between two looks; 0: it is notified.
        queued: most runs that wait for a node; 0: a run starts only on a node that is free.
        task: seconds of Ray's head for a task.
        task_nodes: seconds that each node adds to that, since the head sends all of them what is free.
        idle_nodes: seconds of the head in a second for each node that is there.
        message: seconds of the mailbox for one message of progress.
    """

    start: float = 0.0
    find: float = 0.0
    show: float = 0.0
    watch: float = 0.0
    end: float = 0.0
    poll: float = 0.0
    queued: int = 0
    task: float = 0.0
    task_nodes: float = 0.0
    idle_nodes: float = 0.0
    message: float = 0.0

    def idle(self, nodes: int) -> float:
        """Share of the head's time that so many nodes take by being there."""
        return min(0.99, self.idle_nodes * nodes)

    def of_task(self, nodes: int) -> float:
        """Seconds in which the head does what a task needs, beside what so many nodes take by being there."""
        return (self.task + self.task_nodes * nodes) / (1 - self.idle(nodes))


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run costs.

    Attributes:
        epochs: number of epochs.
        epoch: seconds of one on a node of speed 1.
        start: seconds of a core before the first.
        wait: seconds before the first in which no core works.
        read: bytes that it reads before the first.
        reads: requests for them.
        row_reads: requests for rows of a table in an epoch.
        row_bytes: bytes that they read in an epoch.
        checkpoint: bytes of one, which is written beside the next steps.
        checkpoint_seconds: shortest time between two that are written.
        writes: requests to write one; 0: none is written.
        result: bytes written at the end, by as many requests.
        messages: messages of progress a second.
    """

    epochs: int
    epoch: float
    start: float = 0.0
    wait: float = 0.0
    read: float = 0.0
    reads: int = 0
    row_reads: float = 0.0
    row_bytes: float = 0.0
    checkpoint: float = 0.0
    checkpoint_seconds: float = 0.0
    writes: int = 0
    result: float = 0.0
    messages: float = 0.0


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of teacher outputs, filled by shards.

    Attributes:
        rows: of the table.
        row_bytes: of one.
        row: seconds of the teacher for one on a node of speed 1.
        shard: rows of a shard.
        core: seconds of a core for one row, beside the teacher.
        shard_wait: seconds of a worker for a shard, beside its rows and what the model has.
        most: most shards of a task: a quarter of a node's part of the rest, at least 1.
        entry: bytes of a shard in the manifest.
        commit: "own": each shard has a manifest of its own. "one": the table has one, to which each worker adds its
            shard by a conditional put, again after a conflict.
    """

    rows: int
    row_bytes: float
    row: float
    shard: int
    core: float = 0.0
    shard_wait: float = 0.0
    most: int = 16
    entry: float = 100.0
    commit: str = "own"

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.rows // self.shard)


def make(world: World, run: Run, message: float = 0.0) -> Steps:
    """Makes a run on a node that was given it. Each message of its progress takes the mailbox so many seconds."""
    env, epoch = world.env, world.vary(run.epoch)
    yield world.compute(run.start)
    yield env.timeout(run.wait)
    yield from world.transfer(run.read, run.reads)
    rows: simpy.Event | None = None
    written: simpy.Event | None = None
    saved = env.now
    for _ in range(run.epochs):
        began = env.now
        # Rows are read ahead, and a checkpoint is written, while steps run: the slower of them counts.
        if run.row_reads:
            rows = env.process(world.transfer(run.row_bytes, run.row_reads))
        yield env.timeout(epoch)
        if rows:
            yield rows
        if run.messages:
            world.stations["mailbox"].book(message * max(1.0, run.messages * (env.now - began)))
        if run.writes and env.now - saved >= run.checkpoint_seconds:
            if written:
                yield written
            written, saved = env.process(world.transfer(run.checkpoint, run.writes)), env.now
    if written:
        yield written
    yield from world.transfer(run.result, run.writes)


class Scheduler:
    """The driver of a grid: it looks at its runs every `poll` seconds, and starts those that can.

    Args:
        world: the cluster.
        driver: costs of the driver.
        first: the runs that can start.
        then: runs that can start once the i-th of `first` has ended.
    """

    def __init__(self, world: World, driver: Driver, first: Sequence[Run], then: Sequence[Sequence[Run]]):
        self._world, self._costs, self._ready = world, driver, collections.deque(enumerate(first))
        self._then = dict(enumerate(then))
        self._runs = self._left = len(first) + sum(map(len, then))
        self._submitted = simpy.Store(world.env)
        self._ended: list[int] = []
        self._under_way = self._waiting = 0
        self._news = world.env.event()
        world.env.process(self._look())
        for _ in range(world.cluster.nodes):
            world.env.process(self._node())

    def _notify(self) -> None:
        if not self._news.triggered:
            self._news.succeed()

    def _look(self) -> Steps:
        world, costs = self._world, self._costs
        looked = 0.0
        while self._left:
            for number in self._ended:
                self._ready.extend((-1, run) for run in self._then.pop(number, ()))
            ended, self._ended = len(self._ended), []
            self._under_way -= ended
            yield world.visit("driver", costs.end * ended)
            if self._has_room():
                yield world.visit("driver", costs.find * self._runs)
            while self._ready and self._has_room():
                yield world.visit("driver", costs.start)
                self._under_way += 1
                self._waiting += 1
                self._left -= 1
                yield self._submitted.put(self._ready.popleft())
            look = costs.show * self._runs + costs.watch * self._under_way
            yield world.visit("driver", look)
            look += costs.find * self._runs if self._has_room() else 0.0
            if not self._ended and not (self._ready and self._has_room()):
                looked = world.env.now
                yield self._news
                self._news = world.env.event()
                # Meanwhile it looked at them every `period`; the next look comes at the end of one.
                period = costs.poll + look
                looks = max(1, math.ceil((world.env.now - looked) / period)) if period else 0
                world.stations["driver"].work += max(0, looks - 1) * look
                yield world.until(looked + looks * period)
            else:
                yield world.env.timeout(costs.poll)

    def _has_room(self) -> bool:
        if self._costs.queued:
            return self._waiting < self._costs.queued
        return self._under_way < self._world.cluster.nodes

    def _node(self) -> Steps:
        world, costs = self._world, self._costs
        number, run = yield self._submitted.get()
        yield world.compute(world.cluster.first)
        yield world.env.timeout(world.cluster.first_wait)
        while True:
            self._waiting -= 1
            if costs.queued:
                self._notify()
            yield world.visit("head", costs.of_task(world.cluster.nodes))
            yield from make(world, run, costs.message)
            world.ended = world.env.now
            self._ended.append(number)
            self._notify()
            number, run = yield self._submitted.get()


def alone(run: Run, cluster: Cluster) -> float:
    """Seconds of a run on a node that shares nothing with others."""
    world = World(dataclasses.replace(cluster, nodes=1, spread=0.0))
    world.env.run(world.env.process(make(world, run)))
    return float(world.env.now)


def simulate_grid(cluster: Cluster, driver: Driver, teacher: Run, student: Run, *, runs: int, teachers: int) -> Outcome:
    """Makes a grid: teachers first, and students, each after its own teacher.

    Args:
        cluster: the machines.
        driver: costs of the scheduler.
        teacher: costs of a teacher's run.
        student: costs of a student's run.
        runs: number of all runs.
        teachers: how many of them are teachers, each with as many students; 0: no run waits for another.
    """
    world = World(cluster)
    students = runs - teachers
    each = [students // teachers + (i < students % teachers) for i in range(teachers)] if teachers else []
    if teachers:
        Scheduler(world, driver, [teacher] * teachers, [[student] * count for count in each])
    else:
        Scheduler(world, driver, [student] * runs, [])
    world.env.run()
    return summarise(world, driver, teachers * alone(teacher, cluster) + students * alone(student, cluster))


def summarise(world: World, driver: Driver, alone: float, conflicts: float = 0.0) -> Outcome:
    """The outcome of a simulation, with the head's work for nodes that are there: see `World.outcome`."""
    head, idle = world.stations["head"], driver.idle(world.cluster.nodes)
    head.work = (1 - idle) * head.work + idle * world.ended
    return world.outcome(alone, conflicts)


class Filling:
    """Workers that fill a table. Each takes the next shard, computes and writes it, and commits it.

    Attributes:
        conflicts: conditional puts that failed.
    """

    def __init__(self, world: World, driver: Driver, table: Table):
        self._world, self._costs, self._table = world, driver, table
        self._taken = self._committed = self.conflicts = 0
        for _ in range(world.cluster.nodes):
            world.env.process(self._work())

    def _work(self) -> Steps:
        world, table, costs = self._world, self._table, self._costs
        yield world.compute(world.cluster.first)
        yield world.env.timeout(world.cluster.first_wait)
        while self._taken < table.shards:
            # As `kdzoo.experiments.on_ray.shard_tasks` shares them out.
            count = max(1, min(table.most, (table.shards - self._taken) // (4 * world.cluster.nodes)))
            first, self._taken = self._taken, self._taken + count
            yield world.visit("driver", costs.start)
            yield world.visit("head", costs.of_task(world.cluster.nodes))
            for shard in range(first, first + count):
                yield from self._fill(min(table.shard, table.rows - shard * table.shard))
            yield world.visit("driver", costs.end)

    def _fill(self, rows: int) -> Steps:
        world, table = self._world, self._table
        yield world.compute(rows * table.core)
        yield world.env.timeout(world.vary(rows * table.row) + table.shard_wait)
        yield from world.transfer(rows * table.row_bytes)
        yield from self._commit()
        world.ended = world.env.now

    def _commit(self) -> Steps:
        world, entry, tries = self._world, self._table.entry, 0
        while True:
            own = self._table.commit == "own"
            yield from world.transfer(entry if own else self._committed * entry, READS)
            seen, began = self._committed, world.env.now
            yield from world.transfer(entry if own else (seen + 1) * entry)
            if own or seen == self._committed:
                self._committed += 1
                if not own:
                    world.stations["manifest"].work += world.env.now - began
                return
            self.conflicts += 1
            yield world.pause(min(2.0, 0.01 * 2**tries))
            tries += 1


def simulate_table(cluster: Cluster, driver: Driver, table: Table) -> Outcome:
    """Fills a table.

    Args:
        cluster: the machines.
        driver: costs of the process that shares the shards out, and of Ray's head.
        table: the table.
    """
    world = World(cluster)
    filling = Filling(world, driver, table)
    world.env.run()
    one = World(dataclasses.replace(cluster, nodes=1))
    one.env.run(one.env.process(one.transfer(table.shard * table.row_bytes)))
    shard = table.shard * (table.core + table.row / cluster.speed) + table.shard_wait + one.env.now
    return summarise(world, driver, table.rows / table.shard * shard, filling.conflicts / table.shards)
