"""ResNet: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv:1512.03385)."""

from typing import Any

import keras
from keras import layers

from zoo import InputError
from zoo.families import FAMILIES
from zoo.layers import batch_norm, batch_norm_relu, conv, head

# Depth -> (blocks in each stage, whether they are bottleneck blocks): the paper's table 1.
DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


def build(
    depth: int,
    width: None = None,
    *,
    num_classes: int = 1000,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    stem: str = "auto",
) -> keras.Model:
    """Builds the ImageNet ResNets, bias-free, with the stride in a bottleneck's 3x3 convolution (as torchvision does).

    On 224x224 images: stem 56x56x64, `stage1` 56x56, `stage2` 28x28, `stage3` 14x14, `stage4` 7x7. With the CIFAR stem,
    on 32x32: stem 32x32x64, `stage1` 32x32, ..., `stage4` 4x4. A stage's output is its last block's, after the ReLU.

    Args:
        depth: 18, 34, 50, 101 or 152.
        width: None; ResNets have no width, but all builders take the same arguments.
        num_classes: number of logits.
        input_shape: (height, width, channels) of the standardised images.
        stem: "imagenet" (7x7 stride 2, 3x3 max pooling), "cifar" (3x3 stride 1), or "auto": "cifar" for images
            below 64 pixels, "imagenet" for larger ones.

    Raises:
        InputError: if no such depth or stem exists.
    """
    FAMILIES["resnet"].check_depth(depth)
    if width is not None:
        raise InputError(f"A ResNet has no width, for example resnet18. Received: width {width}")
    if stem == "auto":
        stem = "cifar" if min(input_shape[:2]) < 64 else "imagenet"
    if stem not in ("cifar", "imagenet"):
        raise InputError(f"A ResNet's stem must be auto, cifar or imagenet. Received: {stem}")
    blocks, bottleneck = DEPTHS[depth]

    inputs = keras.Input(input_shape, name="image")
    if stem == "cifar":
        x = batch_norm_relu(conv(inputs, 64, 3, name="stem_conv"), name="stem")
    else:
        x = batch_norm_relu(conv(inputs, 64, 7, stride=2, name="stem_conv"), name="stem")
        x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)  # after a ReLU, padding with 0 equals padding with -inf
        x = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for stage, count in enumerate(blocks, start=1):
        for block in range(1, count + 1):
            x = _block(
                x,
                64 * 2 ** (stage - 1),
                bottleneck=bottleneck,
                stride=2 if stage > 1 and block == 1 else 1,
                name=f"stage{stage}_block{block}",
                output_name=f"stage{stage}" if block == count else None,
            )
    return keras.Model(inputs, head(x, num_classes), name=f"resnet{depth}")


def _block(x: Any, filters: int, *, bottleneck: bool, stride: int, name: str, output_name: str | None) -> Any:
    """Adds a basic (3x3, 3x3) or bottleneck block (1x1, 3x3, 1x1 to 4 * filters) to its shortcut, then applies ReLU."""
    channels = filters * 4 if bottleneck else filters
    shortcut = x
    if stride > 1 or x.shape[-1] != channels:
        shortcut = conv(x, channels, 1, stride=stride, name=f"{name}_shortcut")
        shortcut = batch_norm(shortcut, name=f"{name}_shortcut_bn")
    if bottleneck:
        x = batch_norm_relu(conv(x, filters, 1, name=f"{name}_conv1"), name=f"{name}_1")
        x = batch_norm_relu(conv(x, filters, 3, stride=stride, name=f"{name}_conv2"), name=f"{name}_2")
        x = batch_norm(conv(x, channels, 1, name=f"{name}_conv3"), name=f"{name}_3_bn")
    else:
        x = batch_norm_relu(conv(x, filters, 3, stride=stride, name=f"{name}_conv1"), name=f"{name}_1")
        x = batch_norm(conv(x, channels, 3, name=f"{name}_conv2"), name=f"{name}_2_bn")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=output_name or f"{name}_relu")(x)
