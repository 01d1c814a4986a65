"""Compares a trained network in mixed_bfloat16 with itself in float32: activations, test errors, gradients of a batch.

  TFDS_DATA_DIR=... python benchmarks/precision.py --out=benchmarks/precision.json
  python benchmarks/precision.py --show=benchmarks/precision.json      # the tables again

The weights are those of published models, of CIFAR-10. Differences are relative: the L2 norm of the difference over
that of the values in float32. Beside the difference of a batch's gradients in the two precisions stands that of the
gradients of two batches, both in float32: what training has to live with anyway.
"""

import argparse
import itertools
import json
import pathlib
import re

import numpy as np

MODELS = ("wrn16-1_60-200", "wrn16-2_10-35")
IMAGES, BATCH, BATCHES = 500, 128, 8
PRECISIONS = ("float32", "mixed_bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS), help="published models of CIFAR-10")
    parser.add_argument("--out", default="")
    parser.add_argument("--show", default="")
    args = parser.parse_args()
    if args.show:
        return show(json.loads(pathlib.Path(args.show).read_text()))
    result = measure(args.models.split(","))
    show(result)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")


def measure(names: list[str]) -> dict:
    """The differences of each model."""
    from kdzoo.data import sources
    from kdzoo.data.config import DataConfig
    from kdzoo.runs import machine

    dataset = sources.load(DataConfig("cifar10"))
    models = {name: measure_model(name, dataset) for name in names}
    return {"models": models, "hardware": machine.hardware(), "versions": machine.versions()}


def measure_model(name: str, dataset) -> dict:
    import keras

    from kdzoo.data import standardise
    from kdzoo.distillation.dtype import dtype_policy
    from kdzoo.hub import models
    from kdzoo.training.steps import predict

    networks = {}
    for precision in PRECISIONS:
        with dtype_policy(precision):
            networks[precision] = models.find(name).build()
    statistics = {"mean": dataset.mean, "std": dataset.std}
    images = standardise(dataset.test.images[:IMAGES], **statistics)
    layers = [layer.name for layer in networks["float32"].layers if layer.name.startswith("stage")]
    layers.append(networks["float32"].layers[-1].name)
    outputs = [
        keras.Model(network.inputs, [network.get_layer(layer).output for layer in layers]).predict(images, verbose=0)
        for network in networks.values()
    ]
    logits = [predict(network, dataset.test, dataset) for network in networks.values()]
    errors = [100 * float(np.mean(of_one.argmax(1) != dataset.test.labels)) for of_one in logits]
    batches = [
        (standardise(dataset.train.images[at : at + BATCH], **statistics), dataset.train.labels[at : at + BATCH])
        for at in range(0, BATCHES * BATCH, BATCH)
    ]
    exact, rounded = ([gradients(network, *batch) for batch in batches] for network in networks.values())
    return {
        "activations": {layer: difference(a, b) for layer, a, b in zip(layers, *outputs, strict=True)},
        "test_errors": dict(zip(PRECISIONS, errors, strict=True)),
        "agreement": 100 * float(np.mean(logits[0].argmax(1) == logits[1].argmax(1))),
        "gradients": {
            path: {
                "precisions": [difference(a[path], b[path]) for a, b in zip(exact, rounded, strict=True)],
                "batches": [difference(a[path], b[path]) for a, b in itertools.pairwise(exact)],
            }
            for path in exact[0]
        },
    }


def gradients(network, images, labels) -> dict[str, np.ndarray]:
    """Gradients of the cross-entropy, in training, by the path of the weight; the network stays as it is."""
    import keras
    import tensorflow as tf

    kept = network.get_weights()
    with tf.GradientTape() as tape:
        logits = keras.ops.cast(network(images, training=True), "float32")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    found = tape.gradient(loss, [variable.value for variable in network.trainable_variables])
    network.set_weights(kept)
    return {variable.path: np.asarray(g) for variable, g in zip(network.trainable_variables, found, strict=True)}


def difference(values, others) -> float:
    """Relative L2 difference of two arrays."""
    values, others = np.asarray(values, np.float64), np.asarray(others, np.float64)
    return float(np.linalg.norm(others - values) / np.linalg.norm(values))


def show(result: dict) -> None:
    """Prints the tables, of activations those of the stages and the logits."""
    from kdzoo.reports.tables import markdown

    for name, measured in result["models"].items():
        shown = {at: x for at, x in measured["activations"].items() if re.fullmatch("stage[0-9]|logits", at)}
        rows = [("activations", "relative difference"), *((at, f"{x:.4f}") for at, x in shown.items())]
        print(f"{name}\n\n{markdown(rows, words=1)}\n")
        rows = [("gradients of", "of the two precisions", "of two batches")]
        for path, found in measured["gradients"].items():
            if path.endswith("kernel"):
                rows.append((path, *(f"{np.median(found[of]):.4f}" for of in ("precisions", "batches"))))
        print(f"{markdown(rows, words=1)}\n")
        errors = ", ".join(f"{error:.2f} % in {precision}" for precision, error in measured["test_errors"].items())
        print(f"test errors: {errors}; agreement {measured['agreement']:.2f} %\n")


if __name__ == "__main__":
    main()
