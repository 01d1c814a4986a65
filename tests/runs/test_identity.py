import dataclasses

import pytest

from kdzoo.runs import identity
from kdzoo.runs.config import RunConfig
from zoo import InputError

CONFIG = dataclasses.asdict(RunConfig("wrn16-1", "1-2", teachers=("a",), kd_weight=0.9, ce_weight=0.1))
TEACHER = {"name": "wrn16-2_1-2", "method": "none", "seed": 0, "test_error_last": 12.5}


def identify(changes=None, **parts):
    parts = {"dataset": "cifar10", "fingerprint": "f", "teachers": ["d"], "backend": "tensorflow"} | parts
    return identity.identify({**CONFIG, **(changes or {})}, **parts)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"dataset": "npz:elsewhere.npz"}, {}),
        ({"teachers": ("moved/a",)}, {}),
        ({"fused_steps": 8}, {}),
        ({"at_mode": "paper"}, {}),  # without an AT term
        ({"nesterov": 1}, {}),
        ({"teacher_dtype": "float32"}, {}),  # what auto means in float32
        ({"dtype_policy": "auto"}, {}),  # not known yet
        ({}, {"fingerprint": ""}),
        ({}, {"backend": ""}),
        ({"backbone_lr": 0.1}, {}),  # that of the others
    ],
)
def test_what_changes_no_result_is_left_out(changes, parts):
    assert identity.changes(identify(), identify(changes, **parts)) == []


@pytest.mark.parametrize(
    ("changes", "parts", "line"),
    [
        ({"lr": 0.05}, {}, "lr 0.1, now 0.05"),
        ({"seed": 1}, {}, "seed 0, now 1"),
        ({"nesterov": False}, {}, "nesterov True, now False"),
        ({"dataset_name": "x"}, {"dataset": "cifar100"}, "dataset_name cifar10, now cifar100"),
        ({}, {"fingerprint": "g"}, "dataset f, now g"),
        ({}, {"teachers": ["e"]}, "teachers d, now e"),
        ({}, {"teachers": ["d", "d"]}, "teachers d, now d, d"),
        ({}, {"backend": "jax"}, "backend tensorflow, now jax"),
        ({"teacher_input": "raw"}, {}, "teacher_input auto, now raw"),
        ({"teacher_signature": "logits"}, {}, "teacher_signature , now logits"),
        ({"warmup_epochs": 1}, {}, "warmup_epochs 0.0, now 1.0"),
        ({"clip_norm": 1.0}, {}, "clip_norm 0.0, now 1.0"),
        ({"ema_momentum": 0.9}, {}, "ema_momentum 0.0, now 0.9"),
        ({"label_smoothing": 0.1}, {}, "label_smoothing 0.0, now 0.1"),
        ({"mixup_alpha": 0.2}, {}, "mixup_alpha 0.0, now 0.2"),
        ({"cutmix_alpha": 1.0}, {}, "cutmix_alpha 0.0, now 1.0"),
        ({"freeze": "stem"}, {}, "freeze , now stem"),
        ({"backbone_lr": 0.01}, {}, "backbone_lr 0.0, now 0.01"),
    ],
)
def test_what_changes_a_result_is_named(changes, parts, line):
    assert identity.changes(identify(), identify(changes, **parts)) == [line]


def test_the_kind_of_a_momentum_of_0_has_no_effect():
    one, other = (identify({"momentum": 0.0, "nesterov": kind}) for kind in (True, False))
    assert identity.changes(one, other) == []
    assert one["nesterov"] is None


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_adamw_and_lion_have_no_momentum_of_sgd(optimizer):
    one = identify({"optimizer": optimizer})
    other = identify({"optimizer": optimizer, "momentum": 0.5, "nesterov": False})
    assert identity.changes(one, other) == []
    assert identity.of_checkpoint(one) == one
    assert "optimizer sgd, now adamw" in identity.changes(identify(), identify({"optimizer": "adamw"}))


def test_a_run_of_an_earlier_version_was_trained_by_sgd():
    new = ("optimizer", "warmup_epochs", "clip_norm", "ema_momentum", "label_smoothing", "mixup_alpha", "cutmix_alpha")
    earlier = {key: value for key, value in CONFIG.items() if key not in (*new, "freeze", "backbone_lr")}
    theirs = identity.identify(earlier, dataset="cifar10", fingerprint="f", teachers=["d"], backend="tensorflow")
    assert identity.changes(theirs, identify()) == identity.changes(identify(), theirs) == []


def test_a_run_of_an_earlier_version_has_nesterov_momentum():
    earlier = {key: value for key, value in CONFIG.items() if key != "nesterov"}
    parts = {"dataset": "cifar10", "fingerprint": "f", "teachers": ["d"], "backend": "tensorflow"}
    theirs = identity.identify(earlier, **parts)
    assert identity.changes(theirs, identify()) == []
    assert identity.changes(theirs, identify({"nesterov": False})) == ["nesterov True, now False"]


def test_teachers_of_one_content_are_refused():
    identity.check_teachers_differ([("a", "d"), ("b", "e")])
    with pytest.raises(InputError, match=r"^The teachers must differ\. Received: c, the same as a$"):
        identity.check_teachers_differ([("a", "d"), ("b", "e"), ("c", "d")])


def test_the_path_of_an_npz_file_is_no_name():
    assert identity.changes(identify(dataset="npz:a.npz"), identify(dataset="npz:b.npz")) == []


def test_a_checkpoint_of_0_4_is_of_the_same_run():
    ours = identify()
    theirs = CONFIG | {"dataset": "f", "dataset_name": "cifar10", "backend": "tensorflow", "teachers": ["d"]}
    assert identity.changes(identity.of_checkpoint(theirs), ours) == []
    assert identity.of_checkpoint(ours) == ours
    assert identity.changes(identity.of_checkpoint(theirs | {"lr": 1.0}), ours) == ["lr 1.0, now 0.1"]


def test_a_checkpoint_of_0_4_has_a_server_by_its_name():
    """Version 0.4 held its name and its error to two decimals in place of a digest."""
    theirs = CONFIG | {"dataset": "f", "dataset_name": "cifar10", "backend": "tensorflow"}
    theirs = identity.of_checkpoint(theirs | {"teachers": ["wrn16-2_1-2 of test error 12.50 %"]})
    assert identity.changes(theirs, identify(teachers=[TEACHER | {"digest": "d"}])) == []
    other = TEACHER | {"digest": "d", "name": "wrn16-4_1-2"}
    assert identity.changes(theirs, identify(teachers=[other])) != []


def test_the_identity_of_a_run_without_teachers_is_the_same_once_saved():
    ours = identify({"teachers": (), "kd_weight": 0.0, "ce_weight": 1}, teachers=[])
    assert ours["kd_until"] is ours["temperature"] is None
    assert identity.of_checkpoint(ours) == ours


def test_teachers_without_digests_are_compared_by_name_method_seed_and_error():
    new = TEACHER | {"digest": "d"}
    assert identity.same_teacher(TEACHER, new)
    assert identity.same_teacher(new, {**new, "name": "published under another name"})
    assert not identity.same_teacher(TEACHER, new | {"seed": 1})
    assert not identity.same_teacher(new, new | {"digest": "e"})


def test_a_record_without_digests_takes_the_only_one():
    records = [{"teachers": [TEACHER]}, {"teachers": [TEACHER | {"digest": "d"}]}]
    key = identity.without_digest(TEACHER)
    assert identity.complete_digests(records) == {key: "d"}
    assert identity.complete_digests([*records, {"teachers": [TEACHER | {"digest": "e"}]}]) == {}
