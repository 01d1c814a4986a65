"""Measures `apps.serve`: throughput against plain calls in one process, latency at 70 % load, memory over 20 minutes.

  python benchmarks/serving.py --models=wrn16-8,wrn16-1_10-35 --out=benchmarks/serving.json
  python benchmarks/serving.py --models=wrn16-8 --parts=latency,memory --rate=100

A model is a published name, or an architecture, which gets weights as drawn. Each round of the throughput measures
every way in turn; the table gives medians, quartiles, and ratios to plain calls of 128 images of the same round. Server
and clients are processes of their own on the same cores. What the clients use of these is lost to the server: the last
column gives the ratio as if the time that the clients computed, spread over all cores, had not passed.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from absl import app, flags
from tensorflow_serving.apis import predict_pb2

import kdzoo
from kdzoo import digests
from kdzoo.hub import cards, models
from kdzoo.models import names
from kdzoo.publishing import export
from kdzoo.reports import tables
from kdzoo.runs import machine
from kdzoo.teachers import saved_model

flags.DEFINE_list("models", ["wrn16-8", "wrn16-1_10-35"], "Published models, or architectures.")
flags.DEFINE_list("parts", ["throughput", "latency", "memory"], "What to measure.")
flags.DEFINE_integer("rounds", 7, "Number of rounds of the throughput; each measures every way once.")
flags.DEFINE_float("seconds", 10.0, "Time that each way is measured for in a round, in seconds.")
flags.DEFINE_float("rate", 0.0, "Images a second at full load; 0: the throughput of single images is measured.")
flags.DEFINE_float("share", 0.7, "Load of latency and memory, as a share of full load.")
flags.DEFINE_float("latency_seconds", 120.0, "Time that latency is measured for, in seconds.")
flags.DEFINE_float("memory_minutes", 20.0, "Time that memory is measured for, in minutes.")
flags.DEFINE_string("out", None, "JSON file to add the figures to, by model.")

BATCH = 128
CLIENTS = pathlib.Path(__file__).with_name("serving_clients.py")
# Way -> (images a request, requests at once).
SERVED = {
    "served, 128 images a request": (BATCH, 1),
    "served, 128 images, 4 requests at once": (BATCH, 4),
    "served, 1 image a request": (1, 1),
    "served, 1 image, 100 requests at once": (1, 100),
}
PLAIN = {"in process, 128 images a call": BATCH, "in process, 1 image a call": 1}


class Bench:
    """A model in this process, and behind a server with which `measure` runs clients."""

    def __init__(self, name: str, folder: pathlib.Path):
        self.name, self._folder = name, folder
        root = None if "_" in name else _draw(name, folder)
        self.published = f"{name}_20-65" if root else name
        card = models.find(self.published, path=root).record
        shape = card["dataset"]["image_shape"]
        self._images = np.random.default_rng(0).integers(0, 256, (BATCH, *shape), dtype=np.uint8)
        signatures, self._call = saved_model.load_saved_model(models.locate(self.published, path=root) / cards.VERSION)
        self._signature = signatures["serving_default"]
        command = [sys.executable, "-m", "apps.serve", f"--models={self.published}", "--port=0", "--metrics_port=0"]
        self._server = subprocess.Popen(
            [*command, *([f"--path={root}"] if root else [])], stdout=subprocess.PIPE, text=True
        )
        lines = [self._server.stdout.readline() for _ in range(2)]
        self._port, self._metrics = (int(re.search(r"localhost:(\d+)", line)[1]) for line in lines)

    def close(self) -> None:
        self._server.send_signal(signal.SIGTERM)
        self._server.wait()

    def plain(self, images: int, seconds: float) -> float:
        """Images a second of calls in this process."""
        self._call(self._signature, self._images[:images])
        count, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            count += len(self._call(self._signature, self._images[:images])["logits"])
        return count / elapsed

    def start_clients(self, images: int, seconds: float, **flags_of) -> subprocess.Popen:
        """Starts clients whose requests hold so many images."""
        request = predict_pb2.PredictRequest(output_filter=["logits"])
        request.model_spec.name = self.published
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(self._images[:images]))
        path = self._folder / f"request-{images}.pb"
        path.write_bytes(request.SerializeToString())
        command = [sys.executable, str(CLIENTS), f"--port={self._port}", f"--request={path}", f"--seconds={seconds}"]
        command += [f"--{name}={value}" for name, value in flags_of.items()]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def measure(self, images: int, seconds: float, **flags_of) -> dict:
        """What clients measure, and the mean size of the batches meanwhile."""
        before = self._batches()
        out, _ = self.start_clients(images, seconds, **flags_of).communicate()
        after = self._batches()
        return json.loads(out) | {"batch": (after[0] - before[0]) / max(after[1] - before[1], 1)}

    def memory(self) -> float:
        """Resident memory of the server, in 2^20 bytes."""
        pages = int(pathlib.Path(f"/proc/{self._server.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 2**20

    def _batches(self) -> tuple[float, float]:
        """Number of computed images, and of their batches."""
        with urllib.request.urlopen(f"http://localhost:{self._metrics}/metrics") as response:
            text = response.read().decode()
        found = [re.search(rf"^kdzoo_batch_images_{what}{{.*}} (.+)$", text, re.MULTILINE) for what in ("sum", "count")]
        images, batches = (float(one[1]) if one else 0.0 for one in found)
        return images, batches


def main(_) -> None:
    args, found = flags.FLAGS, {}
    print(f"{machine.hardware()}, {machine.versions()}")
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder, contextlib.closing(Bench(name, pathlib.Path(folder))) as bench:
            found[name] = figures = {"machine": machine.hardware(), "versions": machine.versions()}
            if "throughput" in args.parts:
                figures["throughput"] = _throughput(bench)
            if {"latency", "memory"} & set(args.parts):
                full = args.rate or bench.measure(1, args.seconds, clients=100)["codes"]["OK"] / args.seconds
                figures["full_load"], figures["rate"] = full, args.share * full
            if "latency" in args.parts:
                figures["latency"] = _latency(bench, figures["rate"])
            if "memory" in args.parts:
                figures["memory"] = _memory(bench, figures["rate"])
        if args.out:
            _write(pathlib.Path(args.out), name, figures)


def _throughput(bench: Bench) -> dict:
    args, cores = flags.FLAGS, len(os.sched_getaffinity(0))
    rounds = []
    for _ in range(args.rounds):
        rates = {way: {"rate": bench.plain(images, args.seconds)} for way, images in PLAIN.items()}
        for way, (images, clients) in SERVED.items():
            measured = bench.measure(images, args.seconds, clients=clients)
            rate = images * measured["codes"]["OK"] / args.seconds
            apart = rate / (1 - measured["cpu"] / (cores * args.seconds))
            rates[way] = {"rate": rate, "apart": apart, "batch": measured["batch"], "codes": measured["codes"]}
        rounds.append(rates)
    first = next(iter(PLAIN))
    rows = [(bench.name, "images/s", "quartiles", "ratio", "images a batch", "ratio, clients apart")]
    for way in rounds[0]:
        low, median, high = statistics.quantiles([one[way]["rate"] for one in rounds], n=4)
        ratio, apart = (
            statistics.median(one[way].get(key, one[way]["rate"]) / one[first]["rate"] for one in rounds)
            for key in ("rate", "apart")
        )
        batch = statistics.median(one[way].get("batch", PLAIN.get(way, 0)) for one in rounds)
        rows.append((way, f"{median:.0f}", f"{low:.0f}-{high:.0f}", f"{ratio:.2f}", f"{batch:.0f}", f"{apart:.2f}"))
    print(tables.markdown(rows, words=1), flush=True)
    return {"rounds": rounds}


def _latency(bench: Bench, rate: float) -> dict:
    """Latency at this rate, against the time of a full batch in this process."""
    seconds = flags.FLAGS.latency_seconds
    full = BATCH / statistics.median(bench.plain(BATCH, 3) for _ in range(5))
    measured = bench.measure(1, seconds, rate=rate)
    print(
        f"{bench.name} at {rate:.0f} images/s, {sum(measured['codes'].values())} requests {measured['codes']}:"
        f" p50 {1000 * measured['p50']:.0f} ms, p99 {1000 * measured['p99']:.0f} ms, longest"
        f" {1000 * measured['longest']:.0f} ms, {measured['batch']:.1f} images a batch; a full batch takes"
        f" {1000 * full:.0f} ms, so p99 is {measured['p99'] / full:.2f} of it",
        flush=True,
    )
    return measured | {"full_batch_seconds": full}


def _memory(bench: Bench, rate: float) -> dict:
    """Resident memory of the server at this rate: a mean for each minute."""
    minutes = flags.FLAGS.memory_minutes
    clients = bench.start_clients(1, 60 * minutes, rate=rate, warm_up=0)
    began, samples = time.monotonic(), []
    while clients.poll() is None:
        time.sleep(1)
        samples.append((int((time.monotonic() - began) // 60), bench.memory()))
    of_minutes = [statistics.mean(mb for minute, mb in samples if minute == m) for m in range(int(minutes))]
    measured = json.loads(clients.communicate()[0])
    first, fifth, last = of_minutes[0], of_minutes[min(4, len(of_minutes) - 1)], of_minutes[-1]
    change = last / fifth - 1
    print(
        f"{bench.name} for {minutes:g} minutes, requests {measured['codes']}: {first:.0f} MB in the first minute,"
        f" {fifth:.0f} in the fifth, {last:.0f} in the last: {100 * change:+.1f} %",
        flush=True,
    )
    return {"megabytes": of_minutes, "codes": measured["codes"], "change": change}


def _draw(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Publishes an architecture with weights as drawn, for CIFAR-10. Returns the folder of models."""
    card = models.find("wrn16-2_10-35").record
    directory = folder / f"{name}_20-65"
    statistics_of = {key: card["dataset"][key] for key in ("mean", "std")}
    weights = export.write_saved_model(kdzoo.build(name), directory / cards.VERSION, **statistics_of)
    files = {file: digests.file_entry((directory / file).read_bytes()) for file in cards.FILES}
    parsed = names.parse_trained(directory.name)
    schedule = str(parsed.schedule)
    fields = {key: getattr(parsed, key) for key in ("family", "depth", "width")} | {"schedule": schedule}
    config = card["config"] | {"model": name, "schedule": schedule}
    cards.write_card(
        directory, card | fields | {"name": directory.name, "config": config, "weights": weights, "files": files}
    )
    return folder


def _write(path: pathlib.Path, name: str, figures: dict) -> None:
    record = json.loads(path.read_text()) if path.exists() else {}
    record[name] = record.get(name, {}) | figures
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
