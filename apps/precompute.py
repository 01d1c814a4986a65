"""Asks teachers ahead of the runs they teach in: fills the tables that `apps.distill` reads, going on where it stopped.

  python -m apps.precompute --teacher=wrn16-4_5-16 --dataset=cifar10
  python -m apps.precompute --teacher=wrn16-4_5-16 --dataset=cifar10 --schedule=5-16 --seeds=0,1,2   # only their views

Flags that the runs will have must be the same here. Several processes may fill a table at once.
"""

import os
import sys

from absl import flags

from apps import common
from kdzoo.teachers import output_cache
from zoo import InputError

common.define_data_flags()
common.define_teacher_flags()
flags.adopt_module_key_flags(common)
flags.DEFINE_string("schedule", None, "Only the views that runs on this schedule, with --seeds, will show.")
flags.DEFINE_list("seeds", ["0"], "Of those runs, comma-separated; without --schedule it does not count.")
flags.DEFINE_bool("attention", False, "Attention maps too, for --method=at and at+kd.")


def main() -> int:
    args = flags.FLAGS
    if not args.teacher:
        raise InputError("teacher must name at least one, for example wrn16-2_10-35. Received: none")
    if not all(seed.isdecimal() for seed in args.seeds):
        raise InputError(f"seeds must be numbers, for example 0,1,2. Received: {','.join(args.seeds)}")
    config = common.configuration(
        model="wrn10-1",  # whichever: tables do not depend on the student
        schedule=args.schedule or "1-1",
        teachers=tuple(args.teacher),
        kd_weight=1.0,
        at_weight=float(args.attention),
    )
    cache = output_cache.find(args.teacher_cache, args.cache_gb)
    if cache is None or config.dtype_policy == "auto":
        raise InputError("teacher_cache must not be off, nor dtype_policy auto, where rows are to be kept for later")
    import tqdm

    with common.stop_signals() as received:
        common.import_training().make_deterministic()
        answers = common.import_quietly("kdzoo.teachers.outputs")
        every = 0.5 if sys.stderr.isatty() else 60.0
        with tqdm.tqdm(unit="row", unit_scale=True, mininterval=every, desc="asked") as bar:

            def show(done: int, of: int) -> None:
                bar.total = of
                bar.update(done - bar.n)

            there, added = answers.precompute(
                config,
                cache,
                seeds=[int(seed) for seed in args.seeds] if args.schedule else None,
                deadline=args.teacher_deadline,
                progress=show,
                stopping=lambda: bool(received),
            )
    print(f"{added:,} rows added to {there:,} that were there: {os.path.abspath(cache.folder)}")
    return 128 + received[0] if received else 0


if __name__ == "__main__":
    common.run(main)
