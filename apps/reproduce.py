"""Makes tables of the paper's supplement, or rows of them: trains what is missing, and tells ours beside the published.

  python -m apps.reproduce --table=7 --seeds=5 --dry_run                    # what would run, and how long
  python -m apps.reproduce --table=7 --seeds=5 --jobs=8 --budget_minutes=480
  python -m apps.reproduce --table=7 --rows=0,8,10,wrn16-2:20/65 --seeds=3 --schedule_scale=0.25 --kd_until=1,0.5

The same command goes on where it stopped. WORKDIR/DATASET/tables is rewritten after every run, comparison (plots) and
tensorboard at the end. Runs on scaled schedules are kept, named and reported apart. Exit code: as apps.sweep's.
"""

import pathlib
from collections.abc import Callable, Sequence

from absl import flags

from apps import common, running
from kdzoo.data import sources
from kdzoo.experiments import paper_runs, paper_tables
from kdzoo.reports.tables import compare
from kdzoo.runs import records
from kdzoo.runs.config import RunConfig
from zoo import InputError

flags.DEFINE_list("table", None, "Of the supplement, 1 to 10; several, comma-separated.", required=True)
flags.DEFINE_string("rows", "", "Lines of the one table, 0: the student from scratch, or TEACHER:k/N; default: all.")
flags.DEFINE_integer("seeds", 5, "Students a row, of seeds 0, 1, 2...", lower_bound=1)
flags.DEFINE_string("schedule_scale", "", "Share to shrink every schedule to, for example 0.25, on small machines.")
flags.DEFINE_list("kd_until", ["1"], "Shares of the epochs with teachers, each a variant of its own; below 1: ESKD.")
flags.DEFINE_list(
    "via", [], "Also a variant each: sequential distillation via this architecture, or several, joined by +."
)
flags.DEFINE_string("workdir", "runs/paper", "Directory of the runs, a folder a data set.")
common.define_data_flags()
common.define_optimiser_flags()
common.define_term_flags()
running.define_flags()
for module in (common, running):
    flags.adopt_module_key_flags(module)


def main() -> int:
    args = flags.FLAGS
    numbers = list(dict.fromkeys(_numbers(args.table, int, "table", "1 to 10, for example 7")))
    if args.rows and len(numbers) > 1:
        raise InputError(f"rows are of one table, for example --table=7 --rows=1-3. Received: {len(numbers)} tables")
    fields = RunConfig.__dataclass_fields__.keys() & flags.FLAGS.__flags.keys() - {"kd_until"}
    common_flags = {name: args[name].value for name in fields if args[name].value != args[name].default}
    dataset = args.dataset_name or args.dataset.removeprefix("npz:")
    if 4 in numbers and dataset in sources.NAMES:
        raise InputError(
            "Table 4 is of ImageNet: give --dataset=npz:FILE --dataset_name=imagenet. Received: " + args.dataset
        )
    root = pathlib.Path(args.workdir) / paper_tables.folder(pathlib.Path(dataset).stem, args.schedule_scale)
    shares = _numbers(args.kd_until, float, "kd_until", "above 0 and at most 1, for example 0.5")
    variants = [paper_runs.Variant(kd_until=share) for share in shares]
    variants += [paper_runs.Variant(via=tuple(chain.split("+"))) for chain in args.via]
    seeds = range(args.seeds)
    planned = {
        number: paper_runs.plan(
            paper_runs.choose(number, args.rows),
            root=root,
            seeds=seeds,
            common=common_flags,
            schedule_scale=args.schedule_scale,
            variants=variants,
        )
        for number in numbers
    }
    every = [experiment for of_table in planned.values() for experiment in of_table]
    architectures = {
        name for one in every for seed in seeds for run in one.runs(seed) for name in paper_runs.networks(run)
    }
    speed = common.import_quietly("kdzoo.experiments.speed")
    machine = speed.measure(architectures, RunConfig(**{"model": "wrn16-1", "schedule": "1-1"} | common_flags))
    runs = paper_runs.order(every, seeds, machine.seconds)
    seconds = paper_runs.estimate(runs, machine)
    print(paper_tables.describe_plan(every, runs, lambda run: seconds[run.name]))
    if args.dry_run:
        return 0

    def write_reports(_=None) -> None:
        for number, of_table in planned.items():
            paper_tables.write(of_table, root / "tables", name=f"table{number}")

    code = running.run_all(runs, finished=write_reports)
    for number, of_table in planned.items():
        print(f"\n{paper_tables.markdown(of_table)}\n\n{root / 'tables' / f'table{number}.md'}")
    done = {run.name: records.read(run.workdir) for run in runs if run.state == "finished"}
    if done:
        compare(done, root / "comparison", logdir=root / "tensorboard")
        print(f"{root / 'comparison'}: plots\n{root / 'tensorboard'}: tensorboard --logdir")
    return code


def _numbers(words: Sequence[str], kind: Callable[[str], float], name: str, rule: str) -> list:
    try:
        return [kind(word) for word in words]
    except ValueError:
        raise InputError(f"{name} must be {rule}. Received: {','.join(words)}") from None


if __name__ == "__main__":
    common.run(main)
