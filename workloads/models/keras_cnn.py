"""Convolutional networks in Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import layers

if TYPE_CHECKING:
    from edgeprof.workloads.models.keras import Shape


def resnet18(tiny: bool, shape: Shape, batch: int | None) -> Any:
    """ResNet-18 (He et al. 2016); 11,689,512 parameters with 1000 classes."""
    blocks, width = ((1, 1), 16) if tiny else ((2, 2, 2, 2), 64)
    return _resnet("resnet18", _basic, blocks, width, shape, batch)


def resnet50(tiny: bool, shape: Shape, batch: int | None) -> Any:
    """`keras.applications.ResNet50`; 25,583,592 parameters: its convolutions have biases, unlike the paper's."""
    if tiny:
        return _resnet("resnet50", _bottleneck, (1, 1), 8, shape, batch)
    return _application(keras.applications.ResNet50, shape, batch)


def mobilenetv2(tiny: bool, shape: Shape, batch: int | None) -> Any:
    """`keras.applications.MobileNetV2`; 3,504,872 parameters with 1000 classes; tiny: 3 of its 17 blocks."""
    if not tiny:
        return _application(keras.applications.MobileNetV2, shape, batch)
    image = keras.Input((*shape.image, 3), batch)
    x = _convolution(layers.Rescaling(1 / 127.5, -1)(image), 8, 3, 2)
    for channels, stride in ((8, 2), (16, 2), (16, 1)):
        x = _inverted(x, channels, stride)
    x = layers.GlobalAveragePooling2D()(_convolution(x, 64, 1, 1))
    return keras.Model(image, layers.Dense(shape.classes, dtype="float32")(x), name="mobilenetv2")


def pilotnet(tiny: bool, shape: Shape, batch: int | None) -> Any:
    """PilotNet (Bojarski et al. 2016); 252,219 parameters; tiny: a quarter of its channels."""
    less = 4 if tiny else 1
    image = keras.Input((*shape.image, 3), batch)
    x = layers.Rescaling(1 / 127.5, -1)(image)
    for channels, kernel, stride in ((24, 5, 2), (36, 5, 2), (48, 5, 2), (64, 3, 1), (64, 3, 1)):
        x = layers.Conv2D(channels // less, kernel, stride, activation="relu")(x)
    x = layers.Flatten()(x)
    for units in (100, 50, 10):
        x = layers.Dense(units, "relu")(x)
    return keras.Model(image, layers.Dense(1, dtype="float32")(x), name="pilotnet")


def _application(function: Callable[..., Any], shape: Shape, batch: int | None) -> Any:
    image = keras.Input((*shape.image, 3), batch)
    scaled = layers.Rescaling(1 / 127.5, -1)(image)
    whole = function(weights=None, input_tensor=scaled, classes=shape.classes, classifier_activation=None)
    return keras.Model(image, whole.output, name=whole.name)


def _resnet(
    name: str,
    block: Callable[[Any, int, int], Any],
    blocks: Sequence[int],
    width: int,
    shape: Shape,
    batch: int | None,
) -> Any:
    image = keras.Input((*shape.image, 3), batch)
    x = layers.Rescaling(1 / 127.5, -1)(image)
    x = _convolution(x, width, 7, 2)
    x = layers.MaxPooling2D(3, 2, "same")(x)
    for stage, count in enumerate(blocks):
        for index in range(count):
            x = block(x, width << stage, 2 if stage and not index else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(shape.classes, dtype="float32")(x), name=name)


def _basic(x: Any, channels: int, stride: int) -> Any:
    y = _convolution(x, channels, 3, stride)
    y = _convolution(y, channels, 3, 1, relu=False)
    return layers.ReLU()(layers.Add()([_shortcut(x, channels, stride), y]))


def _bottleneck(x: Any, channels: int, stride: int) -> Any:
    y = _convolution(x, channels, 1, 1)
    y = _convolution(y, channels, 3, stride)
    y = _convolution(y, 4 * channels, 1, 1, relu=False)
    return layers.ReLU()(layers.Add()([_shortcut(x, 4 * channels, stride), y]))


def _inverted(x: Any, channels: int, stride: int) -> Any:
    """An inverted residual with a linear bottleneck (Sandler et al. 2018)."""
    y = _convolution(x, 6 * x.shape[-1], 1, 1)
    y = layers.DepthwiseConv2D(3, stride, "same", use_bias=False)(y)
    y = layers.ReLU(6)(layers.BatchNormalization()(y))
    y = _convolution(y, channels, 1, 1, relu=False)
    return layers.Add()([x, y]) if stride == 1 else y


def _shortcut(x: Any, channels: int, stride: int) -> Any:
    same = stride == 1 and x.shape[-1] == channels
    return x if same else _convolution(x, channels, 1, stride, relu=False)


def _convolution(x: Any, channels: int, kernel: int, stride: int, relu: bool = True) -> Any:
    """A convolution without bias, batch normalisation and perhaps ReLU."""
    x = layers.Conv2D(channels, kernel, stride, "same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(epsilon=1e-5)(x)
    return layers.ReLU()(x) if relu else x
