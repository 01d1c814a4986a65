"""Each family of keras.applications on JAX: CI has them on TensorFlow, since JAX compiles each for a minute or more."""

import os

import pytest

from conftest import ROOT, run_python
from test_networks import SMALLEST

TEST = f"{ROOT}/tests/training/test_any_model.py::test_each_family_of_keras_learns_and_teaches"


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_each_family_of_keras_learns_and_teaches_on_jax(name):
    pytest.importorskip("jax")
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow", f"{TEST}[{name}]")
    done = run_python(*words, env={**os.environ, "KERAS_BACKEND": "jax"})
    assert done.returncode == 0, done.stdout[-5000:]
