"""Data-parallel runs of many kinds, on several devices of one process and in several processes."""

import random
import signal
import time

import numpy as np
import pytest
from PIL import Image
from test_data_parallel import Run, compare_losses, flags  # noqa: F401  flags is a fixture

from kdzoo.runs import records
from test_resume import assert_same

pytestmark = pytest.mark.slow
OPTIONS = {"optimizer": "adamw", "lr": 0.0002, "warmup_epochs": 0.5, "ema_momentum": 0.5, "label_smoothing": 0.1}
OPTIONS |= {"mixup_alpha": 0.4, "cutmix_alpha": 1.0, "freeze": "^stem", "backbone_lr": 0.0001, "clip_norm": 1.0}


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "more.npz"
    np.savez(path, x=np.random.default_rng(1).integers(0, 256, (100, 16, 16, 3), dtype=np.uint8))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir()
        for number in range(60):
            pattern = rng.integers(0, 128, (4, 4, 3), dtype=np.uint8)
            pattern[..., label] += 127
            Image.fromarray(pattern).resize((20 + number, 30)).save(folder / name / f"{number}.png")
    return folder


def test_devices_and_processes_give_the_losses_of_one_device(npz, teacher_run, more, pictures, tmp_path):
    labelled = {"dataset": f"npz:{npz}", "cache": ""}
    taught = {"teachers": [str(teacher_run)], "ce_weight": 0.1, "kd_weight": 0.9}
    streamed = {"dataset": f"folder:{pictures}", "test_share": 0.25, "image_size": 24, "augment": "inception"}
    streamed |= {"cache": "", "lr": 0.001}
    compare_losses(
        [
            labelled,
            {**labelled, **taught, "at_weight": 100.0, "cache": str(tmp_path / "cache")},
            {**labelled, **taught, "unlabelled": f"npz:{more}"},
            {**labelled, **taught, **OPTIONS},
            streamed,
            {**streamed, "mixup_alpha": 0.5, "cutmix_alpha": 1.0},
            {**labelled, **taught, "teacher_store": "float16", "fused_steps": 4},
        ],
        ways=["InStep", "FromCache", "InStep", "InStep", "InStep", "InStep", "ComputedAhead"],
    )


def test_ten_kills_leave_the_result_as_it_would_have_been(flags, tmp_path):  # noqa: F811
    """Each kill hits one of the two processes, at any moment: while they connect, compile, train or write."""
    began = time.monotonic()
    assert [code for code, _, _ in Run([*flags, f"--workdir={tmp_path}/undisturbed"]).finish()] == [0, 0]
    seconds = time.monotonic() - began
    moments = random.Random(0)
    killed = 0
    while killed < 10 or not (tmp_path / "run" / records.RECORD).exists():
        run, victim = Run([*flags, f"--workdir={tmp_path}/run"]), moments.randrange(2)
        if killed < 10:
            time.sleep(moments.uniform(0, seconds))
            run.processes[victim].kill()
        ended = run.finish(seconds=150)
        if ended[victim][0] == -signal.SIGKILL:
            killed += 1
            code, _, stderr = ended[1 - victim]
            lines = [line for line in stderr.splitlines() if not line.startswith("Resuming")]
            assert (code in (75, -signal.SIGABRT) and len(lines) == 1 and lines[0].startswith("error: ")) or not code
        else:
            assert [code for code, _, _ in ended] == [0, 0], ended
    assert_same(tmp_path / "undisturbed", tmp_path / "run")
