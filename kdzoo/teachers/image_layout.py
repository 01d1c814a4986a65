"""Where an external model has the channels of its images: NHWC, as here, or NCHW, as in PyTorch. Pure functions."""

from collections.abc import Sequence

import numpy as np

from zoo import InputError

CHANNELS = (1, 3)


def find_layout(shape: Sequence[int | None], wanted: str, spec: str) -> str:
    """The layout of a model's images, nchw or nhwc.

    Args:
        shape: of its input without the batch dimension; a dimension of any size is None.
        wanted: nchw, nhwc, or auto: where the shape has 1 or 3 channels.
        spec: of the model, for the message.

    Raises:
        InputError: if the shape does not show the layout, and it is not given.
    """
    if wanted != "auto":
        return wanted
    first, last = shape[0] in CHANNELS, shape[-1] in CHANNELS
    if first == last:
        raise InputError(
            "teacher_layout must be nchw or nhwc for a teacher whose input does not show where its 1 or 3 channels are."
            f" Received: auto for {describe_shape(shape)} of {spec}"
        )
    return "nchw" if first else "nhwc"


def to_model(images: np.ndarray, layout: str) -> np.ndarray:
    """Images [n, h, w, c] in a model's layout."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if layout == "nchw" else images


def stage_from_model(stage: np.ndarray, image_size: tuple[int, int], layout: str, name: str) -> np.ndarray:
    """A stage's output [n, h, w, channels], from that in a model's layout.

    A model may have its stages in the other layout than its images. Height and width of a stage have the ratio of the
    image's up to rounding, which its channels seldom have.

    Args:
        stage: the output.
        image_size: (height, width) of the images.
        layout: of the images.
        name: of the output and its model, for the message.

    Raises:
        InputError: if it is no stage in either layout.
    """
    for candidate in (layout, "nhwc" if layout == "nchw" else "nchw"):
        sizes = stage.shape[2:] if candidate == "nchw" else stage.shape[1:3]
        if stage.ndim == 4 and _has_ratio(sizes, image_size):
            return stage.transpose(0, 2, 3, 1) if candidate == "nchw" else stage
    raise InputError(
        "A teacher's stages must be [n, channels, height, width] or [n, height, width, channels], with height and width"
        f" in the ratio of the image's, {image_size[0]} to {image_size[1]}. Received: {list(stage.shape)}, {name}"
    )


def _has_ratio(sizes: Sequence[int], image_size: tuple[int, int]) -> bool:
    """Whether (height, width) is that of an image, divided by one number and rounded: exactly, if it is a square."""
    (height, width), (image_height, image_width) = sizes, image_size
    return abs(height * image_width - width * image_height) < max(image_size)


def describe_shape(shape: Sequence[int | str | None]) -> str:
    """An input's shape for a message, with ? for a dimension of any size: [?, 3, 32, 32]."""
    return f"[{', '.join(str(size) if isinstance(size, int) else '?' for size in shape)}]"
