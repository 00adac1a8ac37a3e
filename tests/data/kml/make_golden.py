"""Makes golden.bin: inputs, what real arithmetic gives for them, and the bits that the library gives.

Run it as ``python -m tests.data.kml.make_golden`` where a case is to be added; the bits of the others must not change
(version control shows it).  kmodule/tests/golden.h has the format.  References are computed in binary64 by NumPy:
functions by its own, inference layer by layer from the model's rounded parameters, training by the SGD written out
below.  Random inputs come from PCG64 with a fixed seed a case.
"""

from __future__ import annotations

import ctypes
import math
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeprof.kmodule import abi, library
from edgeprof.kmodule.abi import FX_MAX, FX_MIN, ONE, Function, LayerType, Loss, Number, Schedule
from edgeprof.kmodule.library import FixedArray, FloatArray, to_fixed, to_float
from edgeprof.kmodule.model import Feature, FloatTrainer, LayerShape, LayerView, Model, Trainer, Training
from edgeprof.kmodule.model_file import FloatLayer, Node, network_file, tree_file

FILE = Path(__file__).with_name("golden.bin")
MAGIC = b"KMLG"
VERSION = 1
FUNCTION, INFERENCE, TRAINING_FIXED, TRAINING_FLOAT = 1, 2, 3, 4

HEADER = struct.Struct("<4sHHII")
CASE = struct.Struct("<32sHHIIIIIII24s")


@dataclass(frozen=True)
class Case:
    """One case of the file; see golden.h."""

    name: str
    kind: int
    inputs: FixedArray  # [count, width]
    reference: FixedArray
    bound: int
    function: int = 0
    expected: FixedArray = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    model: bytes = b""
    after: bytes = b""
    training: bytes = bytes(24)

    @property
    def error(self) -> int:
        """Steps of 1/65536 between the library's bits and real arithmetic, at most."""
        return int(np.abs(self.expected.astype(np.int64) - self.reference).max(initial=0))

    def answered(self) -> Case:
        """With the bits that the library gives."""
        expected, after = answer(self)
        return Case(
            self.name,
            self.kind,
            self.inputs,
            self.reference,
            self.bound,
            self.function,
            expected,
            self.model,
            after,
            self.training,
        )


def answer(case: Case) -> tuple[FixedArray, bytes]:
    """What libkml.so gives for a case: the numbers, and the file that a training leaves."""
    if case.kind == FUNCTION:
        return FUNCTIONS[Function(case.function)].compute(case.inputs).ravel(), b""
    model = Model.load(case.model)
    if case.kind == INFERENCE:
        return model.infer(case.inputs).ravel(), b""
    settings = abi.Training.from_buffer_copy(case.training)
    training = _training(settings)
    samples, targets = case.inputs[:, : model.inputs], case.inputs[:, model.inputs :]
    trainer: Trainer | FloatTrainer
    if case.kind == TRAINING_FIXED:
        trainer = Trainer(model, training)
        trainer.learn(samples, targets)
        trainer.flush()
    else:
        trainer = FloatTrainer(model, training)
        trainer.learn(samples, targets)
        trainer.flush()
        trainer.publish(model)
    return model.parameters.copy(), model.save()


def pack(cases: Sequence[Case]) -> bytes:
    """The file."""
    body = b"".join(_pack_case(case) for case in cases)
    return HEADER.pack(MAGIC, VERSION, len(cases), HEADER.size + len(body), zlib.crc32(body)) + body


def unpack(content: bytes) -> list[Case]:
    """The cases of a file that `pack` wrote."""
    magic, version, count, length, crc = HEADER.unpack_from(content)
    assert (magic, version, length, crc) == (MAGIC, VERSION, len(content), zlib.crc32(content[HEADER.size :]))
    cases, offset = [], HEADER.size
    for _ in range(count):
        name, kind, function, size, samples, width, results, bound, model, after, training = CASE.unpack_from(
            content, offset
        )
        parts, at = [], offset + CASE.size
        for part in (4 * samples * width, 4 * results, 4 * results, model, after):
            parts.append(content[at : at + part])
            at += -(-part // 8) * 8
        assert at == offset + size
        inputs, reference, expected = (np.frombuffer(part, dtype="<i4").astype(np.int32) for part in parts[:3])
        cases.append(
            Case(
                name.rstrip(b"\0").decode(),
                kind,
                inputs.reshape(samples, width),
                reference,
                bound,
                function,
                expected,
                parts[3],
                parts[4],
                training,
            )
        )
        offset = at
    assert offset == len(content)
    return cases


def _pack_case(case: Case) -> bytes:
    numbers = [
        np.ascontiguousarray(part, dtype="<i4").tobytes() for part in (case.inputs, case.reference, case.expected)
    ]
    parts = b"".join(_padded(part) for part in [*numbers, case.model, case.after])
    count, width = case.inputs.shape
    head = CASE.pack(
        case.name.encode(),
        case.kind,
        case.function,
        CASE.size + len(parts),
        count,
        width,
        case.reference.size,
        case.bound,
        len(case.model),
        len(case.after),
        case.training,
    )
    return head + parts


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 8)


# --- Functions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Elementary:
    """A function: as the library computes it, as real arithmetic does, and how far apart they may be, in steps."""

    compute: Callable[[FixedArray], FixedArray]
    real: Callable[[FloatArray], FloatArray]
    bound: int
    centre: float = 0.0
    spread: float = 8.0


def _log(values: FloatArray) -> FloatArray:
    positive = values > 0
    return np.where(positive, np.log(np.where(positive, values, 1.0)), -32768.0)


def _divide(pairs: FloatArray) -> FloatArray:
    dividend, divisor = pairs[:, 0], pairs[:, 1]
    zero = divisor == 0
    return np.where(zero, np.sign(dividend) * 32768.0, dividend / np.where(zero, 1.0, divisor))


def _softmax(values: FloatArray) -> FloatArray:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def _sigmoid(values: FloatArray) -> FloatArray:
    return 0.5 * (1.0 + np.tanh(values / 2))


FUNCTIONS = {
    Function.EXP: Elementary(library.exp, lambda values: np.exp(np.minimum(values, 20.0)), 1, 0.0, 6.0),
    Function.LOG: Elementary(library.log, _log, 1, 100.0, 100.0),
    Function.SQRT: Elementary(library.sqrt, lambda values: np.sqrt(np.maximum(values, 0.0)), 1, 1000.0, 1000.0),
    Function.SIGMOID: Elementary(library.sigmoid, _sigmoid, 1),
    Function.TANH: Elementary(library.tanh, np.tanh, 1, 0.0, 3.0),
    Function.SOFTMAX: Elementary(lambda values: library.softmax(values.ravel()), _softmax, 1, 0.0, 4.0),
    Function.DIV: Elementary(lambda pairs: library.divide(pairs[:, 0], pairs[:, 1]), _divide, 1, 0.0, 200.0),
    Function.MUL: Elementary(
        lambda pairs: library.multiply(pairs[:, 0], pairs[:, 1]), lambda pairs: pairs[:, 0] * pairs[:, 1], 0, 0.0, 100.0
    ),
}
"""The bounds are those that kmodule/core/fixed.c states and tests/test_fixed.c proves, rounded up to whole steps."""

EDGES = [0, 1, -1, 2, -2, 3, ONE // 2, ONE - 1, ONE, ONE + 1, -ONE, -ONE - 1, FX_MAX, FX_MAX - 1, FX_MIN, FX_MIN + 1]
EDGES += [
    sign * power for power in (4 * ONE, 8 * ONE, 10 * ONE, 11 * ONE, 12 * ONE, 1 << 24, 1 << 30) for sign in (1, -1)
]
EDGES += [to_fixed(value).item() for value in (10.3972, 10.3973, -11.09, -11.78, math.log(2), math.pi, math.e)]


def functions() -> Iterator[Case]:
    """Edges and random inputs of each function; softmax at several widths."""
    for function, elementary in FUNCTIONS.items():
        random = np.random.default_rng([1, function])
        if function is Function.SOFTMAX:
            inputs = [random.normal(elementary.centre, elementary.spread, width) for width in (1, 2, 4, 32, 256)]
            sets = [to_fixed(values).reshape(-1, 1) for values in inputs]
            sets.append(np.array([[FX_MIN], [FX_MAX], [0], [FX_MAX]], dtype=np.int32))
        else:
            near = to_fixed(random.normal(elementary.centre, elementary.spread, 400))
            far = random.integers(FX_MIN, FX_MAX, 200, endpoint=True).astype(np.int32)
            values = np.concatenate([np.array(EDGES, dtype=np.int32), near, far])
            if function in (Function.DIV, Function.MUL):
                values = np.column_stack([values, random.permutation(values)])
            sets = [values.reshape(len(values), -1)]
        for inputs_fixed in sets:
            reference = to_fixed(np.clip(elementary.real(to_float(inputs_fixed)), -40000, 40000)).ravel()
            name = function.name.lower() + (f"-{len(inputs_fixed)}" if len(sets) > 1 else "")
            name += "-edge" if function is Function.SOFTMAX and inputs_fixed is sets[-1] else ""
            yield Case(name, FUNCTION, inputs_fixed, reference, elementary.bound, function)


# --- Inference ----------------------------------------------------------------------------------------------------


def saturated(values: FloatArray) -> FloatArray:
    """Within what Q16.16 can stand for, as every result in the library is."""
    return np.clip(values, FX_MIN / ONE, FX_MAX / ONE)


def infer(model: Model, inputs: FixedArray) -> tuple[FloatArray, float]:
    """A network's outputs in binary64, and how far (in steps) fixed point may be from them.

    The bound follows the network: a rounding is half a step, a matrix multiplies what came before it by its largest
    row sum, an activation by its largest slope.
    """
    shift = np.array([feature.shift for feature in model.features])
    scale = np.array([feature.scale for feature in model.features])
    values = saturated(saturated(to_float(inputs) - shift) * scale)
    steps = 0.0 if (scale == 1).all() else 0.5
    for layer in model.layers:
        values, steps = _layer(layer, values, steps)
    return values, steps


def _layer(layer: LayerView, values: FloatArray, steps: float) -> tuple[FloatArray, float]:
    if layer.weights is not None and layer.bias is not None:
        weights, bias = to_float(layer.weights), to_float(layer.bias)
        return saturated(values @ weights.T + bias), float(np.abs(weights).sum(axis=1).max()) * steps + 0.5
    if layer.type is LayerType.RELU:
        return np.maximum(values, 0.0), steps
    if layer.type is LayerType.SIGMOID:
        return _sigmoid(values), steps / 4 + FUNCTIONS[Function.SIGMOID].bound
    if layer.type is LayerType.TANH:
        return np.tanh(values), steps + FUNCTIONS[Function.TANH].bound
    shares = np.apply_along_axis(_softmax, 1, values)
    return shares, steps / 2 + FUNCTIONS[Function.SOFTMAX].bound


def network(
    name: str,
    features: Sequence[Feature],
    shapes: Sequence[LayerShape],
    number: Number = Number.FIXED,
    spread: float = 1.0,
    seed: int = 0,
) -> bytes:
    """A network's file with random parameters."""
    random = np.random.default_rng([2, seed])
    layers = [
        FloatLayer(
            shape.type, random.normal(0, spread, (shape.outputs, shape.inputs)), random.normal(0, spread, shape.outputs)
        )
        if shape.type is LayerType.LINEAR
        else FloatLayer(shape.type)
        for shape in shapes
    ]
    return network_file(name, features, layers, number)


def plain(count: int) -> list[Feature]:
    return [Feature(str(index)) for index in range(count)]


def dense(*parts: int | LayerType) -> list[LayerShape]:
    """``dense(5, 15, SIGMOID, 4)``: linear layers between the widths, activations where they are named."""
    shapes: list[LayerShape] = []
    width = parts[0]
    for part in parts[1:]:
        if isinstance(part, LayerType):
            shapes.append(LayerShape(part, width, width))
        else:
            shapes.append(LayerShape(LayerType.LINEAR, width, part))
            width = part
    return shapes


SIGMOID, TANH, RELU, SOFTMAX = LayerType.SIGMOID, LayerType.TANH, LayerType.RELU, LayerType.SOFTMAX
READAHEAD = dense(5, 15, SIGMOID, 5, SIGMOID, 4)
"""The network whose speed is stated: 5-15-5-4."""

NETWORKS = {
    "linear": network("linear", plain(5), dense(5, 1), seed=1),
    "readahead": network("readahead", plain(5), READAHEAD, seed=2),
    "softmax": network("softmax", plain(5), [*READAHEAD, LayerShape(SOFTMAX, 4, 4)], seed=3),
    "relu": network("relu", plain(8), dense(8, 16, RELU, 3), seed=4),
    "tanh": network("tanh", plain(3), dense(3, 8, TANH, 2, TANH), seed=5),
    "wide": network("wide", plain(32), dense(32, 32, RELU, 32, SOFTMAX), spread=0.3, seed=6),
    "binary32": network("binary32", plain(4), dense(4, 6, SIGMOID, 2), Number.FLOAT, seed=7),
    "normalised": network(
        "normalised",
        [Feature("sector", 1000.5, 1 / 300), Feature("bytes", -8.25, 3.0), Feature("queue", 0.0, 0.0)],
        dense(3, 4, TANH, 1),
        seed=8,
    ),
    "saturating": network("saturating", plain(4), dense(4, 4, 2), spread=20.0, seed=9),
}


def random_tree(inputs: int, outputs: int, depth: int, seed: int) -> tuple[list[Node], FloatArray]:
    """A tree with random splits, some branches shorter."""
    random = np.random.default_rng([3, seed])
    nodes: list[Node] = []
    leaves: list[FloatArray] = []

    def grow(level: int) -> int:
        index = len(nodes)
        nodes.append(Node(-1, 0, 0))
        if level == depth or (level > 2 and random.random() < 0.2):
            nodes[index] = Node(-1, len(leaves), 0)
            leaves.append(random.normal(0, 100, outputs))
        else:
            feature, threshold = int(random.integers(inputs)), float(random.normal(0, 10))
            left = grow(level + 1)
            nodes[index] = Node(feature, left, grow(level + 1), threshold)
        return index

    grow(0)
    return nodes, np.array(leaves)


def walk(nodes: Sequence[Node], values: FloatArray, row: FloatArray) -> FloatArray:
    """The leaf's values that one sample comes to."""
    node = nodes[0]
    while node.feature >= 0:
        node = nodes[node.left if row[node.feature] <= node.threshold else node.right]
    return values[node.left]  # type: ignore[no-any-return]


def inferences() -> Iterator[Case]:
    """Each network and a tree on random samples, and on the ends of the range."""
    for index, (name, file) in enumerate(NETWORKS.items()):
        model = Model.load(file)
        random = np.random.default_rng([4, index])
        spread = 2000.0 if name == "saturating" else 400.0 if name == "normalised" else 2.0
        inputs = np.vstack(
            [
                to_fixed(random.normal(0, spread, (60, model.inputs))),
                random.integers(FX_MIN, FX_MAX, (20, model.inputs), endpoint=True).astype(np.int32),
                np.full((1, model.inputs), FX_MIN, dtype=np.int32),
                np.full((1, model.inputs), FX_MAX, dtype=np.int32),
                np.zeros((1, model.inputs), dtype=np.int32),
            ]
        )
        values, steps = infer(model, inputs)
        yield Case(f"{name}-network", INFERENCE, inputs, to_fixed(values).ravel(), math.ceil(steps + 0.5), model=file)
    nodes, leaves = random_tree(6, 3, 8, 0)
    file = tree_file("tree", plain(6), nodes, leaves)
    random = np.random.default_rng([4, 100])
    inputs = to_fixed(random.normal(0, 10, (300, 6)))
    inputs[0], inputs[1] = FX_MIN, FX_MAX
    values = np.array([walk(nodes, leaves, row) for row in to_float(inputs)])
    yield Case("tree", INFERENCE, inputs, to_fixed(values).ravel(), 0, model=file)


# --- Training -----------------------------------------------------------------------------------------------------


def _training(settings: abi.Training) -> Training:
    """What is in the structure."""
    return Training(
        Loss(settings.loss),
        settings.rate / ONE,
        settings.momentum / ONE,
        settings.batch,
        Schedule(settings.schedule),
        settings.decay / ONE,
        settings.decay_every,
        settings.first_layer,
    )


def train(model: Model, training: Training, samples: FloatArray, targets: FloatArray) -> FloatArray:
    """Stochastic gradient descent in binary64: the parameters afterwards, in the file's order.

    The gradient of a batch is the sum of its samples' over the batch's full size; velocity = momentum * velocity +
    gradient, and the parameters move by -rate * velocity (momentum in the form that PyTorch has).
    """
    layers = model.layers
    weights = [None if layer.weights is None else to_float(layer.weights) for layer in layers]
    biases = [None if layer.bias is None else to_float(layer.bias) for layer in layers]
    velocity = [
        (0.0 if part is None else np.zeros_like(part)) for pair in zip(weights, biases, strict=True) for part in pair
    ]
    updates = 0
    for begin in range(0, len(samples), training.batch):
        part = slice(begin, begin + training.batch)
        activations = [samples[part]]
        for layer, weight, bias in zip(layers, weights, biases, strict=True):
            activations.append(_forward(layer.type, activations[-1], weight, bias))
        delta = _loss_gradient(training.loss, activations[-1], targets[part])
        rate = _rate(training, updates)
        for index in reversed(range(training.first_layer, len(layers))):
            layer, before, after = layers[index], activations[index], activations[index + 1]
            weight, bias = weights[index], biases[index]
            if weight is None or bias is None:
                fused = index == len(layers) - 1 and training.loss is not Loss.MSE
                delta = delta if fused else delta * _slope(layer.type, after)
                continue
            gradients = delta.T @ before / training.batch, delta.sum(axis=0) / training.batch
            delta = delta @ weight
            for which, (parameter, gradient) in enumerate(zip((weight, bias), gradients, strict=True)):
                velocity[2 * index + which] = training.momentum * velocity[2 * index + which] + gradient
                parameter -= rate * velocity[2 * index + which]
        updates += 1
    return np.concatenate(
        [np.ravel(part) for pair in zip(weights, biases, strict=True) for part in pair if part is not None]
    )


def _forward(kind: LayerType, values: FloatArray, weights: FloatArray | None, bias: FloatArray | None) -> FloatArray:
    if weights is not None and bias is not None:
        return values @ weights.T + bias
    if kind is LayerType.SOFTMAX:
        return np.apply_along_axis(_softmax, 1, values)
    return {RELU: lambda x: np.maximum(x, 0.0), SIGMOID: _sigmoid, TANH: np.tanh}[kind](values)  # type: ignore[no-any-return, no-untyped-call]


def _loss_gradient(loss: Loss, out: FloatArray, targets: FloatArray) -> FloatArray:
    """Of the mean square by the output; of the two others by what went into the last activation."""
    if loss is Loss.MSE:
        return 2 * (out - targets) / out.shape[1]
    return (out - targets) / (out.shape[1] if loss is Loss.LOGISTIC else 1)


def _slope(kind: LayerType, out: FloatArray) -> FloatArray:
    if kind is RELU:
        return (out > 0).astype(np.float64)
    return out * (1 - out) if kind is SIGMOID else 1 - out * out


def _rate(training: Training, updates: int) -> float:
    if training.schedule is Schedule.STEP:
        return training.rate * training.decay ** (updates // training.decay_every)
    if training.schedule is Schedule.INVERSE:
        return training.rate / (1 + training.decay * updates / training.decay_every)
    return training.rate


@dataclass(frozen=True)
class Lesson:
    """A training: the network it starts from, its settings, how far the results may be from binary64's, in steps."""

    network: bytes
    training: Training
    fixed_bound: int
    float_bound: int
    classes: bool = False


LESSONS = {
    "mse": Lesson(network("mse", plain(3), dense(3, 8, TANH, 2), spread=0.5, seed=20), Training(Loss.MSE, 0.05), 4, 2),
    "momentum": Lesson(
        network("momentum", plain(5), READAHEAD, spread=0.5, seed=21),
        Training(Loss.MSE, 0.05, momentum=0.9, batch=8, schedule=Schedule.STEP, decay=0.5, decay_every=16),
        4,
        2,
    ),
    "classes": Lesson(
        network("classes", plain(4), dense(4, 10, SIGMOID, 3, SOFTMAX), spread=0.5, seed=22),
        Training(Loss.CROSS_ENTROPY, 0.1, batch=4, schedule=Schedule.INVERSE, decay=1.0, decay_every=64),
        4,
        2,
        classes=True,
    ),
    "logistic": Lesson(
        network("logistic", plain(4), dense(4, 6, RELU, 1, SIGMOID), spread=0.5, seed=23),
        Training(Loss.LOGISTIC, 0.1, momentum=0.5),
        4,
        2,
        classes=True,
    ),
    "head": Lesson(
        network("head", plain(4), dense(4, 6, SIGMOID, 2), spread=0.5, seed=24),
        Training(Loss.MSE, 0.1, first_layer=2),
        4,
        2,
    ),
}


def trainings() -> Iterator[Case]:
    """Each lesson in fixed and in floating point; 301 samples, so that a batch is left over."""
    for index, (name, lesson) in enumerate(LESSONS.items()):
        model = Model.load(lesson.network)
        random = np.random.default_rng([5, index])
        samples = to_fixed(random.normal(0, 1, (301, model.inputs)))
        values = np.tanh(to_float(samples) @ random.normal(0, 1, (model.inputs, model.outputs)))
        if lesson.classes and model.outputs > 1:
            targets = (np.eye(model.outputs)[values.argmax(axis=1)] * ONE).astype(np.int32)
        elif lesson.classes:
            targets = ((values > 0) * ONE).astype(np.int32)
        else:
            targets = to_fixed(values)
        settings = lesson.training.settings()
        exact = to_fixed(train(model, _training(settings), to_float(samples), to_float(targets)))
        for kind, word, bound in (
            (TRAINING_FIXED, "fixed", lesson.fixed_bound),
            (TRAINING_FLOAT, "float", lesson.float_bound),
        ):
            yield Case(
                f"{name}-{word}",
                kind,
                np.hstack([samples, targets]),
                exact,
                bound,
                model=lesson.network,
                training=bytes(settings),
            )


def cases() -> Iterator[Case]:
    """All cases, without the library's bits."""
    yield from functions()
    yield from inferences()
    yield from trainings()


def main() -> None:
    """Write the file, and say how far each case is from real arithmetic."""
    assert CASE.size == 88 and ctypes.sizeof(abi.Training) == 24
    answered = [case.answered() for case in cases()]
    for case in answered:
        print(f"{case.name:24} {case.expected.size:6} numbers, off by at most {case.error} of {case.bound} steps")
    wrong = [case.name for case in answered if case.error > case.bound]
    if wrong:
        raise SystemExit(f"beyond their bounds: {', '.join(wrong)}")
    FILE.write_bytes(pack(answered))


if __name__ == "__main__":
    main()
