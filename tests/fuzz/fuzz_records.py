"""The second rule of records and cards, from docs/reference/formats.md: returns what is wrong, or None."""

import datetime
import hashlib
import json
import re
from typing import Any

import fuzz_formats as formats

CONFIG = {"model", "schedule", "dataset", "seed", "teachers", "dtype_policy"}  # of the first version
ALWAYS = {"name", "method", "config", "dataset", "parameters", "teachers", "seed", "history", "started"}
ALWAYS |= {"test_error_last", "test_error_best", "test_error_best_epoch", "images_per_second", "wall_seconds"}
ALWAYS |= {"versions", "hardware"}


class Wrong(Exception):
    """What is wrong."""


def expect(right: Any, what: str) -> None:
    """Raises Wrong unless this is right."""
    if not right:
        raise Wrong(what)


def is_percent(value: Any) -> bool:
    return formats.is_real(value) and 0 <= value <= 100


def is_share(value: Any) -> bool:
    """Of calibration errors; null stands for what JSON cannot hold."""
    return value is None or (formats.is_real(value) and 0 <= value <= 1)


def is_whole(value: Any) -> bool:
    """JSON has one kind of number: 3.0 is a whole one."""
    return formats.is_real(value) and value == int(value)


def is_count(value: Any, least: int = 0) -> bool:
    return is_whole(value) and value >= least


def is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def check_common(value: dict[str, Any]) -> None:
    """What records and cards share: configuration, data set, teachers, method, seed."""
    config, dataset, teachers = value["config"], value["dataset"], value["teachers"]
    check_config(config)
    check_dataset(dataset)
    check_network(value.get("network", {}))
    expect(isinstance(teachers, list) and len(teachers) == len(config["teachers"]), "teachers")
    for teacher in teachers:
        check_teacher(teacher)
    terms = [config["distillation_method"]] if config.get("distillation_method") else []
    terms += [term for term in ("at", "kd") if config.get(f"{term}_weight")]
    expect(value["method"] == ("+".join(terms) or "none"), "method")
    expect(is_whole(value["seed"]) and value["seed"] == config["seed"], "seed")
    expect(is_count(value["parameters"], 1), "parameters")
    expect(is_percent(value["test_error_last"]), "test_error_last")


def check_network(network: Any) -> None:
    """Of a model that is no zoo model, or that began with trained weights."""
    expect(isinstance(network, dict), "network")
    expect(all(isinstance(network.get(key, ""), str) for key in ("kind", "architecture")), "network's texts")
    expect(is_digest(network.get("sha256", "0" * 64)), "network.sha256")
    init = network.get("init", {"name": "", "sha256": "0" * 64})
    expect(isinstance(init, dict) and init.keys() >= {"name", "sha256"}, "network.init")
    expect(isinstance(init["name"], str) and is_digest(init["sha256"]), "network.init")


def check_config(config: Any) -> None:
    """Every field of RunConfig, resolved; in the ranges that version 0.4 held."""
    expect(isinstance(config, dict) and config.keys() >= CONFIG, "config")
    for wrong in (formats.wrong_architecture(config["model"]), formats.wrong_schedule(config["schedule"])):
        expect(not wrong, f"config: {wrong}")
    expect(config.get("name", "") == "", "config.name of a zoo model")
    teachers = config["teachers"]
    expect(isinstance(teachers, list) and all(isinstance(teacher, str) for teacher in teachers), "config.teachers")
    for field, setting in config.items():
        if field == "temperature":
            expect(formats.is_real(setting) and setting > 0, "config.temperature")
        elif field in formats.WHOLE:
            expect(is_whole(setting) and formats.WHOLE[field](setting), f"config.{field}")
        elif field in formats.ANY_TEXT:
            expect(isinstance(setting, str), f"config.{field}")
        elif field in {*formats.REAL, *formats.ONE_OF, *formats.BOOLEAN}:
            wrong = formats.wrong_setting(field, setting)
            expect(not wrong, f"config: {wrong}")
    if not config.get("distillation_method"):  # the method may not be installed
        wrong = formats.wrong_weights(*formats.weights_of("none", config)[:3], teachers=len(teachers))
        expect(not wrong, f"config: {wrong}")


def check_dataset(dataset: Any) -> None:
    expect(isinstance(dataset, dict), "dataset")
    expect(dataset.keys() >= {"name", "fingerprint", "num_classes", "image_shape", "mean", "std"}, "keys of dataset")
    expect(isinstance(dataset.get("preparation", {}), dict), "dataset.preparation")
    expect(isinstance(dataset["name"], str) and is_digest(dataset["fingerprint"]), "dataset.name, fingerprint")
    expect(is_count(dataset["num_classes"], 1) and dataset["num_classes"] <= 1_000_000, "dataset.num_classes")
    shape = dataset["image_shape"]
    expect(isinstance(shape, list) and len(shape) == 3, "dataset.image_shape")
    expect(all(is_count(size, 1) and size < 2**16 for size in shape), "dataset.image_shape")
    for name in ("mean", "std"):
        channels = dataset[name]
        expect(isinstance(channels, list) and all(map(formats.is_real, channels)), f"dataset.{name}")
        expect(len(channels) == shape[2] and (name == "mean" or min(channels) > 0), f"dataset.{name}")
    names = dataset.get("class_names", [str(i) for i in range(dataset["num_classes"])])
    expect(isinstance(names, list) and all(isinstance(name, str) and name for name in names), "dataset.class_names")
    expect(len(set(names)) == len(names) == dataset["num_classes"], "dataset.class_names")
    for name in ("train_examples", "val_examples", "test_examples"):
        expect(is_count(dataset.get(name, 0)), f"dataset.{name}")


def check_teacher(teacher: Any) -> None:
    expect(isinstance(teacher, dict) and isinstance(teacher.get("name"), str), "a teacher's name")
    expect(is_percent(teacher.get("test_error_last")), "a teacher's error")
    expect(is_percent(teacher.get("test_top5_error_last", 0)), "a teacher's top-5 error")
    expect(is_share(teacher.get("test_ece_last")), "a teacher's calibration error")
    expect(teacher.get("method") is None or isinstance(teacher["method"], str), "a teacher's method")
    expect(teacher.get("digest") is None or isinstance(teacher["digest"], str), "a teacher's digest")
    expect(teacher.get("seed") is None or is_whole(teacher["seed"]), "a teacher's seed")
    expect(teacher.get("parameters") is None or is_count(teacher["parameters"], 1), "a teacher's parameters")
    expect(isinstance(teacher.get("teachers", []), list), "a teacher's teachers")
    for one in teacher.get("teachers", []):
        check_teacher(one)


def check_origin(value: dict[str, Any]) -> None:
    """When, how long, how fast, with which versions and hardware."""
    expect(is_time(value["started"]), "started")
    expect(formats.is_real(value["wall_seconds"]) and value["wall_seconds"] >= 0, "wall_seconds")
    expect(formats.is_real(value["images_per_second"]) and value["images_per_second"] >= 0, "images_per_second")
    versions, hardware = value["versions"], value["hardware"]
    expect(isinstance(versions, dict) and all(isinstance(text, str) for text in versions.values()), "versions")
    expect(isinstance(hardware, dict) and isinstance(hardware.get("processor", ""), str), "hardware")
    devices = hardware.get("accelerators", [])
    expect(isinstance(devices, list) and all(isinstance(device, str) for device in devices), "accelerators")


def find_wrong_in_record(content: bytes) -> str | None:
    """What is wrong with a record."""
    try:
        record = formats.read(content)
        expect(record.keys() >= ALWAYS, "a key is missing")
        check_common(record)
        check_origin(record)
        config = record["config"]
        expect(record["name"] == f"{config['model']}_{config['schedule']}", "name")
        expect(isinstance(record.get("published", ""), str), "published")
        expect(is_digest(record.get("weights_sha256", "0" * 64)), "weights_sha256")
        expect(is_count(record.get("multiply_adds", 0)), "multiply_adds")
        expect(is_count(record.get("peak_activation_bytes", 0)), "peak_activation_bytes")
        _check_latency(record.get("latency_ms", {"median": 1, "p95": 1, "batch": 1, "threads": 1}))
        sessions = record.get("sessions", [])
        expect(isinstance(sessions, list) and all(isinstance(session, dict) for session in sessions), "sessions")
        _check_history(record)
    except (formats.NoJson, Wrong) as error:
        return str(error)
    return None


def _check_latency(latency: Any) -> None:
    """In milliseconds, for one image."""
    expect(isinstance(latency, dict) and latency.keys() >= {"median", "p95", "batch", "threads"}, "latency_ms")
    for name in ("median", "p95"):
        expect(formats.is_real(latency[name]) and latency[name] > 0, f"latency_ms.{name}")
    for name in ("batch", "threads", "calls"):
        expect(is_count(latency.get(name, 1), 1), f"latency_ms.{name}")


def _check_history(record: dict[str, Any]) -> None:
    """A row for each epoch, and what the record draws from it."""
    history = record["history"]
    expect(isinstance(history, list) and all(isinstance(row, dict) for row in history), "history")
    epochs = [row.get("epoch") for row in history]
    expect(all(map(is_whole, epochs)), "history: epoch")
    expect(epochs == list(range(1, formats.epochs(record["config"]["schedule"]) + 1)), "history: epochs")
    for row in history:
        expect(all(number is None or formats.is_real(number) for number in row.values()), "history: a number")
        for name in ("val_error", "test_agreement", "test_top5_error", "val_top5_error"):
            expect(name not in row or is_percent(row[name]), f"history: {name}")
        expect(is_share(row.get("test_ece")) and is_share(row.get("val_ece")), "history: ece")
        expect(is_percent(row.get("test_error")), "history: test_error")
    errors = [row["test_error"] for row in history]
    best = min(errors)
    expect(record["test_error_last"] == errors[-1], "test_error_last is not the history's")
    expect(is_percent(record["test_error_best"]) and record["test_error_best"] == best, "test_error_best")
    expect(is_count(record["test_error_best_epoch"], 1), "test_error_best_epoch")
    expect(record["test_error_best_epoch"] == 1 + errors.index(best), "test_error_best_epoch")
    expect("test_top5_error" in history[-1] or record.get("test_top5_error_last") is None, "test_top5_error_last")
    expect(record.get("test_top5_error_last", 0) <= errors[-1], "test_top5_error_last above test_error_last")
    for name in ("test_ece", "test_agreement", "test_top5_error"):
        last = record.get(f"{name}_last")
        right = is_share if name == "test_ece" else is_percent
        expect(f"{name}_last" not in record or right(last), f"{name}_last")
        expect(name not in history[-1] or last == history[-1][name], f"{name}_last is not the history's")
    _check_chosen(record)


def _check_chosen(record: dict[str, Any]) -> None:
    """The epoch with the lowest validation error."""
    validated = [row for row in record["history"] if "val_error" in row]
    both = {"test_error_val_chosen", "val_chosen_epoch"}
    expect(record.keys() >= both if validated else not record.keys() & both, "val_chosen")
    if not validated:
        return
    chosen = min(validated, key=lambda row: row["val_error"])
    expect(is_count(record["val_chosen_epoch"], 1), "val_chosen_epoch")
    expect(record["val_chosen_epoch"] == chosen["epoch"], "val_chosen_epoch")
    expect(is_percent(record["test_error_val_chosen"]), "test_error_val_chosen")
    expect(record["test_error_val_chosen"] == chosen["test_error"], "test_error_val_chosen")


CARD_ALWAYS = {"name", "family", "depth", "width", "schedule", "parameters", "dataset", "method", "teachers", "seed"}
CARD_ALWAYS |= {
    "config",
    "trained",
    "weights",
    "files",
    "versions",
    "licence",
    "citation",
    "published",
    "sha256",
    "runs",
}
CARD_ALWAYS |= {"test_error_last", "test_error", "test_error_sample", "expected_calibration_error"}
CARD_ALWAYS |= {"test_error_last_mean", "test_error_last_std"}
FILES = {"1/saved_model.pb", "1/variables/variables.index", "1/variables/variables.data-00000-of-00001"}


def find_wrong_in_card(content: bytes, name: str | None) -> str | None:
    """What is wrong with a card, which should be of the model with this name."""
    try:
        expect(len(content) <= 2**20, "too long")
        card = formats.read(content)
        expect(card.get("sha256") == card_digest(card), "digest")
        expect(card.keys() >= CARD_ALWAYS, "a key is missing")
        expect(name in (None, card["name"]), "another model's")
        check_common(card)
        _check_card_name(card)
        expect(isinstance(card["trained"], dict), "trained")
        expect(
            card["trained"].keys() >= {"started", "wall_seconds", "images_per_second", "versions", "hardware"},
            "trained",
        )
        check_origin(card["trained"])
        _check_card_errors(card)
        _check_files(card)
        versions = card["versions"]
        expect(isinstance(versions, dict) and all(isinstance(text, str) for text in versions.values()), "versions")
        expect(card["licence"] is None or isinstance(card["licence"], str), "licence")
        expect(isinstance(card["citation"], str) and isinstance(card["published"], str), "citation, published")
    except (formats.NoJson, Wrong) as error:
        return str(error)
    return None


def card_digest(card: dict[str, Any]) -> str:
    """SHA-256 of a card without its key sha256, as sorted JSON."""
    text = json.dumps({key: value for key, value in card.items() if key != "sha256"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_card_name(card: dict[str, Any]) -> None:
    config = card["config"]
    expect(isinstance(card["name"], str), "name")
    folder, slash, _ = card["name"].rpartition("/")
    expect(re.fullmatch(r"[a-z0-9][a-z0-9._-]*", folder) if slash else not folder, "name: folder")
    expect(card["name"].rpartition("/")[2] == f"{config['model']}_{config['schedule']}", "name")
    family, depth, width = re.fullmatch(r"([a-z]+)(\d+)(?:-(\d+))?", config["model"]).groups()
    expect((card["family"], card["schedule"]) == (family, config["schedule"]), "family, schedule")
    expect(is_whole(card["depth"]) and card["depth"] == int(depth), "depth")
    expect(card["width"] == (int(width) if width else None) and not isinstance(card["width"], bool), "width")


def _check_card_errors(card: dict[str, Any]) -> None:
    for name in ("test_error", "test_error_sample", "test_error_last_mean"):
        expect(is_percent(card[name]), name)
    error = card["expected_calibration_error"]
    expect(error is not None and is_share(error), "expected_calibration_error")
    for name in ("test_top5_error", "test_top5_error_last"):
        top5 = card.get(name, 0)
        expect(is_percent(top5) and top5 <= card[name.replace("top5_", "")], name)
    std = card["test_error_last_std"]
    expect(std is None or (formats.is_real(std) and std >= 0), "test_error_last_std")
    expect(is_count(card["runs"], 1) and (card["runs"] == 1) == (std is None), "runs")
    expect(card["runs"] > 1 or card["test_error_last_mean"] == card["test_error_last"], "test_error_last_mean")


def _check_files(card: dict[str, Any]) -> None:
    files, weights = card["files"], card["weights"]
    expect(isinstance(files, dict) and files.keys() == FILES, "files")
    for entry in files.values():
        expect(isinstance(entry, dict) and entry.keys() == {"bytes", "sha256"}, "an entry of a file")
        expect(is_count(entry["bytes"]) and is_digest(entry["sha256"]), "an entry of a file")
    expect(isinstance(weights, list) and all(isinstance(weight, dict) for weight in weights), "weights")
    for weight in weights:
        expect(weight.keys() >= {"path", "shape", "dtype", "offset"}, "a weight")
        shape = weight["shape"]
        expect(isinstance(weight["path"], str), "a weight")
        expect(weight["dtype"] in ("float32", "float16", "bfloat16"), "a weight")
        expect(isinstance(shape, list) and all(map(is_count, shape)) and is_count(weight["offset"]), "a weight")
