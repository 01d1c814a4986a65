"""Times distillation: with the teacher live, and from its table, against plain training and what others offer.

  python benchmarks/throughput.py --out=benchmarks/throughput.json
  python benchmarks/throughput.py --plot=benchmarks/throughput.json       # the tables and the plot again
  python benchmarks/throughput.py --growth --rounds=5 --out=benchmarks/growth.json   # how the cost grows

Each way is a process of its own, set up and warm, that waits for its turn: a round gives each in turn the same batches
of 128, so that what else the machine does hits all alike. Ratios are of one round each. A process may be some per cent
faster than the next of its kind for as long as it lives, so all are started `--starts` times. All ways, peers too, get
their views from one piece of code, in a thread one batch ahead. `--torch_python` is a Python that has PyTorch (and, if
it is to be timed, torchdistill); without it these ways are left out.

The peers: `keras.distillation.Distiller` with `KLDivergence()`, in networks of Keras's own layers and without XLA,
which on a CPU halves it; PyTorch eager as RepDistiller trains (SGD, KL at T = 4), in channels_last; torchdistill's
DistillationBox with its own KDLoss, in channels_last too. Not a peer, but shown to separate the gain of kdzoo's steps
from that of its networks: `keras.distillation` with the zoo's networks, whose BatchNorm is one operation.
"""

import argparse
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as kdzoo has it, for the peer too

PAIRS = ("wrn16-1<wrn16-2", "wrn16-1<wrn16-4", "wrn16-1<wrn16-8", "dn40-12<dn100-24")
OURS = ("plain", "eigen", "live", "live_bfloat16", "cold", "warm")
PEERS = {"keras": "keras.distillation", "torch": "PyTorch", "torchdistill": "torchdistill"}
MIXED = "keras_zoo"
NAMES = {
    "plain": "plain training",
    "eigen": "plain training without oneDNN",
    "live": "ours, live",
    "live_bfloat16": "ours, live, teacher in bfloat16",
    "cold": "ours, cache cold",
    "warm": "ours, cache warm",
    **PEERS,
    MIXED: "keras.distillation, zoo's networks",
}
BATCH, EXAMPLES = 128, 5120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", default=",".join(PAIRS))
    parser.add_argument("--ways", default=",".join(way for way in NAMES if way != "eigen"))
    parser.add_argument("--starts", type=int, default=3, help="of all processes of a pair")
    parser.add_argument("--torch_python", default="")
    parser.add_argument("--plot", default="")
    parser.add_argument("--growth", action="store_true")
    add_arguments(parser, rounds=3, seconds=4.0)
    args = parser.parse_args()
    if args.worker:
        return work(args.worker, json.loads(args.options))
    if args.plot:
        return show(json.loads(pathlib.Path(args.plot).read_text()), pathlib.Path(args.plot))
    result = growth(args) if args.growth else compare(args)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")
        show(result, pathlib.Path(args.out))


def add_arguments(parser: argparse.ArgumentParser, *, rounds: int, seconds: float) -> None:
    """Adds the arguments of every benchmark whose ways are processes that take turns; these are the defaults."""
    parser.add_argument("--rounds", type=int, default=rounds, help="after each start of the processes")
    parser.add_argument("--seconds", type=float, default=seconds, help="of a way in a round, about; at least two steps")
    parser.add_argument("--out", default="")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    parser.add_argument("--options", default="{}", help=argparse.SUPPRESS)


def compare(args) -> dict:
    """Images/s of each way in each round, and the most memory each process took."""
    result = {"pairs": {}}
    for pair in args.pairs.split(","):
        ways = [way for way in args.ways.split(",") if args.torch_python or "torch" not in way]
        rates, peak = {way: [] for way in ways}, dict.fromkeys(ways, 0.0)
        for _ in range(args.starts):
            with tempfile.TemporaryDirectory() as folder:
                workers = {way: Worker(way, {"pair": pair, "folder": folder}, python(way, args)) for way in ways}
                for way, of_way in take_rounds(workers, args, title=pair).items():
                    rates[way] += of_way
                ends = {way: worker.end() for way, worker in workers.items()}
            peak = {way: max(peak[way], end["peak_mb"]) for way, end in ends.items()}
        result["pairs"][pair] = {"images_per_second": rates, "peak_mb": peak}
        for end in ends.values():
            result |= {"hardware": end["hardware"] or result.get("hardware")}
            result.setdefault("versions", {}).update(end["versions"])
    return result


def growth(args) -> dict:
    """Images/s by share of rows in the table, by teachers, by classes; and how many rows runs have to compute."""
    student, teacher = "wrn16-1", "wrn16-2"
    cases = {f"share {share}": {"share": share} for share in (0.0, 0.25, 0.5, 0.75, 1.0)}
    for count in (1, 2, 3):
        cases |= {
            f"teachers {count}, {how}": {"teachers": count, "share": float(how == "warm")} for how in ("cold", "warm")
        }
    for classes in (10, 100, 1000):
        cases |= {
            f"classes {classes}, {how}": {"classes": classes, "share": float(how == "warm"), "examples": 10 * BATCH}
            for how in ("cold", "warm")
        }
    with tempfile.TemporaryDirectory() as folder:
        options = {"pair": f"{student}<{teacher}", "folder": folder}
        workers = {name: Worker("share", options | case) for name, case in cases.items()}
        rates = take_rounds(workers, args, title="growth")
        end = [worker.end() for worker in workers.values()][-1]
    return {"growth": rates, "missing": missing_shares(), "hardware": end["hardware"], "versions": end["versions"]}


def missing_shares() -> dict[str, list[float]]:
    """Share of its rows that each seed's run must compute, one seed after another, by epochs: counted."""
    import numpy as np

    from kdzoo.data import augmentation

    indices, shares = np.arange(5000), {}
    for epochs in (16, 35, 65, 200):
        there, shares[str(epochs)] = np.zeros((len(indices), 162), bool), []
        for seed in range(5):
            missing = 0
            for epoch in range(epochs):
                views = augmentation.views(seed=seed, epoch=epoch, indices=indices, augment="crop_flip")
                missing += int((~there[indices, views]).sum())
                there[indices, views] = True
            shares[str(epochs)].append(missing / (epochs * len(indices)))
    return shares


def take_rounds(workers: "dict[str, Worker]", args, *, title: str) -> dict[str, list[float]]:
    """Gives each process its turn in each round. Returns the images/s of each in each."""
    rates: dict[str, list[float]] = {way: [] for way in workers}
    for _ in range(args.rounds):
        for way, worker in workers.items():
            rates[way].append(worker.rate(args.seconds))
        print(title, {way: round(of_way[-1]) for way, of_way in rates.items()}, flush=True)
    return rates


def python(way: str, args) -> str:
    return args.torch_python if "torch" in way else sys.executable


class Worker:
    """A process that runs a number of steps on request."""

    def __init__(self, way: str, options: dict, python: str = sys.executable, script: str = __file__):
        command = [python, script, f"--worker={way}", f"--options={json.dumps(options)}"]
        root = str(pathlib.Path(__file__).parents[1])
        backend = "jax" if "torch" in way else "tensorflow"  # which Keras, for the batches, wants to be there
        environment = os.environ | {"PYTHONPATH": root, "KERAS_BACKEND": backend}
        if way == "eigen":
            environment["TF_ENABLE_ONEDNN_OPTS"] = "0"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=environment, **pipes)
        self._seconds = self._read()["seconds"]  # of a step

    def rate(self, seconds: float) -> float:
        """Images a second."""
        steps = max(2, round(seconds / self._seconds))
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return steps * BATCH / self._read()["seconds"]

    def end(self) -> dict:
        self._process.stdin.close()
        result = self._read()
        self._process.wait()
        return result

    def _read(self) -> dict:
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self._process.args} ended")


# In the processes.


def work(way: str, options: dict) -> None:
    setup = {
        "keras": keras_distillation,
        MIXED: keras_distillation,
        "torch": torch_reference,
        "torchdistill": torch_distill,
    }.get(way, ours)
    run = setup(way=way, **options)
    wait_for_turns(run, describe_torch if "torch" in way else describe_ours)


def wait_for_turns(run, describe) -> None:
    """Runs steps on request, and describes the process at the end."""
    run(1)
    began = time.perf_counter()
    run(2)
    print(json.dumps({"seconds": (time.perf_counter() - began) / 2}), flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        run(int(line))
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(describe() | {"peak_mb": peak}), flush=True)


def describe_ours() -> dict:
    from kdzoo.runs import machine

    return {"hardware": machine.hardware(), "versions": machine.versions()}


def describe_torch() -> dict:
    import torch

    versions = {"torch": torch.__version__}
    if "torchdistill" in sys.modules:
        versions["torchdistill"] = sys.modules["torchdistill"].__version__
    return {"hardware": None, "versions": versions}


def noise(classes: int = 10, examples: int = EXAMPLES):
    """A data set of noise: the time of a step does not depend on what is seen."""
    import numpy as np

    from kdzoo.data.dataset import STATISTICS, Dataset, Split

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (examples, 32, 32, 3), np.uint8), rng.integers(0, classes, examples, np.int32)
    split = Split(images, labels, np.arange(examples))
    mean, std = STATISTICS["cifar10"]
    fingerprint = hashlib.sha256(f"noise{examples}x{classes}".encode()).hexdigest()
    return Dataset("noise", split, split.take(np.arange(BATCH)), classes, mean, std, "crop_flip", fingerprint)


def batches():
    """Standardised images [128, 32, 32, 3] and labels, batch after batch, for the peers."""
    from kdzoo.data.batches import Batches
    from kdzoo.training.tensorflow_steps import Prefetcher

    dataset = noise()
    made = Batches(dataset.train, dataset, seed=0, epoch=0, batch_size=BATCH, augment="crop_flip")
    ahead, step = Prefetcher(lambda step: made[step % len(made)], lambda step: step + 1), -1
    while True:
        yield ahead(step := step + 1)


def untrained(name: str, dataset, folder: str, seed: int) -> str:
    """Directory of a run that looks finished; its network has its initial weights."""
    import keras

    import kdzoo
    from kdzoo.runs import records
    from kdzoo.runs.identity import WEIGHTS_DIGEST
    from kdzoo.runs.weights import save_weights

    directory = pathlib.Path(folder) / f"{name}_{dataset.num_classes}_{seed}"
    if not directory.exists():
        keras.utils.set_random_seed(seed)
        model = kdzoo.build(name, num_classes=dataset.num_classes)
        metadata = {"name": dataset.name, "fingerprint": dataset.fingerprint, "num_classes": dataset.num_classes}
        metadata |= {"image_shape": list(dataset.image_shape), "mean": list(dataset.mean), "std": list(dataset.std)}
        finished = records.read(pathlib.Path(__file__).parents[1] / "results/cifar10/wrn16-2_10-35_seed0")
        config = finished["config"] | {"model": name, "seed": seed}
        record = finished | {"name": f"{name}_{config['schedule']}", "seed": seed, "config": config}
        record["dataset"] = finished["dataset"] | metadata
        directory.mkdir()
        record[WEIGHTS_DIGEST] = save_weights(directory, model)
        records.write(directory, {key: value for key, value in record.items() if key != "published"})
    return str(directory)


def make_steps(config, dataset, cache, *, epoch: int = 0):
    """Training steps of an epoch as `kdzoo.training.run` makes them, and the delivery of teacher outputs."""
    from kdzoo.teachers.resolve import Ensemble
    from kdzoo.training import build, strategy
    from kdzoo.training.delivery import choose_delivery
    from kdzoo.training.inputs import RunInputs
    from kdzoo.training.phases import Phases

    strategy.make_deterministic()
    ensemble = Ensemble(config, dataset)
    ensemble.check(dataset)
    inputs = RunInputs(config, dataset, {"train": dataset.train, "test": dataset.test}, ensemble)
    delivery = choose_delivery(inputs, cache)
    steps = Phases(build.build_distiller(inputs, delivery), inputs, delivery).steps_at(epoch)
    steps.model.begin_epoch(epoch, config.planned_kd_epochs)
    return steps, delivery


def new_cache(folder: str):
    from kdzoo.teachers.output_cache import Cache

    return Cache(pathlib.Path(tempfile.mkdtemp(dir=folder)))


def fill(delivery, rows) -> None:
    """Writes rows into the tables of all teachers, as if these had computed them: any numbers will do."""
    import numpy as np

    for teacher in delivery.step_outputs.teachers:
        for table in teacher.tables.values():
            for part in np.array_split(rows, -(-len(rows) // 4096)):
                table.write(part, np.zeros((len(part), *table.row.shape), np.float32))


def take_steps(steps, epoch: int = 0):
    """A function that takes so many training steps, from this epoch on."""
    position = (epoch, 0)

    def run(count: int) -> None:
        nonlocal position
        for _ in range(count):
            epoch, step = position
            steps.run(epoch=epoch, begin=step, end=step + 1)
            position = steps.following(position)
        steps.metrics()

    return run


def ours(
    *,
    way: str,
    pair: str,
    folder: str,
    share: float = 0.0,
    teachers: int = 1,
    classes: int = 10,
    examples: int = EXAMPLES,
):
    """Steps as `kdzoo.training.run` runs them."""
    import numpy as np

    from kdzoo.runs.config import METHODS, RunConfig

    student, _, teacher = pair.partition("<")
    dataset = noise(classes, examples)
    plain = way in ("plain", "eigen")
    config = RunConfig(
        student,
        "10-1000",
        teachers=() if plain else tuple(untrained(teacher, dataset, folder, seed) for seed in range(teachers)),
        teacher_dtype="bfloat16" if way == "live_bfloat16" else "auto",
        augment="crop_flip",
        lr=1e-3,
        **METHODS["none" if plain else "kd"],
    )
    steps, delivery = make_steps(config, dataset, None if plain or way.startswith("live") else new_cache(folder))
    if share := 1.0 if way == "warm" else share:
        rows = np.random.default_rng(1).permutation(examples * config.num_views)
        fill(delivery, np.sort(rows[: int(share * len(rows))]))
    return take_steps(steps)


def keras_distillation(*, way: str, pair: str, folder: str):
    import keras
    from keras.distillation import Distiller, LogitsDistillation

    import kdzoo
    import zoo.layers

    if way != MIXED:
        zoo.layers.BatchNormalization = keras.layers.BatchNormalization
    student, _, teacher = pair.partition("<")
    frozen = kdzoo.build(teacher)
    frozen.trainable = False
    loss = LogitsDistillation(temperature=4.0, loss=keras.losses.KLDivergence())
    model = Distiller(frozen, kdzoo.build(student), loss, student_loss_weight=0.1)
    model.compile(
        optimizer=keras.optimizers.SGD(1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    made = batches()
    model.train_on_batch(*next(made))
    model.make_train_function()

    def run(count: int) -> None:
        for _ in range(count):
            model.train_function(iter([next(made)]))
        model.get_metrics_result()

    return run


def _torch_setup(pair: str):
    import torch
    import torch_nets

    torch.manual_seed(0)
    # channels_last is how the images already lie
    made = ((torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y).long()) for x, y in batches())
    student, teacher = (torch_nets.build(name).to(memory_format=torch.channels_last) for name in pair.split("<"))
    return student, teacher.eval(), made


SGD = {"lr": 1e-3, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


def torch_reference(*, way: str, pair: str, folder: str):
    import torch
    from torch.nn import functional as F

    student, teacher, made = _torch_setup(pair)
    optimiser = torch.optim.SGD(student.parameters(), **SGD)
    temperature = 4.0

    def run(count: int) -> None:
        for _ in range(count):
            x, y = next(made)
            with torch.no_grad():
                target = F.softmax(teacher(x) / temperature, dim=1)
            logits = student(x)
            kd = F.kl_div(F.log_softmax(logits / temperature, dim=1), target, reduction="sum") / len(x)
            loss = 0.1 * F.cross_entropy(logits, y) + 0.9 * temperature**2 * kd
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return run


def torch_distill(*, way: str, pair: str, folder: str):
    import logging

    import torch
    from torchdistill.core.distillation import get_distillation_box

    logging.disable(logging.INFO)
    student, teacher, made = _torch_setup(pair)
    paths = {
        f"{who}_module_{what}": value
        for who in ("student", "teacher")
        for what, value in (("path", "."), ("io", "output"))
    }
    kd = {"key": "KDLoss", "kwargs": {**paths, "temperature": 4.0, "alpha": 0.1, "reduction": "batchmean"}}
    config = {
        "num_epochs": 1,
        "teacher": {"requires_grad": False, "forward_proc": "forward_batch_only"},
        "student": {"requires_grad": True, "forward_proc": "forward_batch_only"},
        "optimizer": {"key": "SGD", "kwargs": dict(SGD)},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": kd, "weight": 1.0}}}},
    }
    box = get_distillation_box(teacher, student, {}, config, torch.device("cpu"), None, False, 1)
    box.student_model.train()
    box.teacher_model.eval()

    def run(count: int) -> None:
        for _ in range(count):
            x, y = next(made)
            box.post_forward_process(box.forward_process(x, y, supp_dict=None))

    return run


# What is shown.


def show(result: dict, path: pathlib.Path) -> None:
    """Prints the tables and draws the plot beside the results' file."""
    from kdzoo.reports.tables import markdown

    tables = show_growth(result) if "growth" in result else show_pairs(result)
    for table in tables:
        print(markdown(table, words=1), end="\n\n")
    print(json.dumps({key: result[key] for key in ("hardware", "versions")}))
    plot(result, path.with_suffix(".svg"))


def ratio(one: list[float], other: list[float]) -> tuple[float, float, float]:
    """Median and quartiles of the ratios of each round."""
    low, median, high = statistics.quantiles((a / b for a, b in zip(one, other, strict=True)), n=4)
    return median, low, high


def best_peer(rates: dict[str, list[float]]) -> str:
    return max((way for way in PEERS if way in rates), key=lambda way: statistics.median(rates[way]))


def show_pairs(result: dict) -> list[list[tuple]]:
    tables = []
    for pair, measured in result["pairs"].items():
        rates, peak = measured["images_per_second"], measured["peak_mb"]
        bases = ["plain", *([best_peer(rates)] if any(way in PEERS for way in rates) else [])]
        bases += [MIXED] if MIXED in rates else []
        rows = [(pair.replace("<", " from "), "images/s", *(f"to {NAMES[base]}" for base in bases), "peak MB")]
        for way, of_way in rates.items():
            ratios = ["{:.2f} ({:.2f}-{:.2f})".format(*ratio(of_way, rates[base])) for base in bases]
            rows.append((NAMES[way], f"{statistics.median(of_way):.0f}", *ratios, f"{peak[way]:.0f}"))
        tables.append(rows)
    return tables


def show_growth(result: dict) -> list[list[tuple]]:
    rates = result["growth"]
    full = rates["share 1.0"]
    rows = [("wrn16-1 from wrn16-2", "images/s", "s an epoch of 50,000", "to a full table")]
    for name, of_case in rates.items():
        median = statistics.median(of_case)
        rows.append(
            (name, f"{median:.0f}", f"{50_000 / median:.0f}", "{:.2f} ({:.2f}-{:.2f})".format(*ratio(of_case, full)))
        )
    # A step takes as long as with a full table, and each missing row its part of what an empty one costs.
    warm, cold = (50_000 / statistics.median(rates[f"share {share}"]) for share in ("1.0", "0.0"))
    costs = [("rows to compute, and s an epoch", *(f"seed {seed}" for seed in range(1, 6)))]
    for epochs, shares in result["missing"].items():
        costs.append((f"{epochs} epochs", *(f"{100 * s:.0f} %, {warm + s * (cold - warm):.0f}" for s in shares)))
    return [rows, costs]


def plot(result: dict, path: pathlib.Path) -> None:
    """Bars of images/s for each pair; for the growth, seconds an epoch against what grows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "kdzoo"
    if "growth" in result:
        figure = plot_growth(plt, result)
    else:
        figure, axes = plt.subplots(1, len(result["pairs"]), figsize=(3.2 * len(result["pairs"]), 3.6), squeeze=False)
        for ax, (pair, measured) in zip(axes[0], result["pairs"].items(), strict=True):
            rates = measured["images_per_second"]
            ways = [way for way in NAMES if way in rates]
            quartiles = [statistics.quantiles(rates[way], n=4) for way in ways]
            heights = [middle for _, middle, _ in quartiles]
            spread = [[m - low for low, m, _ in quartiles], [high - m for _, m, high in quartiles]]
            colours = ["0.75" if way == "plain" else "0.25" if way in OURS else "0.55" for way in ways]
            bars = ax.barh([NAMES[way] for way in ways], heights, xerr=spread, color=colours, capsize=2)
            ax.bar_label(bars, [f" {height:.0f}" for height in heights], fontsize=8, padding=4)
            ax.set(title=pair.replace("<", " from "), xlabel="images/s", xlim=(0, 1.25 * max(heights)))
            ax.invert_yaxis()
            if ax is not axes[0][0]:
                ax.set_yticklabels([])
            ax.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def plot_growth(plt, result: dict):
    rates = result["growth"]
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4))

    def draw(ax, prefix: str, label: str, *, log: bool = False) -> None:
        for how, style in (("", "o-"), (", cold", "s--"), (", warm", "o-")):
            names = [n for n in rates if n.startswith(prefix) and n.partition(",")[2] == how.removeprefix(",")]
            if names:
                x = [float(name.split()[1].rstrip(",")) for name in names]
                y = [50_000 / statistics.median(rates[name]) for name in names]
                ax.plot(x, y, style, color="0.2", label=how.removeprefix(", ") or None)
        ax.set(xlabel=label, ylabel="s an epoch", ylim=(0, None), xscale="log" if log else "linear")

    draw(axes[0], "share", "share of rows in the table")
    draw(axes[1], "teachers", "teachers")
    draw(axes[2], "classes", "classes", log=True)
    axes[1].legend(frameon=False)
    axes[1].set_xticks([1, 2, 3])
    warm, cold = (50_000 / statistics.median(rates[f"share {share}"]) for share in ("1.0", "0.0"))
    for (epochs, shares), style in zip(result["missing"].items(), ("o:", "s-.", "^--", "D-"), strict=True):
        seconds = [warm + share * (cold - warm) for share in shares]
        axes[3].plot(range(1, 6), seconds, style, color="0.2", label=f"{epochs} epochs")
    axes[3].set(xlabel="seed, one after another", ylabel="s an epoch", ylim=(0, None), xticks=range(1, 6))
    axes[3].legend(frameon=False)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
