"""A run's process that sleeps: it takes a run's measured time, prints its progress, and leaves its record.

python benchmarks/sleeping_run.py WORKDIR RECORD SECONDS
"""

import json
import pathlib
import shutil
import sys
import time

REPORT_SECONDS = 1.0  # between two lines of progress, as in a run that trains


def main(workdir: str, record: str, seconds: float) -> None:
    """Sleeps its epochs, then copies the record."""
    began = time.monotonic()
    history = json.loads(pathlib.Path(record).read_text())["history"]
    for epoch, row in enumerate(history):
        end = began + seconds * (epoch + 1) / len(history)
        while (left := end - time.monotonic()) > 0:
            report(epoch, len(history), None)
            time.sleep(min(left, REPORT_SECONDS))
        report(epoch + 1, len(history), row)
    pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(record, pathlib.Path(workdir) / "record.json")


def report(epoch: int, epochs: int, row: dict | None) -> None:
    """Prints progress as `kdzoo.runs.progress.json_lines` does."""
    progress = {"epoch": epoch, "epochs": epochs, "step": 0, "steps": 390, "logs": None, "row": row}
    print(json.dumps(progress), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
