"""Fits the model of `scaling_model` to 1 and 2 workers, and compares its predictions with 8 to 64, which sleep.

  python benchmarks/scaling_validation.py --out=benchmarks/scaling_validation.json --readme   # idle machine, 40 minutes
  python benchmarks/scaling_validation.py --show=benchmarks/scaling_validation.json    # the tables again

Workers share this machine's cores, so what starts and feeds them limits them: the more, the shorter they sleep. Each
part sleeps its measured time: `run`, that of a small run on the digits; `short`, two seconds, in which this machine
cannot keep 64 workers busy; `table`, a teacher's time for 128 images.
"""

import argparse
import json
import os
import pathlib

import numpy as np
import readme_tables
import scaling
from scaling_model import Driver, Run, Table, simulate_grid, simulate_table
from scaling_world import Cluster, Outcome
from scipy import optimize

from kdzoo.teachers.cached_teacher import CALL_IMAGES

FITTED = {1: 3, 2: 12}  # workers -> runs: not in proportion, which separates the costs of a run and of a worker
PREDICTED = (8, 16, 32, 64)
EACH = 4  # runs for each other worker
SHORT_SECONDS = 2.0
TABLE_SECONDS = 120.0  # of a worker that fills a table, but the single one: of that half as many
LIMIT = 0.15
POLL_SECONDS = 0.2  # of `kdzoo.experiments.scheduler.run_all`
QUEUED = {"ray": 100, "processes": 0, "table": 0}  # `kdzoo.experiments.on_ray.executor.QUEUED`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--costs", default=str(pathlib.Path(__file__).with_name("scaling_costs.json")))
    parser.add_argument("--parts", default="processes/run,processes/short,ray/run,ray/short,table")
    parser.add_argument("--workers", default=",".join(map(str, PREDICTED)))
    parser.add_argument("--out", default="", help="JSON file; parts that it holds already are replaced")
    parser.add_argument("--readme", action="store_true", help="whether to write the tables into README.md")
    parser.add_argument("--show", default="", help="JSON file; nothing is measured")
    args = parser.parse_args()
    result = json.loads(pathlib.Path(args.show).read_text()) if args.show else measure_all(args)
    text = describe(result)
    print(f"\n{text}")
    if args.readme:
        readme_tables.write("scaling validation", text)


def measure_all(args) -> dict:
    """Measures each part with each number of workers."""
    out = pathlib.Path(args.out) if args.out else None
    result = json.loads(out.read_text()) if out and out.exists() else {}
    costs = json.loads(pathlib.Path(args.costs).read_text())
    for part in args.parts.split(","):
        sizes = [*FITTED, *map(int, args.workers.split(","))]
        result[part] = {"cores": len(os.sched_getaffinity(0)), "load_average": os.getloadavg(), "measured": []}
        for workers in sizes:
            result[part]["measured"].append(measure(part, workers, costs))
            print(part, json.dumps(result[part]["measured"][-1]), flush=True)
            if out:
                out.write_text(json.dumps(result, indent=1) + "\n")
    return result


def measure(part: str, workers: int, costs: dict) -> dict:
    """Measures a part with so many workers."""
    import scaling_workers

    kind, _, length = part.partition("/")
    if kind == "table":
        call = CALL_IMAGES * scaling.teacher_seconds()
        calls = TABLE_SECONDS / call * (0.5 if workers == 1 else 1.0)
        return scaling_workers.measure_table(workers, round(calls), call)
    sleep = costs["processes"]["small run"]["seconds"] if length == "run" else SHORT_SECONDS
    return scaling_workers.measure_grid(kind, workers, FITTED.get(workers, EACH * workers), sleep)


def fit(kind: str, measured: list[dict], cores: int) -> dict[str, float]:
    """Costs of a run or shard, from the measurements of 1 and 2 workers.

    Args:
        kind: a key of `QUEUED`.
        measured: of 1 and 2 workers.
        cores: of the machine.

    Returns:
        Processor seconds: "driver" for each run or shard, "look" of the driver in a second, "core" of all others for
        each, "first" for each worker. Seconds in which nothing works: "wait" for each, "first wait" for each worker.
        "free": share of the cores that is left by what runs beside.
    """
    units, workers, seconds = ([one[key] for one in measured] for key in ("units", "workers", "seconds"))
    driver, look = solve(units, seconds, [one["driver"] for one in measured])
    core, first = solve(units, workers, [one["others"] for one in measured])
    costs = {"driver": driver, "look": look, "core": core, "first": first, "wait": 0.0, "first wait": 0.0}
    costs["free"] = 1 - (look + max(one["idle"] for one in measured)) / cores
    rest = [max(0.0, one["seconds"] - predict(kind, costs, one, cores).seconds) for one in measured]
    each = [one["units"] / one["workers"] for one in measured]
    costs["wait"], costs["first wait"] = solve(each, [1.0] * len(each), rest)
    return costs


def solve(a: list[float], b: list[float], total: list[float]) -> tuple[float, float]:
    """The x and y at least 0 for which a x + b y is nearest to the total."""
    x, y = optimize.nnls(np.array([a, b], float).T, np.array(total, float))[0]
    return float(x), float(y)


def predict(kind: str, costs: dict[str, float], one: dict, cores: int) -> Outcome:
    """Simulates a measurement. On cores that something else uses too, work takes longer by its share."""
    driver, core, first = (costs[name] / costs["free"] for name in ("driver", "core", "first"))
    cluster = Cluster(one["workers"], cores=cores, first=first, first_wait=costs["first wait"])
    if kind == "table":
        shard, call = one["shard"], one["sleep"] / one["call"]
        table = Table(one["rows"], 0.0, call, shard, core=core / shard, shard_wait=costs["wait"])
        return simulate_table(cluster, Driver(end=driver), table)
    work = Run(1, one["sleep"], start=core, wait=costs["wait"])
    costs_of_driver = Driver(start=driver, poll=POLL_SECONDS, queued=QUEUED[kind])
    return simulate_grid(cluster, costs_of_driver, work, work, runs=one["units"], teachers=0)


def compare(part: str, result: dict) -> tuple[dict[str, float], list[dict]]:
    """The fitted costs of a part, and its measurements, each with the prediction beside it."""
    kind = part.partition("/")[0]
    costs = fit(kind, [one for one in result["measured"] if one["workers"] in FITTED], result["cores"])
    rows = []
    for one in result["measured"]:
        outcome = predict(kind, costs, one, result["cores"])
        rows.append(one | {"predicted": outcome.seconds, "busiest": outcome.busiest})
    return costs, rows


def ideal_seconds(one: dict) -> float:
    """The time of a measurement if workers did nothing but sleep."""
    if "rows" in one:
        return one["rows"] / one["call"] / one["workers"] * one["sleep"]
    return one["units"] / one["workers"] * one["sleep"]


def beyond(result: dict) -> list[str]:
    """The predictions of unseen sizes that are off by more than the limit."""
    found = []
    for part, of_part in result.items():
        for row in compare(part, of_part)[1]:
            error = row["predicted"] / row["seconds"] - 1
            if row["workers"] not in FITTED and abs(error) > LIMIT:
                found.append(f"{part}, {row['workers']} workers: {100 * error:+.1f} %")
    return found


def describe(result: dict) -> str:
    """A table for each part, the costs that were fitted, and which predictions are off by more than the limit."""
    from kdzoo.reports import tables

    texts = []
    for part, of_part in result.items():
        costs, rows = compare(part, of_part)
        unit = "shards" if part == "table" else "runs"
        head = f"{part}, sleeping {rows[0]['sleep']:.2f} s", unit, "measured (s)", "predicted (s)", "error (%)"
        lines = [(*head, "efficiency", "busiest")]
        for row in rows:
            error = row["predicted"] / row["seconds"] - 1
            role = " (fitted)" if row["workers"] in FITTED else ""
            times = f"{row['seconds']:.1f}", f"{row['predicted']:.1f}", f"{100 * error:+.1f}"
            efficiency = f"{ideal_seconds(row) / row['seconds']:.2f}"
            name = f"{row['workers']} worker{'s'[: row['workers'] > 1]}{role}"
            lines.append((name, f"{row['units']}", *times, efficiency, row["busiest"]))
        fitted = ", ".join(f"{name} {value:.3f}" for name, value in costs.items())
        texts.append(f"{tables.markdown(lines, words=1)}\n\nFitted: {fitted}.")
    texts.append(f"Predictions off by more than {LIMIT:.0%}: {'; '.join(beyond(result)) or 'none'}.")
    return "\n\n".join(texts)


if __name__ == "__main__":
    main()
