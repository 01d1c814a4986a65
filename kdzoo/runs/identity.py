"""What identifies a run: all that its result depends on, by content. The one definition that every comparison uses.

Checkpoints, finished runs, sweeps, tables of results, searches and cards compare runs by it. Left out is what changes
no result: paths (the contents' digests stand for them), how many steps a call makes, checkpoints, caches and progress.
See docs/explanation/identity.md.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdzoo.models import specs
from kdzoo.runs.config import STAGES, RunConfig
from zoo import InputError

Record = Mapping[str, Any]
WEIGHTS_DIGEST = "weights_sha256"  # a record's key: SHA-256 of the run's file of weights
UNLABELLED = "unlabelled_fingerprint"  # a key of a record's data set: SHA-256 of its unlabelled pictures
# Paths, what shows in the fingerprint of the data set, and how many steps a call makes.
_LEFT_OUT = (
    *("dataset", "dataset_name", "teachers", "fused_steps"),
    *("memory_gb", "test_share", "class_names", "train_split", "test_split", "unlabelled"),
    *("name", "init", "keep_epochs"),
)
# Settings that only matter to a run with teachers.
WITH_TEACHERS = (
    *("kd_until", "teacher_dtype", "teacher_input", "teacher_logits", "teacher_signature", "teacher_store"),
    *("teacher_image_size", "teacher_layout", "teacher_mean", "teacher_std"),
)
# What stands for a teacher's digest in records of versions before 0.5.
_WITHOUT_DIGEST = ("name", "method", "seed", "test_error_last")
_DEFAULTS = {
    field.name: field.default for field in dataclasses.fields(RunConfig) if field.default is not dataclasses.MISSING
}
_NUMBERS = {key: type(value) for key, value in _DEFAULTS.items() if isinstance(value, (int, float))}


def settings(config: Mapping[str, Any], *, has_teachers: bool) -> dict[str, Any]:
    """Returns a configuration without what identifies no run; None for a setting that the result does not depend on.

    Args:
        config: fields of `RunConfig`; one that an earlier version lacked has its default.
        has_teachers: whether the run has teachers.
    """
    given = {**_DEFAULTS, **config}
    result = {key: value for key, value in given.items() if key not in _LEFT_OUT}
    # 1 and 1.0 are one setting. None is one that was found to be without effect before.
    result |= {key: kind(result[key]) for key, kind in _NUMBERS.items() if result.get(key) is not None}
    if result["teacher_dtype"] == "auto":
        result["teacher_dtype"] = result["dtype_policy"].removeprefix("mixed_")
    if result["backbone_lr"] == result["lr"]:
        result["backbone_lr"] = 0.0  # the same in other words
    idle = [] if has_teachers else list(WITH_TEACHERS)
    idle += [] if result["kd_weight"] else ["temperature"]
    idle += [] if result["at_weight"] else ["at_mode"]
    idle += [] if result["at_weight"] or result["distillation_method"] else STAGES
    idle += [] if result["distillation_method"] else ["distillation_method", "method_args", "method_weight"]
    idle += [] if result["momentum"] else ["nesterov"]
    idle += [] if result["optimizer"] == "sgd" else ["momentum", "nesterov"]
    idle += [] if given["unlabelled"] or given.get(UNLABELLED) else ["unlabelled_share"]
    idle += [] if result["augment"] in ("inception", "auto") else ["views"]
    return result | dict.fromkeys(idle)


def identify(
    config: Mapping[str, Any],
    *,
    dataset: str,
    fingerprint: str,
    teachers: Sequence[Any],
    backend: str = "",
    unlabelled: str = "",
    network: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the identity of a run. A key that is not known is absent: `changes` then does not compare it.

    Args:
        config: fields of `RunConfig`. One that is still "auto" is not known.
        dataset: name of the data set. Its mean and standard deviation depend on it, unless it is a path.
        fingerprint: of the data set; "" if it is not known.
        teachers: the teachers' digests, or their entries in a record.
        backend: Keras's; "" if it does not matter.
        unlabelled: fingerprint of the unlabelled pictures; "" without, or if it is not known.
        network: a record's entry of that name, with the digests of the file and of the weights that a network begins
            with; empty for a new zoo model, None if it is not known.
    """
    known = settings(config, has_teachers=bool(teachers))
    known = {key: value for key, value in known.items() if value != "auto" or key == "teacher_input"}
    if "augment" not in known:  # then it is not known either whether there are crops to choose from
        known.pop("views")
    found = {"dataset": fingerprint, "backend": backend, UNLABELLED: unlabelled}
    known |= {key: value for key, value in found.items() if value}
    known["model"] = specs.without_path(known["model"])
    if network is not None:
        known["network_sha256"] = network.get("sha256", "")
        known["init_sha256"] = network.get("init", {}).get("sha256", "")
    return known | {"dataset_name": name_dataset(dataset), "teachers": list(teachers)}


def name_dataset(name: str) -> str:
    """Returns a data set's name without its path, if it has no other name: npz for npz:FILE, folder for folder:DIR."""
    return name.partition(":")[0]


def of_record(record: Record) -> dict[str, Any]:
    """Returns the identity of a finished run. Its backend is not part of it: the result agrees to rounding."""
    dataset = record["dataset"]
    return identify(
        record["config"],
        dataset=dataset["name"],
        fingerprint=dataset.get("fingerprint", ""),
        teachers=record["teachers"],
        unlabelled=dataset.get(UNLABELLED, ""),
        network=record.get("network", {}),
    )


def of_checkpoint(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the identity that a checkpoint of this or an earlier version holds."""
    return identify(
        {key: value for key, value in meta.items() if key != "backend"},
        dataset=meta["dataset_name"],
        fingerprint=meta["dataset"],
        teachers=[_of_server(teacher) for teacher in meta["teachers"]],
        backend=meta["backend"],
    )


def _of_server(teacher: Any) -> Any:
    """Returns what a checkpoint of 0.4 holds of a server, "NAME of test error 5.00 %", as an entry without digest."""
    name, found, _ = teacher.partition(" of test error ") if isinstance(teacher, str) else (None, "", "")
    return {"name": name} if found else teacher


def changes(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Returns the differences of two identities in what both know, each for example "lr 0.1, now 0.05"."""
    different = [
        f"{key} {theirs[key]}, now {ours[key]}"
        for key in ours
        if key in theirs and key != "teachers" and theirs[key] != ours[key]
    ]
    if not same_teachers(theirs["teachers"], ours["teachers"]):
        different.append(f"teachers {_describe(theirs['teachers'])}, now {_describe(ours['teachers'])}")
    return different


def changes_but_seed(theirs: Record, ours: Record) -> list[str]:
    """Returns the differences of two finished runs' identities, from their records, but for the seed: see `changes`."""
    return changes(of_record(theirs) | {"seed": None}, of_record(ours) | {"seed": None})


def same_teachers(ones: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether two lists of teachers are the same, in order: see `same_teacher`."""
    return len(ones) == len(others) and all(map(same_teacher, ones, others))


def same_teacher(one: Any, other: Any) -> bool:
    """Whether two teachers are the same: by their digests, or where one has none by name, method, seed and error.

    Args:
        one, other: a digest, or an entry of a record's "teachers".
    """
    one, other = (teacher if isinstance(teacher, Mapping) else {"digest": teacher} for teacher in (one, other))
    keys = ("digest",) if one.get("digest") and other.get("digest") else _WITHOUT_DIGEST
    return all(one[key] == other[key] for key in keys if key in one and key in other)


def check_teachers_differ(teachers: Iterable[tuple[str, str]]) -> None:
    """Raises InputError if two of several teachers are one, for example under two paths.

    Args:
        teachers: spec and digest of each.
    """
    specs: dict[str, str] = {}
    for spec, digest in teachers:
        if digest in specs:
            raise InputError(f"The teachers must differ. Received: {spec}, the same as {specs[digest]}")
        specs[digest] = spec


def complete_digests(records: Iterable[Record]) -> dict[tuple[Any, ...], str]:
    """Returns the digest of each teacher that records of earlier versions lack, by its name, method, seed and error.

    Only where the other records agree on it: else the teacher is none of theirs for certain.
    """
    found: dict[tuple[Any, ...], set[str]] = {}
    for record in records:
        for entry in record["teachers"]:
            if entry.get("digest"):
                found.setdefault(without_digest(entry), set()).add(entry["digest"])
    return {key: digests.pop() for key, digests in found.items() if len(digests) == 1}


def without_digest(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """Returns what stands for a teacher's digest in records of earlier versions."""
    return tuple(entry.get(key) for key in _WITHOUT_DIGEST)


def _describe(teachers: Sequence[Any]) -> str:
    """Names teachers, each with the first digits of its digest."""

    def one(teacher: Any) -> str:
        if not isinstance(teacher, Mapping):
            return str(teacher)[:12]
        digest = teacher.get("digest") or f"seed {teacher.get('seed')}, {teacher.get('test_error_last')} %"
        return f"{teacher.get('name', '')} ({digest[:12] if teacher.get('digest') else digest})"

    return ", ".join(map(one, teachers)) or "none"
