"""Times published models: images/s behind `apps.serve` against plain calls in one process, and how long `load` takes.

  python benchmarks/serving.py --model=wrn16-2_10-35 --rounds=7

Each round measures every way in turn; the table gives medians, quartiles, and ratios to plain calls of 128 images. The
server is a process of its own on the same cores. `load` is of a WRN16-8 with weights as drawn, TensorFlow being there.
"""

import concurrent.futures
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import app, flags

import kdzoo
from kdzoo.hub import cards, models
from kdzoo.publishing import export
from kdzoo.reports import tables
from kdzoo.runs import machine
from kdzoo.teachers import grpc, saved_model

flags.DEFINE_string("model", "wrn16-2_10-35", "Name of the published model to serve.")
flags.DEFINE_integer("rounds", 7, "Number of rounds; each measures every way once.")
flags.DEFINE_float("seconds", 3.0, "Time that each way is measured for in a round, in seconds.")


def main(_) -> None:
    args = flags.FLAGS
    card = models.find(args.model).record
    images = np.random.default_rng(0).integers(0, 256, (128, *card["dataset"]["image_shape"]), dtype=np.uint8)
    signatures, call = saved_model.load_saved_model(models.locate(args.model) / cards.VERSION)
    signature = signatures["serving_default"]
    command = [sys.executable, "-m", "apps.serve", f"--models={args.model}", "--port=0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        client = grpc.Client(server.stdout.readline().partition("grpc://")[2].partition("/")[0], args.model)
        with concurrent.futures.ThreadPoolExecutor(100) as pool:

            def together(batch: int, clients: int):
                def request():
                    futures = [pool.submit(client.predict, signature, images[:batch]) for _ in range(clients)]
                    return sum(len(future.result()["logits"]) for future in futures)

                return request

            def plainly(batch: int):
                return lambda: len(call(signature, images[:batch])["logits"])

            ways = {
                "in process, 128 images a call": plainly(128),
                "in process, 1 image a call": plainly(1),
                "served, 128 images a request": together(128, 1),
                "served, 128 images, 4 requests at once": together(128, 4),
                "served, 1 image a request": together(1, 1),
                "served, 1 image, 100 requests at once": together(1, 100),
            }
            rates = {name: [] for name in ways}
            for way in ways.values():
                way()
            for _ in range(args.rounds):
                for name, way in ways.items():
                    rates[name].append(_rate(way, args.seconds))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()

    base = rates[next(iter(ways))]
    rows = [(args.model, "images/s", "quartiles", "ratio")]
    for name, of_way in rates.items():
        low, median, high = statistics.quantiles(of_way, n=4)
        ratio = statistics.median(a / b for a, b in zip(of_way, base, strict=True))
        rows.append((name, f"{median:.0f}", f"{low:.0f}-{high:.0f}", f"{ratio:.2f}"))
    print(tables.markdown(rows, words=1))
    _time_load(card)
    print(f"{machine.hardware()}, {machine.versions()}")


def _rate(way, seconds: float) -> float:
    """Images a second."""
    count, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        count += way()
    return count / elapsed


def _time_load(card: dict) -> None:
    """How long `kdzoo.load` takes for a WRN16-8."""
    name = "wrn16-8_20-65"
    with tempfile.TemporaryDirectory() as root:
        directory = pathlib.Path(root) / name
        statistics_of = {key: card["dataset"][key] for key in ("mean", "std")}
        weights = export.write_saved_model(kdzoo.build("wrn16-8"), directory / cards.VERSION, **statistics_of)
        files = {file: cards.file_entry((directory / file).read_bytes()) for file in cards.FILES}
        other = card | {
            "name": name,
            "config": card["config"] | {"model": "wrn16-8"},
            "weights": weights,
            "files": files,
        }
        cards.write_card(directory, other)
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            kdzoo.load(name, path=root)
            seconds.append(time.perf_counter() - began)
    print(f"\nkdzoo.load of a WRN16-8: first {seconds[0]:.2f} s, then median {statistics.median(seconds[1:]):.2f} s")


if __name__ == "__main__":
    app.run(main)
