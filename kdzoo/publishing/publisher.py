"""From a finished run to a published model: a SavedModel anybody can serve, and its card."""

import contextlib
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from kdzoo import files
from kdzoo.data import augmentation
from kdzoo.data.dataset import Split
from kdzoo.distillation import metrics
from kdzoo.hub import artefact, cards, folders, models
from kdzoo.runs import machine, names, records
from kdzoo.runs.weights import build, load_model
from zoo import InputError, list_stages

RUN_POINTS = 0.02  # a run's error, evaluated again as it was trained, may differ from its record's by rounding
OTHER_PRECISION_POINTS = 0.5  # the artefact's, computed in float32 where the run was not, or stored in less
STORES = ("float32", "float16")
CITATION = (
    "Trained with kdzoo {version}, after Cho & Hariharan, On the Efficacy of Knowledge Distillation, ICCV 2019"
    " (arXiv:1910.01348)."
)


def publish(
    runs: Sequence[str | os.PathLike],
    root: str | os.PathLike | None = None,
    *,
    name: str | None = None,
    dataset: str | None = None,
    licence: str | None = None,
    store: str = "float32",
    replace: bool = False,
) -> pathlib.Path:
    """Publishes the network of a finished run as `root/NAME`, whole or not at all.

    The run is evaluated again first, then the artefact itself. Publishing a run twice gives the same graph and
    variables to the byte.

    Args:
        runs: the run's directory; others of the same configuration but for the seed count in the card's mean error.
        root: folder of the published models; default: $KDZOO_HOME, or the checkout's saved_models/.
        name: default: the model's own, after the data set's and a slash where that is not cifar10.
        dataset: from where to take the run's data set, see `kdzoo.data.load`; default: from where the run had it.
        licence: SPDX identifier, for example Apache-2.0; None: the card says that none is stated.
        store: float32, or float16 for half the size: weights are cast back up in the graph.
        replace: whether to put it in the place of a published model of this name.

    Returns:
        The model's directory.

    Raises:
        InputError: if there is no such run, its error is not its record's, or the name is taken or none.
    """
    if store not in STORES:
        raise InputError(f"store must be one of {', '.join(STORES)}. Received: {store}")
    run, *others = map(pathlib.Path, runs)
    record = records.read(run)
    siblings = [record, *map(records.read, others)]
    _check_siblings(siblings)
    name = name or _default_name(record)
    _check_fits(name, record)
    directory = folders.home(root) / name
    if directory.exists() and not replace:
        raise InputError(f"A model is published once, unless replace is set. Received: {directory}")

    from kdzoo.training import evaluation  # and TensorFlow, once all that is quickly told has been

    of_run = evaluation.own_dataset(record, dataset)
    evaluated = evaluation.evaluate(models.resolve(run), of_run)["test_error"]
    if not abs(evaluated - record["test_error_last"]) <= RUN_POINTS + 1e-9:
        raise InputError(
            f"A run to publish must have its record's test error, {record['test_error_last']:.2f} %, give or take"
            f" {RUN_POINTS}. Received: {evaluated:.2f} % from {run}"
        )
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(directory.parent, wait=True), _replacing(directory) as partial:
            weights = _write_apart(run, partial / cards.VERSION, store)
            write_card(
                partial, _describe(siblings, of_run.test, partial, name, licence=licence, store=store, weights=weights)
            )
    except OSError as error:
        raise InputError(f"The folder of models must be one that can be written. Received: {error}") from None
    return directory


@contextlib.contextmanager
def _replacing(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new directory that takes the other's place at the end, if nothing goes wrong.

    Until then it has a name that neither `load` nor a server takes, so that a killed publish leaves nothing but that.
    """
    partial, aside = (directory.with_name(f".{directory.name}.{what}") for what in ("partial", "replaced"))
    if aside.exists() and not directory.exists():  # killed between the two renames below
        os.replace(aside, directory)
    for left in (partial, aside):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if directory.exists():
            os.replace(directory, aside)
        os.replace(partial, directory)
    finally:
        for left in (partial, aside):
            shutil.rmtree(left, ignore_errors=True)


def _default_name(record: dict[str, Any]) -> str:
    if record["method"] != "none":
        raise InputError(
            "A distilled student must be given a name to publish it under, for example"
            f" {record['dataset']['name']}-{record['method'].replace('+', '-')}/{record['name']}."
            f" Received: none for {record['name']}, taught by {', '.join(t['name'] for t in record['teachers'])}"
        )
    dataset = record["dataset"]["name"]
    return record["name"] if dataset == "cifar10" else f"{dataset}/{record['name']}"


def _check_fits(name: str, record: dict[str, Any]) -> None:
    if str(models.check_name(name)) != record["name"]:
        raise InputError(f"A published name must end in the model's own, {record['name']}. Received: {name}")


def _check_siblings(siblings: Sequence[dict[str, Any]]) -> None:
    """Raises InputError unless the runs differ in their seeds and in nothing else that matters."""

    def common(record: dict[str, Any]) -> tuple:
        config = {key: value for key, value in record["config"].items() if key not in ("seed", "dataset", "teachers")}
        return config, record["dataset"]["fingerprint"], [teacher["name"] for teacher in record["teachers"]]

    seeds = [record["seed"] for record in siblings]
    if len(set(seeds)) < len(seeds) or any(common(record) != common(siblings[0]) for record in siblings):
        raise InputError(f"Runs of one card must differ in their seeds and in nothing else. Received: seeds {seeds}")


# The SavedModel.


def _write_apart(run: pathlib.Path, directory: pathlib.Path, store: str) -> list[dict[str, Any]]:
    """`write` in a process of its own, whose graph is not named after all that this process has traced before."""
    code = "import sys; from kdzoo.publishing import publisher; publisher.main(*sys.argv[1:])"
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(pathlib.Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run), str(directory), store], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise InputError(
            f"A SavedModel must be written, which needs TensorFlow. Received: {done.stderr.strip()[-300:]}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def main(run: str, directory: str, store: str) -> None:
    """Writes the SavedModel of a run and prints where its weights lie, as JSON."""
    model = load_model(run)
    dataset = records.read(run)["dataset"]
    print(json.dumps(write(model, directory, mean=dataset["mean"], std=dataset["std"], store=store)))


def write(
    model, directory: str | os.PathLike, *, mean: Sequence[float], std: Sequence[float], store: str = "float32"
) -> list[dict[str, Any]]:
    """Writes a network of the zoo as a SavedModel that takes raw images and needs neither Keras nor kdzoo.

    `serving_default` takes `images` uint8 [n, h, w, c] and gives `logits` and `probabilities`, float32 [n, classes];
    `features` gives `logits` and each stage's output. A variable holds each weight once.

    Returns:
        Path, shape, dtype and offset in `variables.data-00000-of-00001` of each weight.
    """
    import keras
    import tensorflow as tf

    module = tf.Module()
    # The order of the names is that of the data file.
    module.weights = {
        f"{i:05d}": tf.Variable(keras.ops.convert_to_numpy(variable), dtype=store, trainable=False, name=variable.path)
        for i, variable in enumerate(model.variables)
    }
    stages = {name: model.get_layer(name).output for name in list_stages(model)}
    tapped = keras.Model(model.inputs, {"logits": model.outputs[0], **stages})

    def apply(network, images):
        count = tf.shape(images)[0]
        # TensorFlow's convolutions on a CPU fail on no image at all, so there is always one.
        images = tf.pad(images, [[0, tf.cast(tf.equal(count, 0), tf.int32)], [0, 0], [0, 0], [0, 0]])
        standardised = augmentation.standardise(tf.cast(images, tf.float32), mean=mean, std=std)
        values = [tf.cast(variable, tf.float32) for variable in module.weights.values()]
        with keras.StatelessScope(state_mapping=list(zip(model.variables, values, strict=True))):
            outputs = network(standardised, training=False)
        return tf.nest.map_structure(lambda output: tf.ensure_shape(output[:count], output.shape), outputs)

    signature = [tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8, name="images")]

    @tf.function(input_signature=signature)
    def serving_default(images):
        logits = apply(model, images)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    @tf.function(input_signature=signature)
    def features(images):
        return apply(tapped, images)

    directory = pathlib.Path(directory)
    tf.saved_model.save(module, str(directory), signatures={"serving_default": serving_default, "features": features})
    (directory / "fingerprint.pb").unlink()  # holds a random number; TensorFlow loads without
    (directory / "assets").rmdir()
    return _locate_weights(model, module.weights, directory)


def _locate_weights(model, variables: dict[str, Any], directory: pathlib.Path) -> list[dict[str, Any]]:
    """Where in the data file each weight lies: in it they follow one another, in the order of their names."""
    arrays = [variable.numpy() for variable in variables.values()]
    packed = b"".join(array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays)
    offset = (directory / "variables" / pathlib.Path(cards.VARIABLES).name).read_bytes().find(packed)
    if offset < 0:
        raise RuntimeError("this TensorFlow lays out its data files in another way")
    weights = []
    for variable, array in zip(model.variables, arrays, strict=True):
        shape = list(array.shape)
        weights.append({"path": variable.path, "shape": shape, "dtype": array.dtype.name, "offset": offset})
        offset += array.nbytes
    return weights


# The card.


def _describe(
    siblings: Sequence[dict[str, Any]],
    test: Split,
    directory: pathlib.Path,
    name: str,
    *,
    licence: str | None,
    store: str,
    weights: list[dict[str, Any]],
) -> dict[str, Any]:
    record = siblings[0]
    measured = _measure(record, test, directory, weights)
    same = record["config"]["dtype_policy"] == store == "float32"
    points = RUN_POINTS if same else OTHER_PRECISION_POINTS
    if not abs(measured["test_error"] - record["test_error_last"]) <= points + 1e-9:
        raise InputError(
            f"An artefact must have its record's test error, {record['test_error_last']:.2f} %, give or take"
            f" {points}. Received: {measured['test_error']:.2f} % in float32, stored as {store}"
        )
    parsed = names.parse(record["name"])
    errors = [sibling["test_error_last"] for sibling in siblings]
    contents = {file: (directory / file).read_bytes() for file in cards.FILES}
    return {
        "name": name,
        "family": parsed.family,
        "depth": parsed.depth,
        "width": parsed.width,
        "schedule": str(parsed.schedule),
        "parameters": record["parameters"],
        "dataset": record["dataset"],
        "method": record["method"],
        "teachers": record["teachers"],
        "test_error_last": record["test_error_last"],
        **measured,
        "seed": record["seed"],
        "runs": len(errors),
        "test_error_last_mean": statistics.fmean(errors),
        "test_error_last_std": statistics.stdev(errors) if len(errors) > 1 else None,
        "config": record["config"],
        "trained": {
            key: record[key] for key in ("started", "wall_seconds", "images_per_second", "versions", "hardware")
        },
        "weights": weights,
        "files": {file: cards.expect(content) for file, content in contents.items()},
        "versions": machine.versions(),
        "licence": licence,
        "citation": CITATION.format(version=record["versions"]["kdzoo"]),
        "published": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def write_card(directory: pathlib.Path, card: dict[str, Any]) -> None:
    """Writes a card with its own digest."""
    card = card | {"sha256": cards.digest(card)}
    files.write_atomically(directory / cards.CARD, f"{json.dumps(card, indent=1)}\n".encode())


def _measure(
    record: dict[str, Any], test: Split, directory: pathlib.Path, weights: list[dict[str, Any]]
) -> dict[str, float]:
    """What the artefact's weights give on the test set in float32: errors in percent."""
    model = build(record)
    artefact.assign(model, weights, (directory / cards.VARIABLES).read_bytes())
    images = augmentation.standardise(test.images, mean=record["dataset"]["mean"], std=record["dataset"]["std"])
    logits = model.predict(images, batch_size=500, verbose=0)
    described = metrics.describe(logits, test.labels)
    return {
        "test_error": described["error"],
        "test_error_sample": metrics.describe(logits[: cards.SAMPLE], test.labels[: cards.SAMPLE])["error"],
        "expected_calibration_error": described["ece"],
    }
