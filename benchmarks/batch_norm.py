"""How much faster a training step is with the zoo's fused BatchNormalization than with Keras's own.

Both networks train in turn, a step each, on the same batch; the ratio is taken step by step.

  python benchmarks/batch_norm.py
"""

import statistics
import time

import keras
import numpy as np

import kdzoo
import zoo.layers
from kdzoo.distillation.optimizers import CoupledSGD
from kdzoo.runs import machine

BATCH, STEPS, WARM_UP = 128, 30, 5


def network(name: str, policy: str, batch_norm: type) -> kdzoo.Distiller:
    fused, zoo.layers.BatchNormalization = zoo.layers.BatchNormalization, batch_norm
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = kdzoo.Distiller(kdzoo.build(name), ce_weight=1.0, kd_weight=0.0)
    finally:
        zoo.layers.BatchNormalization = fused
        keras.config.set_dtype_policy(before)
    model.compile(CoupledSGD(0.01), jit_compile=False)
    return model


def main() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(BATCH, 32, 32, 3)).astype("float32")
    labels = rng.integers(0, 10, BATCH)
    print(f"{machine.hardware()}\n{machine.versions()}\n")
    print(f"| network | precision | Keras's, images/s | fused, images/s | ratio of {STEPS} steps: median (quartiles) |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name in ("wrn16-1", "wrn16-2"):
        for policy in ("float32", "mixed_bfloat16"):
            models = [
                network(name, policy, layer)
                for layer in (keras.layers.BatchNormalization, zoo.layers.BatchNormalization)
            ]
            seconds = ([], [])
            for _ in range(WARM_UP + STEPS):
                for model, times in zip(models, seconds, strict=True):
                    started = time.perf_counter()
                    model.train_on_batch(images, labels)
                    times.append(time.perf_counter() - started)
            own, fused = (times[WARM_UP:] for times in seconds)
            ratios = [a / b for a, b in zip(own, fused, strict=True)]
            low, median, high = statistics.quantiles(ratios, n=4)
            rates = [BATCH / statistics.median(times) for times in (own, fused)]
            print(
                f"| {name} | {policy} | {rates[0]:.0f} | {rates[1]:.0f} | {median:.2f} ({low:.2f}-{high:.2f}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
