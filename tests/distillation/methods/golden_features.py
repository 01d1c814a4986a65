"""Compares losses on features, and their adapters, with the golden numbers of `make_feature_methods.py`."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from draws import draw
from golden_methods import float64, load_golden, value_and_gradients
from kdzoo.distillation.dtype import dtype_policy

GOLDEN = load_golden("feature_methods.json")


class Case:
    """A golden case.

    Attributes:
        golden: what the json holds.
        inputs: of the loss, by name, channels last.
        shapes: theirs, without the batch.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.golden = GOLDEN[name]
        self.inputs = self.draw(self.golden["inputs"])
        self.shapes = {name: array.shape[1:] for name, array in self.inputs.items()}

    def draw(self, shapes: dict[str, list[int]], scale: float = 1.0) -> dict[str, np.ndarray]:
        """Draws arrays from the case and their names."""
        return {name: draw(f"{self.name}/{name}", tuple(shape), scale=scale) for name, shape in shapes.items()}

    def build(self, **builders: Callable[[], keras.Model]) -> tuple[dict[str, Any], dict[str, keras.Variable]]:
        """Builds adapters in float64 with the weights of the case.

        Returns:
            For each adapter, a function that calls it in training mode; the weights by their golden names.
        """
        with float64(), dtype_policy("float64"):
            adapters = {name: build() for name, build in builders.items()}
            variables = {
                f"{name}/{variable.path}": variable
                for name, adapter in adapters.items()
                for variable in adapter.trainable_variables
            }
            drawn = self.draw(self.golden["weights"] | self.golden.get("frozen", {}), scale=0.5)
            assert {name: tuple(variable.shape) for name, variable in variables.items() if name in drawn} == {
                name: array.shape for name, array in drawn.items()
            }
            for name, array in drawn.items():
                variables[name].assign(array)
        calls = {name: lambda x, a=adapter: a(x, training=True) for name, adapter in adapters.items()}
        return calls, {name: variables[name] for name in self.golden["weights"]}

    def check(self, loss: Callable[..., Any], variables: dict[str, keras.Variable] | None = None) -> np.ndarray:
        """Fails unless the loss and its gradients are the golden ones, to 1e-5 in float64; returns the loss."""
        variables = variables or {}
        value, gradients, by_variable = value_and_gradients(loss, self.inputs, list(variables.values()))
        assert value.dtype == np.float64
        assert value.shape == (len(next(iter(self.inputs.values()))),)
        # Keras's BatchNormalization computes in float32 on JAX. A bias before it has gradient 0 up to rounding.
        normalised = any("_bn/" in name or "/bn/" in name for name in variables)
        rtol, zero = (1e-3, 1e-6) if normalised and keras.backend.backend() == "jax" else (1e-5, 1e-12)
        np.testing.assert_allclose(value.mean(), self.golden["loss"], rtol=rtol)
        gradients |= dict(zip(variables, by_variable, strict=True))
        for name, golden in self.golden["gradients"].items():
            close = {"rtol": rtol, "atol": rtol * np.abs(golden).max() + zero}
            np.testing.assert_allclose(gradients[name], golden, **close, err_msg=name)
        return value

    def assert_no_gradient_to_the_teacher(self, loss: Callable[..., Any]) -> None:
        """Fails if the loss has a gradient by an input of the teacher."""
        _, gradients, _ = value_and_gradients(loss, self.inputs)
        teachers = {name: gradient for name, gradient in gradients.items() if name.startswith("teacher")}
        assert teachers
        assert not any(gradient.any() for gradient in teachers.values())


def stages(inputs: dict[str, Any], network: str) -> list[Any]:
    """The stages of a network among the inputs of a case."""
    return [inputs[name] for name in sorted(inputs) if name.startswith(network)]


def arrays(*shape: int) -> st.SearchStrategy[np.ndarray]:
    """Draws features, float64, from -8 to 8."""
    return st_numpy.arrays(np.float64, shape, elements=st.floats(-8, 8, width=16))


def drawn(name: str, *shape: int) -> np.ndarray:
    """Features that are a function of their name."""
    return draw(name, shape)
