import numpy as np
import pytest

from golden_methods import compute, value_and_gradients
from kdzoo.distillation import features


def test_a_size_that_divides_is_pooled_over_windows_side_by_side():
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(compute(features.shrink, x=x, size=(2, 2))[0, ..., 0], [[2.5, 4.5], [10.5, 12.5]])


def test_a_size_that_does_not_divide_is_pooled_over_windows_that_overlap():
    """PyTorch's adaptive pooling: 5 to 3 takes 0-1, 1-3 and 3-4."""
    x = np.arange(5.0).reshape(1, 1, 5, 1)
    np.testing.assert_allclose(compute(features.shrink, x=x, size=(1, 3))[0, 0, :, 0], [0.5, 2.0, 3.5])


@pytest.mark.parametrize("size", [(4, 4), (8, 8)])
def test_nothing_is_enlarged(size):
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(compute(features.shrink, x=x, size=size), x)


def test_unit_vectors_have_length_1_and_zeros_stay_with_gradient_0():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0]])
    value, gradients, _ = value_and_gradients(features.unit_vectors, {"x": vectors})
    np.testing.assert_allclose(value, [[0.6, 0.8], [0.0, 0.0]])
    np.testing.assert_array_equal(gradients["x"][1], 0)
    np.testing.assert_allclose(gradients["x"][0] @ vectors[0], 0, atol=1e-12)  # the length does not matter


def test_less_than_float32_is_computed_in_float32():
    student, teacher = features.pair(np.ones((2, 3), np.float16), np.ones((2, 3), np.float16))
    assert {str(np.asarray(x).dtype) for x in (student, teacher)} == {"float32"}
