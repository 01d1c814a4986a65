import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_features import Case, arrays
from golden_methods import compute, few
from kdzoo.distillation.methods import cc
from zoo import InputError


@pytest.mark.parametrize("mode", ["code", "paper"])
def test_golden(mode):
    case = Case(f"cc_{mode}")
    builders = {
        name: lambda name=name, channels=channels: cc.embedding(channels=channels, size=3, name=name)
        for name, (channels,) in case.shapes.items()
    }
    calls, variables = case.build(**builders)

    def loss(student, teacher):
        embeddings = {"student_embeddings": calls["student"](student), "teacher_embeddings": calls["teacher"](teacher)}
        return cc.loss(**embeddings, mode=mode)

    case.check(loss, variables)


def test_code_by_hand():
    # Distances (1, 2), (3, 0), (1, 1): products 3 + 0 of the first two, 3 + 0 of the last two; means over two pairs.
    student, teacher = np.array([[1.0, 2.0], [3.0, 0.0], [1.0, -1.0]]), np.zeros((3, 2))
    value = compute(cc.loss, student_embeddings=student, teacher_embeddings=teacher)
    np.testing.assert_allclose(value, [3 * 3 / 2, 3 * 3 / 2, 0])


def test_paper_by_hand():
    # Kernels of orthogonal and of equal vectors: the series at 0 and at 1.
    value = compute(cc.loss, student_embeddings=np.eye(2), teacher_embeddings=np.ones((2, 2)), mode="paper", gamma=0.5)
    np.testing.assert_allclose(value, [(math.exp(-1) * (1 + 1 / 2)) ** 2 / 2] * 2)


@few
@given(arrays(4, 3), arrays(4, 3), st.permutations(range(4)), st.floats(0.125, 8))
def test_in_the_paper_examples_may_come_in_any_order_and_embeddings_in_any_scale(student, teacher, order, scale):
    value = compute(cc.loss, student_embeddings=student, teacher_embeddings=teacher, mode="paper")
    moved = compute(cc.loss, student_embeddings=scale * student[order], teacher_embeddings=teacher[order], mode="paper")
    np.testing.assert_allclose(moved, value[order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", ["code", "paper"])
def test_equal_embeddings_have_no_loss(mode):
    embeddings = np.array([[1.0, 2.0], [3.0, -1.0]])
    assert not compute(cc.loss, student_embeddings=embeddings, teacher_embeddings=embeddings, mode=mode).any()


def test_a_batch_of_one_has_no_correlation():
    assert not compute(cc.loss, student_embeddings=np.ones((1, 2)), teacher_embeddings=np.zeros((1, 2))).any()


def test_other_modes_and_shapes_are_refused():
    with pytest.raises(InputError, match=r"mode must be one of code, paper. Received: x"):
        cc.loss(student_embeddings=np.zeros((2, 2)), teacher_embeddings=np.zeros((2, 2)), mode="x")
    with pytest.raises(InputError, match=r"embeddings .* equal shapes. Received: \(2, 2\) and \(2, 1\)"):
        cc.loss(student_embeddings=np.zeros((2, 2)), teacher_embeddings=np.zeros((2, 1)))
