import pytest

from golden_features import Case, drawn
from golden_methods import compute
from kdzoo.distillation.methods import simkd


@pytest.mark.parametrize("sizes", ["equal", "larger", "smaller"])
def test_golden(sizes):
    case = Case(f"simkd_{sizes}")
    shapes = {f"{name}_shape": shape for name, shape in case.shapes.items()}
    calls, variables = case.build(projector=lambda: simkd.projector(**shapes))

    def loss(student, teacher):
        return simkd.loss(student_stage=calls["projector"](student), teacher_stage=teacher)

    case.check(loss, variables)
    case.assert_no_gradient_to_the_teacher(loss)


def test_equal_stages_have_no_loss():
    stage = drawn("stage", 2, 4, 4, 3)
    assert not compute(simkd.loss, student_stage=stage, teacher_stage=stage).any()


@pytest.mark.parametrize(("factor", "between"), [(2, 64), (4, 32)])
def test_the_factor_divides_the_projectors_channels(factor, between):
    projector = simkd.projector(student_shape=(8, 8, 64), teacher_shape=(8, 8, 128), factor=factor)
    kernels = [w for w in projector.trainable_weights if w.name == "kernel"]
    assert [tuple(w.shape) for w in kernels] == [(1, 1, 64, between), (3, 3, between, between), (1, 1, between, 128)]
