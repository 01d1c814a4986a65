"""Times a training step of each distillation method against plain training: WRN16-1 taught by WRN16-2, batches of 128.

  python benchmarks/methods.py --out=benchmarks/methods.json
  python benchmarks/methods.py --show=benchmarks/methods.json      # the table again, in README.md too

Each method is a process of its own, set up and warm, that waits for its turn: a round gives plain training and each
method of a group in turn a few seconds. Ratios are of one round each. Methods on logits or penultimate features read a
table that holds all rows, as all runs with a teacher do but the first; for the others the teacher runs in each step.
What FT trains first is timed apart.
"""

import argparse
import json
import pathlib
import statistics
import tempfile

import readme_tables
import throughput

STUDENT, TEACHER = "wrn16-1", "wrn16-2"
EXAMPLES = 50_000  # CRD keeps something for each
GROUP = 4  # processes beside plain training: memory for more may not be there
PRETRAINING = "pretraining"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default="", help="all, if empty; others stay in --out as they are")
    parser.add_argument("--show", default="")
    throughput.add_arguments(parser, rounds=5, seconds=2.0)
    args = parser.parse_args()
    if args.worker:
        run, teacher = steps_of(args.worker, **json.loads(args.options))
        return throughput.wait_for_turns(run, lambda: throughput.describe_ours() | {"teacher": teacher})
    if args.show:
        return show(json.loads(pathlib.Path(args.show).read_text()))
    result, out = measure(args), pathlib.Path(args.out)
    if args.out:
        if args.methods and out.exists():  # others stay as they are there
            result["methods"] = json.loads(out.read_text())["methods"] | result["methods"]
        out.write_text(json.dumps(result, indent=1) + "\n")
    show(result, write=bool(args.out))


def names() -> list[str]:
    """All methods that distil this teacher, and FT's pretraining."""
    from kdzoo.experiments import methods_plan

    planned = [method.name for method in methods_plan.registered() if not method.own_teacher]
    return [*planned, f"ft {PRETRAINING}"]


def measure(args) -> dict:
    """Images/s of plain training and of each method in each round."""
    todo, result = args.methods.split(",") if args.methods else names(), {"methods": {}}
    for group in (todo[at : at + GROUP] for at in range(0, len(todo), GROUP)):
        with tempfile.TemporaryDirectory() as folder:
            workers = {name: throughput.Worker(name, {"folder": folder}, script=__file__) for name in ("none", *group)}
            rates = throughput.take_rounds(workers, args, title="methods")
            ends = {name: worker.end() for name, worker in workers.items()}
        for name in group:
            measured = {"images_per_second": rates[name], "plain": rates["none"], "peak_mb": ends[name]["peak_mb"]}
            result["methods"][name] = measured | {"teacher": ends[name]["teacher"]}
        result |= {key: ends["none"][key] for key in ("hardware", "versions")}
    return result


def steps_of(name: str, *, folder: str):
    """Takes training steps of a method; and how the teacher's outputs reach them."""
    import numpy as np

    from kdzoo.distillation import registry, run_method
    from kdzoo.runs.config import RunConfig
    from kdzoo.training.delivery import FromCache

    name, _, pretraining = name.partition(" ")
    dataset = throughput.noise(examples=EXAMPLES)
    own = {} if name in registry.TERMS else {"distillation_method": name}
    taught = name != "none" and (not own or registry.make(name).has_teacher)
    config = RunConfig(
        STUDENT,
        "10-100",
        teachers=(throughput.untrained(TEACHER, dataset, folder, 0),) if taught else (),
        augment="crop_flip",
        dtype_policy="mixed_bfloat16",
        lr=1e-3,
        **(registry.weights(name) | own),
    )
    epoch = 0 if pretraining else run_method.pretraining_epochs(config.own_method, config.kd_epochs)
    steps, delivery = throughput.make_steps(config, dataset, throughput.new_cache(folder), epoch=epoch)
    has_table = isinstance(delivery, FromCache)
    if has_table:
        rows = [delivery.step_outputs.rows_of((epoch, step)) for step in range(steps.per_epoch)]
        throughput.fill(delivery, np.concatenate(rows))
    return throughput.take_steps(steps, epoch), "table" if has_table else "in each step" if taught else "none"


def show(result: dict, *, write: bool = False) -> None:
    """Prints the table, and writes it into README.md."""
    from kdzoo.reports.tables import markdown

    rows = [("method", "teacher", "time of a step to plain training", "images/s", "peak MB")]
    for name, measured in result["methods"].items():
        ratio = "{:.2f} ({:.2f}-{:.2f})".format(*throughput.ratio(measured["plain"], measured["images_per_second"]))
        rate = f"{statistics.median(measured['images_per_second']):.0f}"
        rows.append((name, measured["teacher"], ratio, rate, f"{measured['peak_mb']:.0f}"))
    table = markdown(rows, words=2)
    print(table)
    if write:
        readme_tables.write("methods", table)


if __name__ == "__main__":
    main()
