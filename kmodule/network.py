"""Networks: describing and training them, and bringing ones trained in floating point to the kernel's numbers."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule.abi import ONE, WEIGHT_MAX, LayerType
from edgeprof.kmodule.errors import Refused
from edgeprof.kmodule.library import FixedArray, FloatArray, to_float
from edgeprof.kmodule.model import Feature, FloatTrainer, LayerShape, Model, Trainer
from edgeprof.kmodule.model_file import FloatLayer, network_file

if TYPE_CHECKING:
    import torch


def shapes(
    widths: str, hidden: LayerType = LayerType.SIGMOID, last: LayerType | None = LayerType.SOFTMAX
) -> list[LayerShape]:
    """Layers of a network given by its widths, such as ``5-15-5-4``: linear ones, ``hidden`` after each but the last.

    Raises Refused for what is not at least two positive widths.
    """
    try:
        sizes = [int(width) for width in widths.split("-")]
    except ValueError:
        sizes = []
    if len(sizes) < 2 or min(sizes) < 1:
        raise Refused(f"a network of the widths {widths!r}", errno.EINVAL, "widths are written as 5-15-5-4")
    layers: list[LayerShape] = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.append(LayerShape(LayerType.LINEAR, inputs, outputs))
        activation = last if index == len(sizes) - 2 else hidden
        if activation is not None:
            layers.append(LayerShape(activation, outputs, outputs))
    return layers


def describe(model: Model) -> str:
    """A network's inputs, layers and sizes, as lines of text."""
    lines = [
        f"{model.name or '(no name)'}: {model.inputs} inputs, {model.outputs} outputs, {model.size} bytes of memory"
    ]
    lines += [f"  {feature.name}: (x - {feature.shift:g}) * {feature.scale:g}" for feature in model.features]
    for layer in model.layers:
        parameters = 0 if layer.weights is None or layer.bias is None else layer.weights.size + layer.bias.size
        lines.append(f"  {layer.type.name.lower()} {layer.inputs} -> {layer.outputs}, {parameters} parameters")
    return "\n".join(lines)


def normalised_by(names: Sequence[str], inputs: FloatArray) -> list[Feature]:
    """Features that bring each column of ``inputs`` to mean 0 and deviation 1; a constant one to 0."""
    means, deviations = inputs.mean(axis=0), inputs.std(axis=0)
    return [
        Feature(name, float(mean), float(1 / deviation) if deviation > 0 else 0.0)
        for name, mean, deviation in zip(names, means, deviations, strict=True)
    ]


def one_hot(labels: npt.ArrayLike, classes: int) -> FixedArray:
    """``[samples] -> [samples, classes]``: 1.0 in the label's column, as Q16.16."""
    return np.ascontiguousarray(np.eye(classes, dtype=np.int32)[np.asarray(labels, dtype=np.intp)] * np.int32(ONE))


def fit(
    trainer: Trainer | FloatTrainer, inputs: FixedArray, targets: FixedArray, epochs: int, seed: int = 0
) -> list[float]:
    """Learn all samples ``epochs`` times, each time in another order; the mean loss of each epoch."""
    random = np.random.default_rng(seed)
    losses = []
    for _ in range(epochs):
        order = random.permutation(len(inputs))
        losses.append(float(to_float(trainer.learn(inputs[order], targets[order])).mean()))
        trainer.flush()
    return losses


def forward(layers: Sequence[FloatLayer], features: Sequence[Feature], inputs: FloatArray) -> FloatArray:
    """What a network gives in binary64: the reference for its version in fixed point."""
    values = (inputs - [feature.shift for feature in features]) * [feature.scale for feature in features]
    for layer in layers:
        values = _apply(layer, values)
    return values


@dataclass(frozen=True)
class Cost:
    """What quantising cost, over the samples that were given.

    Attributes:
        parameters: how many there are.
        saturated: weights beyond ±64, which were cut to that.
        parameter_error: largest absolute difference of a parameter.
        output_error: largest absolute difference of an output; ``mean_output_error``: the mean.
        measure: how both were scored against the labels; None: without labels.
        before: the score in floating point; ``after``: in fixed point.
        file_bytes: of the model file; ``memory_bytes``: of the model in memory.
    """

    parameters: int
    saturated: int
    parameter_error: float
    output_error: float
    mean_output_error: float
    measure: Literal["accuracy", "mean absolute error"] | None
    before: float | None
    after: float | None
    file_bytes: int
    memory_bytes: int

    def __str__(self) -> str:
        text = (
            f"{self.parameters} parameters in {self.file_bytes} bytes; {self.saturated} weights were cut to ±64;"
            f" outputs differ by {self.mean_output_error:.2g} on average, {self.output_error:.2g} at most"
        )
        if self.measure is not None:
            text += f"; {self.measure} {self.before:.4f} -> {self.after:.4f}"
        return text


def quantise(
    name: str,
    features: Sequence[Feature],
    layers: Sequence[FloatLayer],
    inputs: FloatArray,
    labels: npt.ArrayLike | None = None,
) -> tuple[Model, Cost]:
    """A network in fixed point from one with real parameters, and what that cost on the samples ``inputs``.

    ``labels`` are classes (of a network that ends in a softmax or in one sigmoid) or the values to predict.
    Raises Refused, NotANumber.
    """
    bound = WEIGHT_MAX / ONE
    real = np.concatenate(
        [np.ravel(part) for layer in layers if layer.weights is not None for part in _parameters(layer)]
    )
    cut = [layer if layer.weights is None else _cut(layer, bound) for layer in layers]
    file = network_file(name, features, cut)
    model = Model.load(file)
    exact, rounded = forward(layers, features, inputs), model.predict(inputs)
    differences = np.abs(rounded - exact)
    measure, before, after = _scores(layers[-1].type, exact, rounded, labels)
    return model, Cost(
        parameters=real.size,
        saturated=sum(int((np.abs(layer.weights) > bound).sum()) for layer in layers if layer.weights is not None),
        parameter_error=float(np.abs(to_float(model.parameters) - real).max(initial=0.0)),
        output_error=float(differences.max()),
        mean_output_error=float(differences.mean()),
        measure=measure,
        before=before,
        after=after,
        file_bytes=len(file),
        memory_bytes=model.size,
    )


def from_torch(module: torch.nn.Sequential) -> list[FloatLayer]:
    """The layers of a PyTorch network, for `quantise`.  Raises Refused for a layer that the kernel does not have."""
    layers = []
    part: Any
    for part in module:
        kind = _TORCH.get(type(part).__name__)
        if kind is None:
            raise Refused(
                f"a layer of the type {type(part).__name__}",
                errno.EINVAL,
                "the kernel's networks are made of Linear, ReLU, Sigmoid, Tanh and a last Softmax",
            )
        if kind is LayerType.LINEAR:
            weights = part.weight.detach().cpu().double().numpy()
            bias = None if part.bias is None else part.bias.detach().cpu().double().numpy()
            layers.append(FloatLayer(kind, weights, bias))
        else:
            layers.append(FloatLayer(kind))
    return layers


_TORCH = {
    "Linear": LayerType.LINEAR,
    "ReLU": LayerType.RELU,
    "Sigmoid": LayerType.SIGMOID,
    "Tanh": LayerType.TANH,
    "Softmax": LayerType.SOFTMAX,
}


def _apply(layer: FloatLayer, values: FloatArray) -> FloatArray:
    if layer.weights is not None:
        weights, bias = _parameters(layer)
        return np.asarray(values @ weights.T + bias)
    if layer.type is LayerType.RELU:
        return np.maximum(values, 0.0)
    if layer.type is LayerType.SIGMOID:
        return 0.5 * (1.0 + np.tanh(values / 2))  # does not overflow, unlike 1 / (1 + exp(-x))
    if layer.type is LayerType.TANH:
        return np.tanh(values)
    assert layer.type is LayerType.SOFTMAX
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _parameters(layer: FloatLayer) -> tuple[FloatArray, FloatArray]:
    assert layer.weights is not None
    return layer.weights, np.zeros(len(layer.weights)) if layer.bias is None else layer.bias


def _cut(layer: FloatLayer, bound: float) -> FloatLayer:
    assert layer.weights is not None
    return FloatLayer(layer.type, np.clip(layer.weights, -bound, bound), layer.bias)


def _scores(
    last: LayerType, exact: FloatArray, rounded: FloatArray, labels: npt.ArrayLike | None
) -> tuple[Literal["accuracy", "mean absolute error"] | None, float | None, float | None]:
    if labels is None:
        return None, None, None
    wanted = np.asarray(labels)
    if last is LayerType.SOFTMAX:
        before, after = (float((values.argmax(axis=1) == wanted).mean()) for values in (exact, rounded))
        return "accuracy", before, after
    if last is LayerType.SIGMOID and exact.shape[1] == 1:
        before, after = (float(((values[:, 0] > 0.5) == (wanted > 0.5)).mean()) for values in (exact, rounded))
        return "accuracy", before, after
    before, after = (float(np.abs(values - wanted.reshape(values.shape)).mean()) for values in (exact, rounded))
    return "mean absolute error", before, after
