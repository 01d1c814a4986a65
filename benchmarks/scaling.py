"""Plans past one machine: simulates grids of 10^5 runs and tables of 10^9 rows on 10 to 3,000 nodes.

  python benchmarks/scaling.py --out=benchmarks/scaling.json --plot=benchmarks/scaling.svg --readme    # ten minutes
  python benchmarks/scaling.py --show=benchmarks/scaling.json      # the table again
  python benchmarks/scaling.py --nodes=64 --speed=20 --bandwidth=5e8 --requests=20000 --latency=0.001     # yours

What work costs was measured: a run by its record in `results/`, a row by `throughput.json`, all else by
`scaling_costs.json`. What a cluster's storage and nodes can do is assumed, and given by flags. `scaling_model` is the
simulation, `scaling_validation` compares it with real workers.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import statistics
from collections.abc import Callable

import readme_tables
from scaling_model import Driver, Run, Table, simulate_grid, simulate_table
from scaling_world import Cluster, Outcome

HERE = pathlib.Path(__file__).parent
RESULTS = HERE.parent / "results/cifar10"
STUDENT, TEACHER = "wrn16-1_10-35_kd_wrn16-2_5-16_seed0", "wrn16-2_10-35_seed0"
NODES = (10, 100, 300, 1000, 3000)
SPEEDS = (1.0, 50.0)
RUNS, TEACHERS = 100_000, 1_000
ROWS, SHARD = 10**9, 2**16
VIEWS, IMAGES = 162, 50_000
ROW_BYTES = {10: 44, 1_000: 4_004}  # by classes: float32 logits and a checksum
PARTS = 5  # into which a run's epochs are put together, which leaves its load as it is
EFFICIENCY = 0.85
# Assumed, not measured: a file server on 10 Gb/s, and S3 as its documentation describes it (requests for one prefix).
STORAGE = {
    "folder": {"bandwidth": 1.25e9, "requests": 10_000.0, "latency": 0.002},
    "S3": {"bandwidth": 12.5e9, "requests": 3_500.0, "latency": 0.1},
}
LINK = 1.25e9
SPREAD = 0.1
UPLOAD_SECONDS = 60.0  # `kdzoo.stores.directories.SECONDS`
# Of `kdzoo.stores.directories`: changed files, manifest, what was replaced; as a run starts, its teacher's
# directory and its own. A shard that is read whole is its manifest and one object.
UPLOAD_REQUESTS, START_REQUESTS, SHARD_REQUESTS = 5, 15, 2
PAGE = 4096  # bytes that a client of a file server reads at least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", default=",".join(map(str, NODES)))
    parser.add_argument("--speed", default="", help="of a node, relative to the two cores of the measurements")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--rows", type=float, default=ROWS)
    for name in ("bandwidth", "requests", "latency"):
        parser.add_argument(f"--{name}", type=float, help="of the shared storage, of both kinds")
    parser.add_argument("--out", default="")
    parser.add_argument("--plot", default="")
    parser.add_argument("--readme", action="store_true", help="whether to write the tables into README.md")
    parser.add_argument("--show", default="", help="JSON file; nothing is simulated")
    args = parser.parse_args()
    result = json.loads(pathlib.Path(args.show).read_text()) if args.show else study(args)
    found = {"scaling": table(result), "scaling costs": cost_table(result["runs"])}
    for name, text in found.items():
        print(f"\n{text}")
        if args.readme:
            readme_tables.write(name, text)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")
    if args.plot:
        plot(result, pathlib.Path(args.plot))


def study(args) -> dict:
    """Simulates each case at each size."""
    storage = {
        kind: values | {name: given for name in values if (given := getattr(args, name)) is not None}
        for kind, values in STORAGE.items()
    }
    speeds = [float(args.speed)] if args.speed else SPEEDS
    sizes = [int(nodes) for nodes in args.nodes.split(",")]
    result: dict = {"storage": storage, "runs": args.runs, "rows": int(args.rows), "cases": {}}
    for speed in speeds:
        for name, simulate in cases(args.runs, int(args.rows), storage).items():
            of_case = result["cases"][f"{name}, speed {speed:g}"] = {}
            for nodes in sizes:
                outcome = simulate(nodes, speed)
                of_case[str(nodes)] = dataclasses.asdict(outcome)
                print(f"{name}, speed {speed:g}, {nodes} nodes: {describe(outcome)}", flush=True)
    return result


def cases(runs: int, rows: int, storage: dict) -> dict[str, Callable[[int, float], Outcome]]:
    """What is simulated, by name: a function of the number of nodes and their speed."""
    costs, driver = measured(), ray_driver(runs)
    teacher, student = run_costs(TEACHER, costs), run_costs(STUDENT, costs)
    table = IMAGES * VIEWS * ROW_BYTES[10]
    shards = math.ceil(IMAGES * VIEWS / SHARD)
    pages = table / PAGE
    on_s3 = {"checkpoint_seconds": UPLOAD_SECONDS, "writes": UPLOAD_REQUESTS}
    # In a shared folder rows are read at offsets, each page once while the system keeps it; from S3 whole shards.
    from_folder = dataclasses.replace(student, read=table, reads=round(pages), writes=UPLOAD_REQUESTS)
    from_s3 = dataclasses.replace(student, read=table, reads=START_REQUESTS + SHARD_REQUESTS * shards, **on_s3)
    by_row = dataclasses.replace(
        student, read=0.0, reads=0, row_reads=IMAGES, row_bytes=IMAGES * ROW_BYTES[10], **on_s3
    )

    def grid(kind: str, student: Run) -> Callable[[int, float], Outcome]:
        own = dataclasses.replace(teacher, **{name: getattr(student, name) for name in on_s3})
        merged = [merge(run, PARTS) for run in (own, student)]

        def simulate(nodes: int, speed: float) -> Outcome:
            cluster = Cluster(nodes, speed=speed, link=LINK, spread=SPREAD, **storage[kind])
            return simulate_grid(cluster, driver, *merged, runs=runs, teachers=max(1, runs * TEACHERS // RUNS))

        return simulate

    def fill(classes: int, commit: str) -> Callable[[int, float], Outcome]:
        of_row = costs["rows"][f"{classes} classes"]["fill"]
        filled = Table(rows, ROW_BYTES[classes], teacher_seconds(), SHARD, core=of_row, commit=commit)

        def simulate(nodes: int, speed: float) -> Outcome:
            cluster = Cluster(nodes, speed=speed, first=costs["start"], link=LINK, spread=SPREAD, **storage["S3"])
            return simulate_table(cluster, driver, filled)

        return simulate

    return {
        "grid, shared folder": grid("folder", from_folder),
        "grid, S3": grid("S3", from_s3),
        "grid, S3, rows one by one": grid("S3", by_row),
        "table, 10 classes": fill(10, "own"),
        "table, 1000 classes": fill(1_000, "own"),
        "table, 10 classes, one manifest": fill(10, "one"),
    }


def measured() -> dict:
    """The measured costs, with "start": processor seconds of a run's process before its first epoch."""
    costs = json.loads((HERE / "scaling_costs.json").read_text())
    return costs | {"start": costs["processes"]["small run"]["processor seconds"]}


def ray_driver(runs: int) -> Driver:
    """The costs of `kdzoo.experiments.scheduler` on Ray, for a grid of so many runs."""
    costs = measured()
    number = min(costs["scheduler"], key=lambda number: abs(math.log(int(number) / runs)))
    of_grid, ray = costs["scheduler"][number], costs["ray"]
    slope, intercept = by_nodes(ray, "head, a task")
    return Driver(
        start=statistics.median(of_nodes["driver, a task"] for of_nodes in ray["nodes"].values()),
        find=max(of_grid["find, 99% finished"], of_grid["find, all wait for a teacher"]) / int(number),
        show=of_grid["show"] / int(number),
        watch=ray["look"],
        poll=0.2,
        queued=100,
        task=max(0.0, intercept),
        task_nodes=max(0.0, slope),
        idle_nodes=max(0.0, by_nodes(ray, "head, idle, a second")[0]),
        message=ray["message"],
    )


def by_nodes(ray: dict, cost: str) -> tuple[float, float]:
    """How much a cost of Ray grows with a node, and what it is without nodes."""
    nodes, values = zip(*((int(nodes), of_nodes[cost]) for nodes, of_nodes in ray["nodes"].items()), strict=True)
    return statistics.linear_regression(nodes, values)


def run_costs(name: str, costs: dict) -> Run:
    """The costs of the run with this record."""
    path = RESULTS / name / "record.json"
    record = json.loads(path.read_text())
    epochs = len(record["history"])
    return Run(
        epochs,
        record["wall_seconds"] / epochs,
        start=costs["start"],
        checkpoint=8.0 * record["parameters"],  # weights and momentum in float32
        result=4.0 * record["parameters"] + path.stat().st_size,
        messages=1.0,
    )


def teacher_seconds() -> float:
    """Seconds of WRN16-8 for a row: how much longer a student's step takes with it live, for an image."""
    rates = json.loads((HERE / "throughput.json").read_text())["pairs"]["wrn16-1<wrn16-8"]["images_per_second"]
    return 1 / statistics.median(rates["live"]) - 1 / statistics.median(rates["plain"])


def merge(run: Run, parts: int) -> Run:
    """The run with its epochs put together into so many, which cost as much in all."""
    each = run.epochs / parts
    written = min(1.0, run.epoch / run.checkpoint_seconds) if run.checkpoint_seconds else 1.0
    return dataclasses.replace(
        run,
        epochs=parts,
        epoch=each * run.epoch,
        row_reads=each * run.row_reads,
        row_bytes=each * run.row_bytes,
        checkpoint=each * written * run.checkpoint,
        writes=round(each * written * run.writes) or int(bool(run.writes)),
    )


def describe(outcome: Outcome) -> str:
    """A line about an outcome."""
    return (
        f"{duration(outcome.seconds)}, efficiency {outcome.efficiency:.2f},"
        f" {outcome.busiest} {100 * outcome.busy[outcome.busiest]:.0f} %"
    )


def duration(seconds: float) -> str:
    """A time in words: 3.2 days."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def saturation(of_case: dict) -> tuple[int | None, str]:
    """The number of nodes at which something limits, None beyond the largest; and what does, or is busiest there."""
    before = None
    for nodes in sorted(map(int, of_case)):
        outcome = Outcome(**of_case[str(nodes)])
        if outcome.efficiency < EFFICIENCY or outcome.busy[outcome.busiest] >= 1:
            # Up to there the load of the station grows as the number of nodes.
            share = before[1].busy[outcome.busiest] if before else 0.0
            return (min(nodes, round(before[0] / share)) if before and share else nodes), outcome.busiest
        before = nodes, outcome
    return None, before[1].busiest if before else ""


def table(result: dict) -> str:
    """A table: each case at each size, and where it has its limit."""
    from kdzoo.reports import tables

    sizes = sorted({int(nodes) for of_case in result["cases"].values() for nodes in of_case})
    shown = [nodes for nodes in sizes if math.log10(nodes) % 1 == 0] or sizes
    rows = [("case", *(f"{nodes:,} nodes" for nodes in shown), "limit at (nodes)", "what limits, or is busiest")]
    for name, of_case in result["cases"].items():
        outcomes = [Outcome(**of_case[str(nodes)]) for nodes in shown]
        nodes, station = saturation(of_case)
        limit = f"over {sizes[-1]:,}" if nodes is None else f"{'at most ' if nodes == sizes[0] else ''}{nodes:,}"
        rows.append((name, *(f"{duration(o.seconds)} ({o.efficiency:.2f})" for o in outcomes), limit, station))
    return tables.markdown(rows, words=1)


def cost_table(runs: int) -> str:
    """A table of the costs that the simulation has, and of where each was measured."""
    from kdzoo.reports import tables

    costs, driver = measured(), ray_driver(runs)
    teacher, student = run_costs(TEACHER, costs), run_costs(STUDENT, costs)
    throughput, file = "`benchmarks/throughput.json`", "`benchmarks/scaling_costs.json`"
    rows = [
        ("cost", "value", "from"),
        (f"run of {STUDENT}", f"{student.epochs} x {student.epoch:.1f} s", "its record in `results/cifar10`"),
        (f"run of {TEACHER}", f"{teacher.epochs} x {teacher.epoch:.1f} s", "its record in `results/cifar10`"),
        ("start of a run's process", f"{student.start:.1f} s of a core", file),
        (
            "checkpoint of the student, of the teacher",
            f"{mb(student.checkpoint)}, {mb(teacher.checkpoint)}",
            "parameters",
        ),
        ("row of a table, WRN16-8", f"{1000 * teacher_seconds():.2f} ms", throughput),
        ("row beside its teacher", f"{1e6 * costs['rows']['10 classes']['fill']:.1f} us of a core", file),
        (
            "record: written, read and compared",
            f"{ms(costs['records']['write'])}, {ms(costs['records']['read'])}",
            file,
        ),
        (f"look of the scheduler at {runs:,} runs", f"{ms(runs * (driver.find + driver.show))}", file),
        ("look at a task under way", f"{1e6 * driver.watch:.0f} us", file),
        ("start of a task, by the scheduler", ms(driver.start), file),
        ("task, by Ray's head", f"{ms(driver.task)} and {1e6 * driver.task_nodes:.0f} us a node", file),
        ("node that is there, of Ray's head", f"{1e6 * driver.idle_nodes:.0f} us a second", file),
        ("message of progress, by the mailbox", f"{1e6 * driver.message:.0f} us", file),
    ]
    return tables.markdown(rows, words=3)


def ms(seconds: float) -> str:
    """In milliseconds."""
    return f"{1000 * seconds:.1f} ms"


def mb(size: float) -> str:
    """In megabytes."""
    return f"{size / 1e6:.1f} MB"


def plot(result: dict, path: pathlib.Path) -> None:
    """Efficiency by the number of nodes: grids and tables, on nodes of each speed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "kdzoo"
    speeds = sorted({name.rpartition(" ")[2] for name in result["cases"]}, key=float)
    figure, axes = plt.subplots(2, len(speeds), figsize=(5 * len(speeds), 6.4), squeeze=False, sharex=True, sharey=True)
    for row, kind in enumerate(("grid", "table")):
        for ax, speed in zip(axes[row], speeds, strict=True):
            names = [name for name in result["cases"] if name.startswith(kind) and name.endswith(f"speed {speed}")]
            for name, style in zip(names, ("-", "--", ":", "-."), strict=False):
                of_case = result["cases"][name]
                sizes = sorted(map(int, of_case))
                label = name.partition(", ")[2].rpartition(", ")[0]
                efficiency = [of_case[str(nodes)]["efficiency"] for nodes in sizes]
                ax.plot(sizes, efficiency, style, color="0.2", marker="o", markersize=3, label=label)
            ax.axhline(EFFICIENCY, color="0.8", linewidth=0.8)
            ax.set(xscale="log", ylim=(0, 1.05), title=f"{kind}, nodes {speed} times as fast")
            ax.legend(frameon=False, fontsize=8)
            ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("nodes")
    for ax in axes[:, 0]:
        ax.set_ylabel("efficiency")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
