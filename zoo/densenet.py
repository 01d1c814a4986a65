"""DenseNet-BC: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017 (arXiv:1608.06993)."""

from typing import Any

import keras
from keras import layers

from zoo import InputError
from zoo.families import FAMILIES
from zoo.layers import batch_norm_relu, conv, head


def build(
    depth: int, growth: int, *, num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3)
) -> keras.Model:
    """Builds DenseNet-BC (bottleneck of 4k channels, compression 0.5) with three dense blocks, without dropout.

    On 32x32 images: stem 32x32x(2k), `stage1` 32x32, `stage2` 16x16, `stage3` 8x8, with k = `growth`. A stage's output
    is the last concatenation of its dense block, before the transition's BatchNorm.

    Args:
        depth: the paper's L; 6N + 4 with N >= 1 bottleneck layers a block: 40, 100, 190...
        growth: the paper's k, at least 1: the channels that each layer adds.
        num_classes: number of logits.
        input_shape: (height, width, channels) of the standardised images.

    Raises:
        InputError: if no such depth or growth exists.
    """
    FAMILIES["dn"].check_depth(depth)
    if growth < 1:
        raise InputError(f"A DenseNet's growth must be at least 1, for example dn40-12. Received: growth {growth}")
    layers_per_block = (depth - 4) // 6

    inputs = keras.Input(input_shape, name="image")
    x = conv(inputs, 2 * growth, 3, name="stem_conv")
    for stage in (1, 2, 3):
        if stage > 1:
            x = _transition(x, name=f"transition{stage - 1}")
        for layer in range(1, layers_per_block + 1):
            x = _bottleneck(
                x,
                growth,
                name=f"stage{stage}_layer{layer}",
                output_name=f"stage{stage}" if layer == layers_per_block else None,
            )
    x = batch_norm_relu(x, name="final")
    return keras.Model(inputs, head(x, num_classes), name=f"dn{depth}-{growth}")


def _bottleneck(x: Any, growth: int, *, name: str, output_name: str | None) -> Any:
    """Concatenates BN-ReLU-conv1x1(4k)-BN-ReLU-conv3x3(k) to its input."""
    new = batch_norm_relu(x, name=f"{name}_1")
    new = conv(new, 4 * growth, 1, name=f"{name}_conv1")
    new = batch_norm_relu(new, name=f"{name}_2")
    new = conv(new, growth, 3, name=f"{name}_conv2")
    return layers.Concatenate(name=output_name or f"{name}_concat")([x, new])


def _transition(x: Any, *, name: str) -> Any:
    """Applies BN-ReLU-conv1x1 to half the channels, then 2x2 average pooling."""
    channels = x.shape[-1] // 2
    x = batch_norm_relu(x, name=name)
    x = conv(x, channels, 1, name=f"{name}_conv")
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)
