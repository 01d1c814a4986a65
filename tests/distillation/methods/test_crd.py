import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from golden_features import GOLDEN, Case, arrays, drawn
from golden_methods import compute, few
from kdzoo.distillation.methods import crd


def test_golden():
    case, golden = Case("crd"), GOLDEN["crd"]
    num_examples, size = golden["bank_shape"]
    rows = np.array(golden["rows"])
    banks = case.draw(dict.fromkeys(("student_bank", "teacher_bank"), golden["bank_shape"]), scale=0.5)
    builders = {
        name: lambda name=name, channels=channels: crd.embedding(channels=channels, size=size, name=name)
        for name, (channels,) in case.shapes.items()
    }
    calls, variables = case.build(**builders)

    def constants(student, teacher):
        pairs = (calls["student"](student), banks["teacher_bank"]), (calls["teacher"](teacher), banks["student_bank"])
        return [
            float(crd.normalisation(crd.scores(embeddings, bank, rows), num_examples=num_examples))
            for embeddings, bank in pairs
        ]

    found = compute(constants, **case.inputs)
    np.testing.assert_allclose(found, golden["constants"], rtol=1e-5)

    def loss(student, teacher):
        return crd.loss(
            student_embeddings=calls["student"](student),
            teacher_embeddings=calls["teacher"](teacher),
            student_bank=banks["student_bank"],
            teacher_bank=banks["teacher_bank"],
            images=rows,
            student_constant=found[0],
            teacher_constant=found[1],
        )

    case.check(loss, variables)
    for name, bank in banks.items():
        network = name.split("_")[0]
        new = compute(lambda x, b=bank, n=network: crd.updated_rows(b[rows[:, 0]], calls[n](x)), x=case.inputs[network])
        np.testing.assert_allclose(new, golden[f"new_{name}"], rtol=1e-5)


def test_by_hand():
    # One negative of two images: the positive scores e^1, the negative 1, by temperature 1 and constants 1.
    embeddings, bank = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    value = compute(
        crd.loss,
        student_embeddings=embeddings,
        teacher_embeddings=embeddings,
        student_bank=bank,
        teacher_bank=bank,
        images=np.array([[1, 0]]),
        student_constant=1.0,
        teacher_constant=1.0,
        temperature=1.0,
    )
    np.testing.assert_allclose(value, [-2 * (math.log(math.e / (math.e + 0.5)) + math.log(0.5 / 1.5))], rtol=1e-6)


@few
@given(arrays(3, 4), st.floats(0, 1))
def test_new_rows_have_length_1_and_lie_between_the_old_ones_and_the_embeddings(rows, momentum):
    embeddings = drawn("embeddings", 3, 4)
    new = compute(crd.updated_rows, rows=rows, embeddings=embeddings, momentum=momentum)
    between = momentum * rows + (1 - momentum) * embeddings
    lengths = np.linalg.norm(between, axis=1)
    np.testing.assert_allclose(new * lengths[:, None], between, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(new, axis=1)[lengths > 1e-6], 1)


def test_a_bank_has_rows_about_as_long_as_embeddings():
    bank = crd.initial_bank(1000, 128, np.random.RandomState(0))
    assert bank.shape == (1000, 128)
    assert bank.dtype == np.float32
    np.testing.assert_allclose(np.square(bank).sum(axis=1).mean(), 1, rtol=0.05)
