"""Fills the cache of teacher outputs ahead of the runs of `apps.distill` that read it.

  python -m apps.precompute --teacher=wrn16-4_5-16 --dataset=cifar10
  python -m apps.precompute --teacher=wrn16-4_5-16 --dataset=cifar10 --schedule=5-16 --seeds=0,1,2   # only their views

On a Ray cluster, where all nodes share the folder CACHE, or with s3://BUCKET/PREFIX in its place:

  python -m apps.precompute --teacher=wrn16-4_5-16 --dataset=cifar10 --teacher_cache=CACHE --ray=HOST:PORT

The flags of data and teacher must be those of the later runs. The same command resumes where it stopped; several
processes may fill one cache at once. Exit code: 0 once every output is cached, 128 plus the signal's number after
SIGTERM or Ctrl-C.
"""

import functools
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from absl import flags

from apps import command, flag_values, ray_flags, run_config, run_flags, signals
from kdzoo import training
from kdzoo.distillation import registry
from kdzoo.runs import machine
from kdzoo.runs.config import RunConfig
from kdzoo.runs.settings import RANGES
from kdzoo.teachers import output_cache
from zoo import InputError

if TYPE_CHECKING:
    from kdzoo.experiments.on_ray.cluster import Resources

run_flags.define_data_flags()
run_flags.define_recipe_flag()
run_flags.define_teacher_flags()
run_flags.define_unlabelled_flags()
ray_flags.define_flags("process that fills a part of the tables")
flags.adopt_module_key_flags(run_flags)
flags.DEFINE_string(
    "schedule",
    None,
    "Schedule of the later runs; with --seeds it limits the work to the views that they train on. Example: 5-16."
    " Default: all views.",
)
flag_values.define_numbers(
    "seeds",
    [0],
    "Seeds of the later runs, separated by commas. Only used with --schedule. Example: 0,1,2.",
    RANGES["seed"],
)
flag_values.define_number(
    "batch_size",
    RunConfig.batch_size,
    "Number of images in one training step of the later runs. Only used with --schedule and --unlabelled.",
)
flags.DEFINE_bool("attention", False, "Whether to cache attention maps too, for --method=at and --method=at+kd.")
flags.DEFINE_bool(
    "features",
    False,
    "Whether to cache penultimate features too, for methods that compare them and no stages, such as --method=pkt.",
)


def main() -> int:
    args = flags.FLAGS
    if not args.teacher:
        raise InputError("teacher must name at least one, for example wrn16-2_10-35. Received: none")
    of_method = registry.fields("pkt" if args.features else "kd")  # methods that compare features share their tables
    config = run_config.from_flags(
        model="wrn10-1",  # any student: the cached outputs do not depend on it
        schedule=args.schedule or "1-1",
        teachers=tuple(args.teacher),
        **of_method | {"at_weight": float(args.attention)},
    )
    cache = output_cache.find(args.teacher_cache, args.cache_gb)
    if cache is None:
        rule = "teacher_cache must be auto, a folder or s3://BUCKET/PREFIX, which keep the outputs for later runs"
        raise InputError(f"{rule}. Received: {args.teacher_cache}")
    if config.dtype_policy == "auto":
        rule = "dtype_policy must be that of the later runs, for example float32, since each run measures auto anew"
        raise InputError(f"{rule}. Received: auto")
    if args.ray and args.teacher_cache == "auto":
        rule = "teacher_cache must be a folder that all nodes of --ray share, or s3://BUCKET/PREFIX"
        raise InputError(f"{rule}, for example /shared/cache. Received: auto")
    import tqdm

    resources = ray_flags.connect()
    with signals.stop_signals() as received:
        machine.check_backend()
        from kdzoo.teachers.precompute import precompute

        every = 0.5 if sys.stderr.isatty() else 60.0
        unit = "shard" if resources else "row"
        with tqdm.tqdm(unit=unit, unit_scale=True, mininterval=every, desc="computed") as bar:

            def show(done: int, of: int) -> None:
                bar.total = of
                bar.update(done - bar.n)

            options = {
                "seeds": tuple(args.seeds) if args.schedule else None,
                "deadline": args.teacher_deadline,
                "workers": args.data_workers,
            }
            follow: dict[str, Any] = {"progress": show, "stopping": lambda: bool(received)}
            if resources:
                there, added = _fill_on_ray(config, resources, options, follow)
            else:
                training.make_deterministic()
                there, added = precompute(config, cache, **options, **follow)
    print(f"{added:,} rows added to {there:,} that were there: {cache.name}")
    return 128 + received[0] if received else 0


def _fill_on_ray(
    config: RunConfig, resources: "Resources", options: Mapping[str, Any], follow: Mapping[str, Any]
) -> tuple[int, int]:
    """Fills the tables on the cluster. Returns what `precompute` does."""
    from kdzoo.experiments.on_ray import cluster, shard_tasks, table_work
    from kdzoo.teachers.precompute import count_shards

    args = flags.FLAGS
    remote = "://" in args.teacher_cache
    work = table_work.Work(
        config,
        args.teacher_cache if remote else os.path.abspath(args.teacher_cache),
        args.cache_gb,
        cwd=os.getcwd(),
        env=tuple(cluster.shared_environment().items()),
        resources=resources,
        **options,
    )
    shards = range(count_shards(config, workers=args.data_workers))
    return shard_tasks.fill_all(functools.partial(table_work.fill, work), shards, resources, **follow)


if __name__ == "__main__":
    command.run(main)
