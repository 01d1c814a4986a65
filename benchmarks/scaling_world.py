"""What the nodes of a simulated cluster share: stations, bandwidth, and the clock.

A station serves a number of visits at a time, in order of arrival: the driver's one thread, Ray's head, the mailbox of
progress, the storage's requests. The storage's bandwidth is shared by all transfers under way. The event loop is
simpy's. Times are in seconds, sizes in bytes.
"""

import dataclasses
import heapq
import itertools
import math
import random
from collections.abc import Generator

import simpy

Steps = Generator[simpy.Event, None, None]


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The machines and what they share.

    Attributes:
        nodes: number of nodes; each does one piece of work at a time.
        speed: of a node at training and at teachers' outputs, relative to the machine of the measurements.
        bandwidth: of the shared storage, bytes a second.
        requests: of the shared storage, requests a second.
        latency: seconds of a request to the shared storage.
        link: of one node to the storage, bytes a second.
        first: seconds of a core before a node's first piece of work.
        first_wait: seconds before it in which no core works.
        spread: largest relative difference of a run's or shard's time from its mean, drawn uniformly.
        cores: of one host that all nodes and the driver are on, as when workers sleep on one machine; 0: each its own.
    """

    nodes: int
    speed: float = 1.0
    bandwidth: float = math.inf
    requests: float = math.inf
    latency: float = 0.0
    link: float = math.inf
    first: float = 0.0
    first_wait: float = 0.0
    spread: float = 0.0
    cores: int = 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a simulation ended.

    Attributes:
        seconds: until the last piece of work ended.
        efficiency: how long all work takes on as many nodes that share nothing, to that.
        busy: by station, its work a second. Above 1 what it does beside the nodes' work lags behind.
        conflicts: conditional puts that were repeated, for each that was not.
    """

    seconds: float
    efficiency: float
    busy: dict[str, float]
    conflicts: float = 0.0

    @property
    def busiest(self) -> str:
        """The station that limits first."""
        return max(self.busy, key=self.busy.__getitem__)


class Station:
    """Serves visits in order of arrival, as many at a time as it has servers.

    Attributes:
        work: seconds of service so far, a server.
    """

    def __init__(self, env: simpy.Environment, servers: int = 1):
        self._env, self._free, self.work = env, [0.0] * servers, 0.0

    def book(self, seconds: float) -> float:
        """Joins the queue. Returns the moment at which the visit ends."""
        end = max(self._env.now, self._free[0]) + seconds
        heapq.heapreplace(self._free, end)
        self.work += seconds / len(self._free)
        return end


class Bandwidth:
    """Transfers that share a bandwidth equally, each at most as fast as the link of its node.

    Attributes:
        work: seconds so far in which nothing would have been left of the bandwidth, if transfers came one by one.
    """

    def __init__(self, env: simpy.Environment, rate: float, link: float):
        self._env, self._rate, self._link, self.work = env, rate, link, 0.0
        # Bytes that each transfer of the same age has had; at which of them each ends.
        self._moved, self._at = 0.0, 0.0
        self._ends: list[tuple[float, int, simpy.Event]] = []
        self._numbers, self._timer = itertools.count(), 0

    def move(self, size: float) -> simpy.Event:
        """Begins a transfer of so many bytes. Returns the event of its end."""
        done = self._env.event()
        if self._rate == math.inf and self._link == math.inf:
            return done.succeed()
        self.work += size / self._rate
        self._advance()
        heapq.heappush(self._ends, (self._moved + size, next(self._numbers), done))
        self._set_timer()
        return done

    def _share(self) -> float:
        return min(self._link, self._rate / len(self._ends))

    def _advance(self) -> None:
        if self._ends:
            self._moved += (self._env.now - self._at) * self._share()
        self._at = self._env.now

    def _set_timer(self) -> None:
        self._timer += 1
        if self._ends:
            timer = self._env.timeout(max(0.0, (self._ends[0][0] - self._moved) / self._share()), self._timer)
            timer.callbacks.append(self._end)

    def _end(self, timer: simpy.Event) -> None:
        if timer.value != self._timer:  # another transfer began since it was set
            return
        self._advance()
        first = self._ends[0][0]
        while self._ends and self._ends[0][0] <= max(first, self._moved):
            heapq.heappop(self._ends)[2].succeed()
        self._set_timer()


class World:
    """The stations of a cluster, and the clock.

    Attributes:
        ended: when the last piece of work did.
    """

    def __init__(self, cluster: Cluster):
        self.cluster, self.env = cluster, simpy.Environment()
        names = ("driver", "head", "mailbox", "manifest", "storage requests")
        self.stations = {name: Station(self.env) for name in names}
        self.bandwidth = Bandwidth(self.env, cluster.bandwidth, cluster.link)
        if cluster.cores:
            self.stations["cores"] = Station(self.env, cluster.cores)
        self.ended = 0.0
        self._random = random.Random(0)

    def vary(self, seconds: float) -> float:
        """Time that this takes on one of the nodes."""
        spread = self.cluster.spread
        return seconds / self.cluster.speed * self._random.uniform(1 - spread, 1 + spread)

    def pause(self, longest: float) -> simpy.Event:
        """Waits for a random time."""
        return self.env.timeout(self._random.uniform(0, longest))

    def until(self, moment: float) -> simpy.Event:
        """Waits until then."""
        return self.env.timeout(max(0.0, moment - self.env.now))

    def visit(self, name: str, seconds: float) -> simpy.Event:
        """Waits for a station's service; for that of processes on the host too, if all are on one."""
        ends = [self.stations[name].book(seconds)]
        if "cores" in self.stations and name != "cores":
            ends.append(self.stations["cores"].book(seconds))
        return self.until(max(ends))

    def compute(self, seconds: float) -> simpy.Event:
        """Waits for a core: a node's own, or one of the host that all are on."""
        return self.visit("cores", seconds) if "cores" in self.stations else self.env.timeout(seconds)

    def transfer(self, size: float, requests: float = 1.0) -> Steps:
        """Reads or writes so many bytes of the storage."""
        if requests:
            moved = self.bandwidth.move(size)
            yield self.until(self.stations["storage requests"].book(requests / self.cluster.requests))
            yield moved
            yield self.env.timeout(self.cluster.latency)

    def outcome(self, alone: float, conflicts: float = 0.0) -> Outcome:
        """Summarises the simulation of work that takes one node so many seconds."""
        stations = {**self.stations, "storage bandwidth": self.bandwidth}
        busy = {name: station.work / self.ended for name, station in stations.items()}
        return Outcome(self.ended, alone / self.cluster.nodes / self.ended, busy, conflicts)
