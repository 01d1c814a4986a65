"""Clients of a server, as a process of their own: sends one prepared request again and again, and counts.

  python benchmarks/serving_clients.py --port=8500 --request=request.pb --clients=100 --seconds=10
  python benchmarks/serving_clients.py --port=8500 --request=request.pb --rate=70 --seconds=60

With --clients, each sends its next request once it has its response, over a connection of its own. With --rate,
requests are sent at random times, so many a second on average, whether the server keeps up or not; latency counts from
the time at which a request was due. Prints one line of JSON. Needs no TensorFlow: requests and responses stay bytes.
"""

import asyncio
import collections
import json
import pathlib
import random
import resource
import time

import grpc
from absl import app, flags

flags.DEFINE_integer("port", None, "Port of the server on this machine.", required=True)
flags.DEFINE_string("request", None, "File of a PredictRequest.", required=True)
flags.DEFINE_integer("clients", 100, "Number of clients.")
flags.DEFINE_float("rate", 0.0, "Requests a second, sent at random times; 0: as fast as the clients get responses.")
flags.DEFINE_float("seconds", 10.0, "Time that is measured, in seconds.")
flags.DEFINE_float("warm_up", 2.0, "Time before that, in seconds.")

METHOD = "/tensorflow.serving.PredictionService/Predict"
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]


class Load:
    """Sends requests, and measures those that end between `begin` and `end`, times of `time.perf_counter`."""

    def __init__(self, port: int, request: bytes, begin: float, end: float):
        self._target, self._request, self.begin, self.end = f"localhost:{port}", request, begin, end
        self.codes: collections.Counter = collections.Counter()
        self.latencies: list[float] = []

    def connect(self):
        return grpc.aio.insecure_channel(self._target, options=OPTIONS)

    async def send(self, call, due: float) -> None:
        try:
            await call(self._request, timeout=120)
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
        now = time.perf_counter()
        if self.begin <= now < self.end:
            self.codes[code] += 1
            self.latencies.append(now - due)

    async def send_all(self) -> None:
        """One client, until the end."""
        async with self.connect() as channel:
            call = channel.unary_unary(METHOD)
            while (now := time.perf_counter()) < self.end:
                await self.send(call, now)

    async def send_at(self, rate: float, clients: int) -> None:
        """Requests at random times, over the connections of so many clients."""
        channels = [self.connect() for _ in range(clients)]
        calls = [channel.unary_unary(METHOD) for channel in channels]
        pending, due = set(), time.perf_counter()
        while (due := due + random.expovariate(rate)) < self.end:
            await asyncio.sleep(due - time.perf_counter())
            task = asyncio.create_task(self.send(random.choice(calls), due))
            pending.add(task)
            task.add_done_callback(pending.discard)
        await asyncio.gather(*pending)
        for channel in channels:
            await channel.close()


async def measure(args) -> dict:
    begin = time.perf_counter() + args.warm_up
    load = Load(args.port, pathlib.Path(args.request).read_bytes(), begin, begin + args.seconds)
    work = [load.send_at(args.rate, args.clients)] if args.rate else [load.send_all() for _ in range(args.clients)]
    used = []

    async def watch() -> None:
        for moment in (load.begin, load.end):
            await asyncio.sleep(moment - time.perf_counter())
            usage = resource.getrusage(resource.RUSAGE_SELF)
            used.append(usage.ru_utime + usage.ru_stime)

    await asyncio.gather(watch(), *work)
    latencies = sorted(load.latencies)
    shares = {f"p{share}": latencies[int(len(latencies) * share / 100)] for share in (50, 90, 99)}
    cpu = used[1] - used[0]
    return {"seconds": args.seconds, "codes": load.codes, "cpu": cpu, **shares, "longest": latencies[-1]}


def main(_) -> None:
    print(json.dumps(asyncio.run(measure(flags.FLAGS))))


if __name__ == "__main__":
    app.run(main)
