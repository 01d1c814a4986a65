"""Times plain training in bfloat16, ours and PyTorch's, beside the rate of matrix products in bfloat16.

  python benchmarks/training.py --torch_python=PYTHON --out=benchmarks/training.json
  python benchmarks/training.py --show=benchmarks/training.json      # the table again, in README.md too

Each way is a process of its own, set up and warm, that waits for its turn, as in `throughput.py`. PyTorch trains
eagerly, in channels_last, under autocast; ours with the policy mixed_bfloat16. `--torch_python` is a Python that has
PyTorch.
"""

import argparse
import json
import pathlib
import statistics
import sys

import readme_tables
import throughput

NETWORKS = ("wrn16-1", "wrn16-4", "wrn16-8")
SIDE = 2048  # of the matrices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--torch_python", default="", help="without it, PyTorch is left out")
    parser.add_argument("--show", default="")
    throughput.add_arguments(parser, rounds=5, seconds=4.0)
    args = parser.parse_args()
    if args.worker:
        describe = throughput.describe_torch if args.worker == "torch" else throughput.describe_ours
        return throughput.wait_for_turns(WAYS[args.worker](**json.loads(args.options)), describe)
    if args.show:
        return show(json.loads(pathlib.Path(args.show).read_text()))
    result = measure(args)
    show(result, write=bool(args.out))
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")


def measure(args) -> dict:
    """Images/s of each way, and products of matrices a second, in each round."""
    pythons = {"ours": sys.executable, "torch": args.torch_python, "matrices": sys.executable}
    result = {"networks": {}, "versions": {}}
    for network in args.networks.split(","):
        workers = {
            way: throughput.Worker(way, {"network": network}, python, script=__file__)
            for way, python in pythons.items()
            if python
        }
        rates = throughput.take_rounds(workers, args, title=network)
        rates["matrices"] = [rate / throughput.BATCH for rate in rates["matrices"]]
        result["networks"][network] = rates
        for end in [worker.end() for worker in workers.values()]:
            result["hardware"] = end["hardware"] or result["hardware"]
            result["versions"] |= end["versions"]
    return result


# In the processes.


def train_ours(*, network: str):
    from kdzoo.runs.config import RunConfig

    config = RunConfig(network, "10-1000", augment="crop_flip", dtype_policy="mixed_bfloat16", lr=1e-3)
    steps, _ = throughput.make_steps(config, throughput.noise(), None)
    return throughput.take_steps(steps)


def train_in_pytorch(*, network: str):
    import torch
    import torch_nets

    torch.manual_seed(0)
    model = torch_nets.build(network).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), **throughput.SGD)
    made = throughput.batches()

    def run(count: int) -> None:
        for _ in range(count):
            images, labels = map(torch.from_numpy, next(made))
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(images.permute(0, 3, 1, 2))  # channels_last is how they already lie
            loss = torch.nn.functional.cross_entropy(logits.float(), labels.long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def multiply_matrices(*, network: str):
    import tensorflow as tf

    a, b = (tf.cast(tf.random.normal((SIDE, SIDE), seed=seed), tf.bfloat16) for seed in (0, 1))

    def run(count: int) -> None:
        for _ in range(count):
            product = a @ b
        product.numpy()

    return run


WAYS = {"ours": train_ours, "torch": train_in_pytorch, "matrices": multiply_matrices}


def show(result: dict, *, write: bool = False) -> None:
    """Prints the table, and writes it into README.md."""
    import kdzoo
    from kdzoo.models import count_multiply_adds
    from kdzoo.reports.tables import markdown

    rows = [("network", "ours, images/s", "PyTorch", "ours to PyTorch", "matrix products", "ours, share of it")]
    for network, rates in result["networks"].items():
        # A training step is three forward passes; an addition counts as an operation of its own.
        flops = 3 * 2 * count_multiply_adds(kdzoo.build(network))
        products = [2 * SIDE**3 * rate for rate in rates["matrices"]]
        shares = [(flops * rate, product) for rate, product in zip(rates["ours"], products, strict=True)]
        peers = ("", "")
        if "torch" in rates:
            peers = f"{statistics.median(rates['torch']):.0f}", describe_ratio(rates["ours"], rates["torch"])
        rates_of = f"{statistics.median(rates['ours']):.0f}", *peers
        share = describe_ratio(*zip(*shares, strict=True))
        rows.append((network, *rates_of, f"{statistics.median(products) / 1e9:.0f} GFLOP/s", share))
    table = markdown(rows, words=1)
    print(table)
    if write:
        readme_tables.write("training", table)


def describe_ratio(ones, others) -> str:
    return "{:.2f} ({:.2f}-{:.2f})".format(*throughput.ratio(ones, others))


if __name__ == "__main__":
    main()
