"""The public names of version 0.4 that stay."""

import importlib

import pytest

NAMES = {
    "kdzoo": """
        Distiller InputError ModelName RunConfig __version__ build data list_models load losses optimizers records
        schedules
    """,
    "kdzoo.data": """
        AUGMENTATIONS CENTRE CROPS Dataset NAMES OFFSETS PAD STATISTICS Split apply_views balanced describe_views load
        order pad split_train standardise views
    """,
    "kdzoo.losses": "attention_map attention_transfer compact_map distillation",
    "kdzoo.optimizers": "CoupledSGD",
    "kdzoo.records": """
        RECORD TIMING WEIGHTS build count_parameters hardware load_model read result save_weights versions write
    """,
    "kdzoo.schedules": """
        CosineSchedule RULE ScaledSchedule Schedule StepSchedule StoppedSchedule callback parse
    """,
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in NAMES for name in NAMES[module].split()])
def test_a_public_name_stays(module, name):
    namespace: dict = {}
    exec(f"from {module} import {name}", namespace)
    assert namespace[name] is getattr(importlib.import_module(module), name)
