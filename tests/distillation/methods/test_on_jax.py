"""The tests of this folder, on the JAX backend without TensorFlow."""

import sys

import keras
import pytest

from conftest import JAX_ENV, JAX_PYTHON, WITHOUT_TENSORFLOW, run_python

if sys.executable == JAX_PYTHON:
    pytest.importorskip("jax")


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="they run on JAX")
def test_the_losses_and_gradients_are_the_golden_ones_on_jax():
    code = WITHOUT_TENSORFLOW + "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    done = run_python(
        "-c", code, "-q", "-p", "no:cacheprovider", "tests/distillation/methods", python=JAX_PYTHON, env=JAX_ENV
    )
    assert done.returncode == 0, done.stdout[-3000:]
