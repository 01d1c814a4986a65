import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden_methods import LOGITS, assert_golden, compute, few, load_golden, logits
from kdzoo.distillation.methods import mlkd
from zoo import InputError

GOLDEN = load_golden("methods.json")
PAIR = {name: LOGITS[name] for name in ("student_logits", "teacher_logits")}


def test_golden():
    assert assert_golden(GOLDEN["mlkd"], mlkd.loss, LOGITS).shape == ()


def test_golden_of_the_paper():
    assert_golden(GOLDEN["mlkd_paper"], lambda **given: mlkd.loss(**given, mode="paper"), PAIR)


@few
@given(logits(), logits())
def test_equal_logits_have_no_loss(weak, strong):
    of_weak = {"student_logits": weak, "teacher_logits": weak}
    of_strong = {"strong_student_logits": strong, "strong_teacher_logits": strong}
    np.testing.assert_allclose(compute(mlkd.loss, **of_weak, **of_strong), 0, atol=1e-10)


@few
@given(st.permutations(range(6)), st.permutations(range(10)))
def test_the_order_of_examples_and_classes_does_not_matter(examples, classes):
    moved = {name: array[examples][:, classes] for name, array in LOGITS.items()}
    np.testing.assert_allclose(compute(mlkd.loss, **moved), compute(mlkd.loss, **LOGITS), rtol=1e-9)


def test_relations_by_hand():
    # Predictions of two examples: (1, 0) and (0, 1) of the student, (1/2, 1/2) twice of the teacher.
    pair = {"student_logits": np.array([[1e4, 0.0], [0.0, 1e4]]), "teacher_logits": np.zeros((2, 2))}
    # Both relations are the identity of the student and 1/2 everywhere of the teacher: 4 squares of 1/4, over 2.
    assert compute(mlkd.batch_level, **pair, temperature=1.0) == 0.5
    assert compute(mlkd.class_level, **pair, temperature=1.0) == 0.5


@pytest.mark.parametrize(("mode", "given"), [("code", PAIR), ("paper", LOGITS)])
def test_the_strong_view_is_of_the_code_alone(mode, given):
    with pytest.raises(InputError, match=f"needs the logits of a strong view in mode code.*Received: mode {mode}, "):
        mlkd.loss(**given, mode=mode)
