"""Wide residual networks: Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016 (arXiv:1605.07146)."""

from typing import Any

import keras
from keras import layers

from zoo import InputError
from zoo.families import FAMILIES
from zoo.layers import batch_norm_relu, conv, head


def build(
    depth: int, width: int, *, num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Builds WRN-depth-width with pre-activation basic blocks, without dropout.

    On 32x32 images: stem 32x32x16, `stage1` 32x32x(16k), `stage2` 16x16x(32k), `stage3` 8x8x(64k), with k = `width`.
    A stage's output is the last residual sum, before the next block's BatchNorm. Width 1 is a pre-activation ResNet.

    Args:
        depth: the paper's n; 6N + 4 with N >= 1 blocks a stage: 10, 16, 22, 28, 40...
        width: the paper's k, at least 1.
        num_classes: number of logits.
        input_shape: (height, width, channels) of the standardised images.

    Raises:
        InputError: if no such depth or width exists.
    """
    FAMILIES["wrn"].check_depth(depth)
    if width < 1:
        raise InputError(f"A WRN's width must be at least 1, for example wrn16-2. Received: width {width}")
    blocks = (depth - 4) // 6

    inputs = keras.Input(input_shape, name="image")
    x = conv(inputs, 16, 3, name="stem_conv")
    for stage in (1, 2, 3):
        for block in range(1, blocks + 1):
            x = _block(
                x,
                16 * width * 2 ** (stage - 1),
                stride=2 if stage > 1 and block == 1 else 1,
                name=f"stage{stage}_block{block}",
                output_name=f"stage{stage}" if block == blocks else None,
            )
    x = batch_norm_relu(x, name="final")
    return keras.Model(inputs, head(x, num_classes), name=f"wrn{depth}-{width}")


def _block(x: Any, filters: int, *, stride: int, name: str, output_name: str | None) -> Any:
    """Adds BN-ReLU-conv-BN-ReLU-conv to the shortcut, a 1x1 convolution if the number of channels changes."""
    activated = batch_norm_relu(x, name=f"{name}_1")
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = conv(activated, filters, 1, stride=stride, name=f"{name}_shortcut")
    x = conv(activated, filters, 3, stride=stride, name=f"{name}_conv1")
    x = batch_norm_relu(x, name=f"{name}_2")
    x = conv(x, filters, 3, name=f"{name}_conv2")
    return layers.Add(name=output_name or f"{name}_add")([x, shortcut])
