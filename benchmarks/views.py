"""Measures what the number of crops of a picture costs: a student's error, and the size of its teacher's table.

  apt-get install openclipart-png
  python benchmarks/views.py --out=benchmarks/views.json
  python benchmarks/views.py --show=benchmarks/views.json     # the table again

A teacher learns from endless crops, then students learn from it by KD, from V crops of each picture, with several
seeds. The pictures are Debian's openclipart-png (public domain): seven classes, without the links to other pictures and
without 13 of over 40 million pixels. The study trains for many epochs, so it first shrinks each picture to at most 160
pixels a side.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import tempfile

CLIPART = "/usr/share/openclipart/png"
CLASSES = ("animals", "buildings", "food", "people", "plants", "tools", "transportation")
MOST_BYTES = 500 * 1024  # of a file; those of over 40 million pixels have more
SIDE = 160
VIEWS = (1, 4, 16, 64, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clipart", default=CLIPART)
    parser.add_argument("--workdir", default="", help="keeps runs, so that they resume")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", default="")
    parser.add_argument("--show", default="")
    args = parser.parse_args()
    if args.show:
        return show(json.loads(pathlib.Path(args.show).read_text()))
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, pathlib.Path(args.workdir or folder))
    show(result)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")


def shrink(clipart: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes the pictures of all classes to a folder, each at most `SIDE` pixels high and wide."""
    from PIL import Image

    for path in sorted(path for name in CLASSES for path in (clipart / name).rglob("*.png")):
        if not path.is_symlink() and path.stat().st_size <= MOST_BYTES:
            target = folder / path.relative_to(clipart)
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as image:
                shrunk = image.convert("RGBA")
                shrunk.thumbnail((SIDE, SIDE))
                shrunk.save(target)


def measure(args, folder: pathlib.Path) -> dict:
    """The test errors of students by the number of crops, with the sizes of their tables."""
    from kdzoo.runs import machine
    from kdzoo.runs.config import METHODS, RunConfig
    from kdzoo.training import run

    if not (folder / "pictures").exists():
        shrink(pathlib.Path(args.clipart), folder / "pictures")
    base = RunConfig(
        "wrn16-2",
        f"cos-{args.epochs}",
        dataset=f"folder:{folder}/pictures",
        test_share=0.3,
        image_size=32,
        batch_size=64,
        views=0,
    )
    teacher = run(base, folder / "teacher", data_workers=0)
    students, tables = {}, {}
    for views in VIEWS:
        for seed in range(args.seeds):
            config = dataclasses.replace(
                base, model="wrn10-1", seed=seed, views=views, teachers=(str(folder / "teacher"),), **METHODS["kd"]
            )
            cache = folder / f"cache{views}"
            record = run(config, folder / f"{views}_{seed}", data_workers=0, teacher_cache=str(cache))
            students.setdefault(str(views), []).append(record["test_error_last"])
            print(f"views {views}, seed {seed}: {record['test_error_last']:.2f} %", flush=True)
        sizes = [path.stat() for path in cache.glob("*/rows")]
        tables[str(views)] = {
            "bytes": sum(size.st_size for size in sizes),
            "bytes_on_disk": sum(512 * size.st_blocks for size in sizes),
        }
    return {
        "dataset": {key: teacher["dataset"][key] for key in ("train_examples", "test_examples", "fingerprint")},
        "teacher_error": teacher["test_error_last"],
        "student_errors": students,
        "tables": tables,
        "epochs": args.epochs,
        "hardware": machine.hardware(),
        "versions": machine.versions(),
        "load_average": os.getloadavg(),
    }


def show(result: dict) -> None:
    """Prints the table."""
    from kdzoo.reports.tables import markdown

    rows = [("`--views`", "test error (%)", "table, full", "bytes a picture")]
    for views, errors in result["student_errors"].items():
        size, pictures = result["tables"][views]["bytes"], result["dataset"]["train_examples"]
        error = f"{statistics.mean(errors):.1f} ± {statistics.stdev(errors):.1f}"
        cells = (f"{size / 1e6:.2f} MB", f"{size / pictures:,.0f}") if size else ("none", "0")
        rows.append((views if int(views) else "0 (endless)", error, *cells))
    print(markdown(rows, words=1))
    print(json.dumps({key: value for key, value in result.items() if key not in ("student_errors", "tables")}))


if __name__ == "__main__":
    main()
