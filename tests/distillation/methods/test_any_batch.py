"""What all losses on features share: batches of a size that a graph leaves open, and features of less than float32."""

import keras
import numpy as np
import pytest

from golden_features import drawn
from kdzoo.distillation.methods import ab, cc, crd, fitnets, fsp, ft, nst, pkt, reviewkd, rkd, semckd, simkd, sp, vid

# From two stages [n, 4, 4, 3], or from their means over places, as features [n, 3].
ON_STAGES = {
    "ab": lambda s, t: ab.loss(student_stages=[s], teacher_stages=[t]),
    "fitnets": lambda s, t: fitnets.loss(student_stage=s, teacher_stage=t),
    "fsp": lambda s, t: fsp.loss(student_stages=[s, s], teacher_stages=[t, t]),
    "ft": lambda s, t: ft.loss(student_factors=s, teacher_factors=t),
    "ft_maps": lambda s, t: ft.loss(student_factors=s, teacher_factors=t, maps=True),
    "ft_reconstruction": lambda s, t: ft.reconstruction(reconstructed=s, teacher_stage=t),
    "nst": lambda s, t: nst.loss(student_stages=[s], teacher_stages=[t]),
    "reviewkd": lambda s, t: reviewkd.loss(student_stages=[s], teacher_stages=[t]),
    "semckd": lambda s, t: semckd.loss(projected=[[s, s]], weights=keras.ops.ones((5, 1, 2)), teacher_stages=[t, t]),
    "simkd": lambda s, t: simkd.loss(student_stage=s, teacher_stage=t),
    "sp": lambda s, t: sp.loss(student_stage=s, teacher_stage=t),
    "vid": lambda s, t: vid.loss(mean=s, variance=keras.ops.ones((1, 1, 1, 3)), teacher_stage=t),
}
ON_FEATURES = {
    "cc_code": lambda s, t: cc.loss(student_embeddings=s, teacher_embeddings=t),
    "cc_paper": lambda s, t: cc.loss(student_embeddings=s, teacher_embeddings=t, mode="paper"),
    "crd": lambda s, t: crd.loss(
        student_embeddings=s,
        teacher_embeddings=t,
        student_bank=drawn("student_bank", 20, 3) / 4,
        teacher_bank=drawn("teacher_bank", 20, 3) / 4,
        images=np.arange(20).reshape(5, 4),
        student_constant=20.0,
        teacher_constant=20.0,
    ),
    "pkt": lambda s, t: pkt.loss(student_features=s, teacher_features=t),
    "rkd": lambda s, t: rkd.loss(student_features=s, teacher_features=t),
}
LOSSES = ON_STAGES | {
    name: lambda s, t, loss=loss: loss(keras.ops.mean(s, (1, 2)), keras.ops.mean(t, (1, 2)))
    for name, loss in ON_FEATURES.items()
}
STUDENT, TEACHER = (drawn(name, 5, 4, 4, 3).astype(np.float32) for name in ("student", "teacher"))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow leaves sizes open")
@pytest.mark.parametrize("name", LOSSES)
def test_a_graph_may_leave_the_batch_size_open(name):
    import tensorflow as tf

    compiled = tf.function(LOSSES[name], input_signature=[tf.TensorSpec((None, 4, 4, 3), tf.float32)] * 2)
    np.testing.assert_allclose(compiled(STUDENT, TEACHER), LOSSES[name](STUDENT, TEACHER), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_features_of_float16_are_compared_in_float32(name):
    value = LOSSES[name](STUDENT.astype(np.float16), TEACHER.astype(np.float16))
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(value, LOSSES[name](STUDENT, TEACHER), rtol=0.02, atol=2e-3)
