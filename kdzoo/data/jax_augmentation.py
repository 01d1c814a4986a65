"""Views of images inside a program compiled by JAX: the same pixels as `kdzoo.data.augmentation` makes on the host."""

from typing import Any

import jax

from kdzoo.data import augmentation, mixup


def apply_views(padded: Any, positions: Any, views: Any) -> Any:
    """The views of the images at some positions; part of a compiled program.

    Args:
        padded: uint8 images [n, h + 8, w + 8, c], see `augmentation.pad`.
        positions: integers [batch], from 0 to n - 1.
        views: view numbers [batch].

    Returns:
        uint8 [batch, h, w, c].
    """
    height, width = (side - 2 * augmentation.PAD for side in padded.shape[1:3])
    flip, down, right = augmentation.describe_views(views)

    def crop(position: Any, down: Any, right: Any) -> Any:
        return jax.lax.dynamic_slice(padded, (position, down, right, 0), (1, height, width, padded.shape[3]))[0]

    crops = jax.vmap(crop)(positions, down, right)
    return jax.numpy.where((flip == 1)[:, None, None, None], crops[:, :, ::-1], crops)


def mix_images(images: Any, mix: mixup.Mix) -> Any:
    """The mixed images of a batch: the same pixels as `mixup.mix_images` makes; part of a compiled program."""
    return mixup.blend(images, images[mix.partners], mix.weights)
