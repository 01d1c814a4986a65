"""Reproduces tables and the figure of the paper's supplement, or some of their rows, beside the published errors.

`--table=methods` compares distillation methods instead: WRN16-1 with WRN16-2, early-stopped and trained for longer.

  python -m apps.reproduce --table=7 --seeds=5 --dry_run                    # the planned runs, and how long they take
  python -m apps.reproduce --table=7 --seeds=5 --jobs=8 --budget_minutes=480
  python -m apps.reproduce --table=7 --rows=0,8,10,wrn16-2:20/65 --seeds=3 --schedule_scale=0.25 --kd_until=1,0.5
  python -m apps.reproduce --figure=1 --dataset=tfds:imagenet2012 --seeds=1 --dry_run
  python -m apps.reproduce --table=methods --dtype_policy=mixed_bfloat16 --dry_run

Trains the missing runs and rewrites WORKDIR/DATASET/tables after each of them; the folders comparison (plots) and
tensorboard beside it follow at the end. Runs on scaled schedules are stored, named and reported apart. The same command
resumes where it stopped. Exit code: 0 once all runs are finished, 1 if some failed or do not count in their rows, 75 if
the budget or a signal left some unfinished.
"""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from apps import command, flag_values, many_runs, run_config, run_flags
from kdzoo.data import sources
from kdzoo.data.dataset import Dataset
from kdzoo.experiments import cost, methods_plan, paper_results, paper_rows, paper_runs, paper_tables
from kdzoo.experiments.grid import Run
from kdzoo.paper import printed
from kdzoo.ranges import Range
from kdzoo.reports.comparison import compare
from kdzoo.runs import machine, records
from kdzoo.runs.config import RunConfig
from zoo import InputError

METHODS = "methods"
flag_values.define_numbers(
    "table",
    None,
    "Tables of the supplement, separated by commas, or methods: the comparison of distillation methods. Either these or"
    " --figure is required.",
    Range(least=1, most=10, whole=True, example=7),
    words=(METHODS,),
)
flag_values.define_numbers(
    "figure",
    None,
    "Figure 1 of the supplement: ResNet18 on ImageNet, taught by the networks of table 4.",
    Range(least=1, most=1, whole=True, example=1),
)
flags.mark_flags_as_mutual_exclusive(["table", "figure"], required=True)
flags.DEFINE_string(
    "rows",
    "",
    "Rows of the one table, separated by commas: line numbers and ranges of them, 0 being their students from scratch,"
    " or TEACHER:k/N for a teacher that it lacks, on ImageNet TEACHER:N. Example: 0,3-5,wrn16-2:20/65. Empty: all.",
)
flags.DEFINE_integer(
    "seeds",
    5,
    "Number of students in each row, with seeds 0, 1, 2 and so on. Methods that need features of the teacher have three"
    " at most.",
    lower_bound=1,
    upper_bound=1000,
)
flags.DEFINE_string(
    "schedule_scale",
    "",
    "Share to which every schedule is shrunk, above 0 and below 1, for small machines. Example: 0.25. Empty: full"
    " schedules.",
)
flag_values.define_numbers(
    "kd_until",
    [RunConfig.kd_until],
    "Shares of the student's epochs that use the teacher, separated by commas; each is one variant of every row. Below"
    " 1 it is early-stopped distillation (ESKD). Example: 1,0.5.",
)
flags.DEFINE_list(
    "via",
    [],
    "More variants of every row, separated by commas: sequential distillation through this architecture, or through"
    " several joined by +. Example: wrn16-2,wrn16-4+wrn16-2.",
)
flags.DEFINE_list(
    "teachers",
    [],
    "With --table=methods, the teachers: runs or published models, separated by commas. Empty: WRN16-2 on the schedules"
    " 5-16 and 10-35, trained first. Example: wrn16-2_5-16,wrn16-2_10-35.",
)
flag_values.define_directory("workdir", "runs/paper", "Directory of the runs, with one folder for each data set.")
run_flags.define_data_flags()
run_flags.define_optimiser_flags()
run_flags.define_recipe_flag("imagenet for table 4 and the figure, cifar for the other tables")
run_flags.define_term_flags()
many_runs.define_flags()
for module in (run_flags, many_runs):
    flags.adopt_module_key_flags(module)


def main() -> int:
    args = flags.FLAGS
    if args.table == [METHODS]:
        return _compare_methods()
    if args.teachers:
        raise InputError(
            f"teachers are of --table=methods; tables of the paper have their own. Received: {args.teachers}"
        )
    numbers: list[int | str] = list(dict.fromkeys(args.table)) if args.table else [printed.FIGURE1]
    if args.rows and len(numbers) > 1:
        raise InputError(f"rows are of one table, for example --table=7 --rows=1-3. Received: {len(numbers)} tables")
    root = _root(numbers)
    planned = {number: _plan(number, root) for number in numbers}
    every = [experiment for of_table in planned.values() for experiment in of_table]
    runs = _order_and_describe(every, _shared_fields(numbers[0]))
    if args.dry_run:
        return 1 if paper_results.find_faults(every) else 0

    def write_tables() -> None:
        for number, of_table in planned.items():
            paper_tables.write(of_table, root / "tables", name=printed.stem(number))

    code = many_runs.run_all(runs, finished=lambda _: write_tables())
    write_tables()  # a run that does not count is not among the finished ones
    for number, of_table in planned.items():
        print(f"\n{paper_tables.markdown(of_table)}\n\n{root / 'tables' / printed.stem(number)}.md")
    _compare_finished(runs, root)
    faults = paper_results.find_faults(every)
    for name, fault in faults.items():
        print(f"{name} does not count: {fault}", file=sys.stderr)
    return 1 if faults else code


def _compare_methods() -> int:
    """Plans and trains the comparison of methods. Returns the exit code."""
    args = flags.FLAGS
    if of_tables := [name for name in ("rows", "kd_until", "via") if args[name].present]:
        raise InputError(f"--table=methods has no rows, kd_until and via. Received: --{of_tables[0]}")
    root, shared = _root([]) / METHODS, _shared_fields(METHODS)
    options = {"root": root, "seeds": args.seeds, "common": shared, "schedule_scale": args.schedule_scale}
    options["teachers"] = args.teachers
    runs = methods_plan.plan(methods_plan.registered(), **options)
    measured = _measure(runs, shared)
    _print_plan([], runs, measured)
    if args.dry_run:
        return 0
    code = many_runs.run_all(runs)
    print(f"\n{_compare_finished(runs, root)}\n")
    return code


def _compare_finished(runs: Sequence[Run], root: pathlib.Path) -> str:
    """Writes the plots and the log directory of the finished runs. Returns the comparison of methods, as Markdown."""
    done = {run.name: records.read(run.workdir) for run in runs if run.state == "finished"}
    if not done:
        return ""
    compared = compare(done, root / "comparison", logdir=root / "tensorboard")
    print(f"{root / 'comparison'}: plots\n{root / 'tensorboard'}: tensorboard --logdir")
    return compared.methods


def _shared_fields(number: int | str) -> dict[str, Any]:
    """Returns the fields of `RunConfig` that the flags set for every run of a table."""
    defaults = {field.name: field.default for field in dataclasses.fields(RunConfig)}
    on_imagenet = number != METHODS and printed.rows(number)[0].dataset == printed.IMAGENET
    recipe = "imagenet" if on_imagenet else "cifar"
    fields = run_config.fields_from_flags(flags.FLAGS.recipe or recipe)
    of_rows = ("schedule", "kd_until", "teachers")
    return {name: value for name, value in fields.items() if name not in of_rows and value != defaults[name]}


def _root(numbers: Sequence[int | str]) -> pathlib.Path:
    """Returns the folder of the data set below --workdir. Raises InputError if the data set is not the tables'."""
    args = flags.FLAGS
    path = sources.path_of(args.dataset)
    dataset = args.dataset_name or (os.path.abspath(path) if path is not None else args.dataset)
    for row in (printed.rows(number)[0] for number in numbers):
        if row.dataset == printed.IMAGENET and dataset in sources.NAMES:
            raise InputError(
                f"{row.title} is of ImageNet: give --dataset=tfds:imagenet2012, or --dataset=folder:DIR"
                f" --dataset_name=imagenet2012. Received: {args.dataset}"
            )
    if dataset.startswith("tfds:"):
        dataset = dataset.split(":")[1].replace("/", "-")  # without its version
    return pathlib.Path(args.workdir) / paper_runs.folder(pathlib.Path(dataset).stem, args.schedule_scale)


def _plan(number: int | str, root: pathlib.Path) -> list[paper_runs.Experiment]:
    """Returns the experiments of a table."""
    args = flags.FLAGS
    variants = [paper_runs.Variant(kd_until=share) for share in args.kd_until]
    variants += [paper_runs.Variant(via=tuple(chain.split("+"))) for chain in args.via]
    return paper_runs.plan(
        paper_rows.choose(number, args.rows),
        root=root,
        seeds=range(args.seeds),
        common=_shared_fields(number),
        schedule_scale=args.schedule_scale,
        variants=variants,
    )


def _order_and_describe(every: Sequence[paper_runs.Experiment], shared: Mapping[str, Any]) -> list[Run]:
    """Measures the machine, puts the runs in order and prints the plan with its estimate. Returns the runs."""
    seeds = range(flags.FLAGS.seeds)
    own = every[0].row.dataset if every[0].row.dataset == printed.IMAGENET else ""
    measured = _measure([run for one in every for seed in seeds for run in one.runs(seed)], shared, own=own)
    runs = paper_runs.order(every, seeds, measured.seconds if measured else paper_runs.epochs)
    _print_plan(every, runs, measured)
    return runs


def _measure(runs: Sequence[Run], shared: Mapping[str, Any], *, own: str = "") -> cost.MachineSpeed | None:
    """Measures how fast the machine makes the runs. A dry run needs no data: None where their sizes are not known.

    Args:
        runs: to make.
        shared: fields of `RunConfig` for every run.
        own: name of the only data set that the runs may have; "" for any.
    """
    config = RunConfig(**{"model": "wrn16-1", "schedule": "1-1", **shared})
    if not flags.FLAGS.dry_run:
        dataset: Dataset | None = sources.load(config.data)
    else:
        dataset = sources.load_or_outline(dataclasses.replace(config.data, dataset_name=config.dataset_name or own))
    if dataset is None:
        return None
    machine.check_backend()
    from kdzoo.experiments import speed

    return speed.measure({name for run in runs for name in paper_runs.networks(run)}, config, dataset)


def _print_plan(
    every: Sequence[paper_runs.Experiment], runs: Sequence[Run], measured: cost.MachineSpeed | None
) -> None:
    """Prints the missing runs, with their times if the machine's speed is known."""
    if measured is None:
        print(cost.describe_plan(every, runs, None))
        path = sources.path_of(flags.FLAGS.dataset)
        print(f"without times{', and in the order of epochs' if every else ''}: there is no {path}")
        return
    seconds = cost.estimate(runs, measured)
    print(cost.describe_plan(every, runs, lambda run: seconds[run.name]))


if __name__ == "__main__":
    command.run(main)
