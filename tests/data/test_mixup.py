import itertools

import numpy as np
import pytest

from kdzoo.data import mixup, sources
from kdzoo.data.batches import Batches

SIZE = (8, 6)
LABELLED = np.array([True, True, False, True, False, True, True, False])


def draw(step: int = 0, **options) -> mixup.Mix:
    usual = {"seed": 1, "epoch": 2, "labelled": LABELLED, "size": SIZE, "mixup_alpha": 1.0, "cutmix_alpha": 0.0}
    return mixup.draw(step=step, **usual | options)


def test_pixels_by_hand():
    """Half-way between 100 and 201 is 150.5, which rounds up; at a quarter of the first it is 175.75."""
    image, other = (np.full((1, 1, 2, 1), value, np.uint8) for value in (100, 201))
    weights = np.array([[[mixup.UNIT // 2], [mixup.UNIT // 4]]], np.uint32)
    assert mixup.blend(image, other, weights).ravel().tolist() == [151, 176]


def test_whole_weights_keep_every_pixel():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for weight, kept in ((mixup.UNIT, values), (0, values[:, ::-1])):
        weights = np.full((16, 16, 1), weight, np.uint32)
        np.testing.assert_array_equal(mixup.blend(values, values[:, ::-1], weights), kept)


def test_pixels_are_the_same_in_a_program_of_jax():
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, *SIZE, 3), dtype=np.uint8)
    for mix in (draw(), draw(mixup_alpha=0.0, cutmix_alpha=1.0)):
        expected = mixup.mix_images(images, mix)
        np.testing.assert_array_equal(mixup.blend(images, images[mix.partners], mix.weights), expected)
        compiled = jax.jit(mixup.blend)(images, images[mix.partners], mix.weights)
        assert compiled.dtype == np.uint8
        np.testing.assert_array_equal(compiled, expected)


def test_the_draw_is_a_function_of_seed_epoch_and_step():
    one = draw()
    np.testing.assert_array_equal(one.weights, draw().weights)
    np.testing.assert_array_equal(one.partners, draw().partners)
    shares = [draw(step).share for step in range(20)] + [draw(epoch=3).share, draw(seed=2).share]
    assert len(set(shares)) == 22


@pytest.mark.parametrize("count", [2, 3, 8])
def test_every_image_has_another_one_of_its_kind_as_partner(count):
    for step in range(20):
        mix = draw(step, labelled=np.full(count, True))
        assert sorted(mix.partners) == list(range(count))
        assert all(mix.partners != np.arange(count))
        np.testing.assert_array_equal(LABELLED[draw(step).partners], LABELLED)
    seen = {tuple(draw(step, labelled=np.full(8, True)).partners) for step in range(100)}
    assert len(seen) == 7  # all rotations


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_have_the_mean_and_the_variance_of_the_beta_distribution(alpha):
    shares = [draw(step, mixup_alpha=alpha).share for step in range(800)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


@pytest.mark.parametrize("alpha", [5e-324, 1e-9, 100.0])
def test_shares_of_extreme_alphas_are_shares(alpha):
    assert all(0 <= draw(step, mixup_alpha=alpha).share <= 1 for step in range(50))


def test_a_box_has_the_share_that_its_labels_lack():
    shares = []
    for step in range(200):
        mix = draw(step, mixup_alpha=0.0, cutmix_alpha=1.0, size=(16, 12))
        inside = mix.weights[..., 0] == 0
        assert set(mix.weights.ravel().tolist()) <= {0, mixup.UNIT}
        assert mix.share == (~inside).mean()
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        assert inside.sum() == len(rows) * len(columns)
        assert all(np.diff(rows) == 1)
        assert all(np.diff(columns) == 1)
        shares.append(mix.share)
    assert 0.4 < np.mean(shares) < 0.8  # a box that the border cuts off is smaller


def test_with_both_each_step_has_one_of_them():
    mixes = [draw(step, cutmix_alpha=1.0) for step in range(400)]
    cut = sum(len(set(mix.weights.ravel().tolist())) == 2 for mix in mixes)
    assert 140 < cut < 240


def test_labels_by_hand():
    labels = mixup.to_probabilities(np.array([2, 0, -1]), 4, smoothing=0.1)
    assert labels.dtype == np.float32
    np.testing.assert_allclose(
        labels, [[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025], [0.25] * 4], rtol=1e-6
    )
    np.testing.assert_array_equal(mixup.to_probabilities(np.array([1]), 3), [[0, 1, 0]])
    mix = mixup.Mix(np.array([1, 0]), np.full((2, 2, 1), mixup.UNIT // 4, np.uint32))
    mixed = mixup.mix_labels(np.array([[1, 0], [0, 1]], np.float32), mix)
    np.testing.assert_array_equal(mixed, [[0.25, 0.75], [0.75, 0.25]])


def test_batches_are_mixed_before_they_are_standardised(npz):
    dataset = sources.load(f"npz:{npz}")
    options = {"seed": 3, "epoch": 1, "batch_size": 32, "augment": "crop_flip"}
    plain = Batches(dataset.train, dataset, **options)
    mixed = Batches(dataset.train, dataset, **options, mixup_alpha=0.5, cutmix_alpha=1.0, label_smoothing=0.2)
    for batch in range(4):
        images, labels = plain.read(batch)
        mix = mixed.mix(batch)
        received, probabilities = mixed.read(batch)
        for place, partner in enumerate(mix.partners):
            expected = mix.weights / mixup.UNIT * images[place] + (1 - mix.weights / mixup.UNIT) * images[partner]
            np.testing.assert_array_equal(received[place], np.floor(expected + 0.5))
            of_both = mix.share * np.eye(4)[labels[place]] + (1 - mix.share) * np.eye(4)[labels[partner]]
            np.testing.assert_allclose(probabilities[place], 0.8 * of_both + 0.05, atol=1e-6)
        np.testing.assert_array_equal(mixed.labels(batch), probabilities)
    assert plain.mix(0) is None
    assert any((one != other).any() for one, other in itertools.pairwise(mixed.mix(i).weights for i in range(4)))
