"""Data-parallel runs of many kinds, on several devices of one process and in several processes."""

import numpy as np
import pytest
from PIL import Image
from test_data_parallel import compare_losses

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
    compare_losses(
        [
            labelled,
            {**labelled, **taught, "at_weight": 100.0, "cache": str(tmp_path / "cache")},
            {**labelled, **taught, "unlabelled": f"npz:{more}"},
            {**labelled, **taught, **OPTIONS},
            {**streamed, "cache": ""},
            {**streamed, "cache": "", "mixup_alpha": 0.5, "cutmix_alpha": 1.0},
            {**labelled, **taught, "teacher_store": "float16"},
        ],
        ways=["InStep", "FromCache", "InStep", "InStep", "InStep", "InStep", "ComputedAhead"],
    )
