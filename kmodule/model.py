"""Models in memory, and their trainers: what the kernel runs, from Python, over the same code and memory layout."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule import abi
from edgeprof.kmodule.abi import LayerType, Loss, ModelKind, Schedule, fixed
from edgeprof.kmodule.errors import WrongShape
from edgeprof.kmodule.library import (
    FixedArray,
    FloatArray,
    addresses,
    check,
    library,
    memory,
    name_bytes,
    rows,
    to_fixed,
    to_float,
)


class LayerInMemory(ctypes.Structure):
    """struct kml_layer"""

    _fields_ = (
        ("type", ctypes.c_uint16),
        ("inputs", ctypes.c_uint16),
        ("outputs", ctypes.c_uint16),
        ("weights", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class FeatureInMemory(ctypes.Structure):
    """struct kml_feature"""

    _fields_ = (("name", ctypes.c_char * abi.NAME_BYTES), ("shift", ctypes.c_int32), ("scale", ctypes.c_int32))


class ModelInMemory(ctypes.Structure):
    """struct kml_model"""

    _fields_ = (
        ("name", ctypes.c_char * abi.NAME_BYTES),
        ("kind", ctypes.c_uint8),
        ("inputs", ctypes.c_uint16),
        ("outputs", ctypes.c_uint16),
        ("width", ctypes.c_uint16),
        ("parts", ctypes.c_uint16),
        ("leaves", ctypes.c_uint16),
        ("bytes", ctypes.c_uint32),
        ("features", ctypes.POINTER(FeatureInMemory)),
        ("layers", ctypes.POINTER(LayerInMemory)),
        ("nodes", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("parameters", ctypes.c_void_p),
        ("parameter_count", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class LayerShape:
    """One layer to make.  Activations have as many outputs as inputs."""

    type: LayerType
    inputs: int
    outputs: int


@dataclass(frozen=True)
class LayerView:
    """One layer of a model; ``weights[outputs, inputs]`` and ``bias[outputs]`` are the model's own memory."""

    type: LayerType
    inputs: int
    outputs: int
    weights: FixedArray | None
    bias: FixedArray | None


@dataclass(frozen=True)
class Feature:
    """One input, and how it is normalised: ``(x - shift) * scale``."""

    name: str
    shift: float = 0.0
    scale: float = 1.0


class Model:
    """A network or a tree.  Make one with `Model.load` or `Model.create`."""

    def __init__(self, block: npt.NDArray[np.uint64], address: int) -> None:
        self._block = block
        self.address = address
        self.structure = ModelInMemory.from_address(address)
        self.inputs, self.outputs = int(self.structure.inputs), int(self.structure.outputs)
        self._scratch = (ctypes.c_int32 * (2 * self.structure.width))()
        self._infer = library().kml_infer

    @classmethod
    def load(cls, file: bytes | Path) -> Model:
        """The model of a file, or of its bytes.  Raises Refused with the library's reason."""
        content = file.read_bytes() if isinstance(file, Path) else file
        what = str(file) if isinstance(file, Path) else "the model file"
        reason, pointer = ctypes.c_char_p(), ctypes.c_void_p()
        size = check(library().kml_model_examine(content, len(content), ctypes.byref(reason)), what, reason)
        block = memory(size)
        status = library().kml_model_load(
            block.ctypes.data, block.nbytes, content, len(content), ctypes.byref(pointer), ctypes.byref(reason)
        )
        check(status, what, reason)
        return cls(block, pointer.value or 0)

    @classmethod
    def create(cls, name: str, inputs: int, layers: Sequence[LayerShape]) -> Model:
        """A network of these layers, its parameters 0.  Raises Refused."""
        what = f"a network {name!r} of {len(layers)} layers"
        shapes = (LayerInMemory * len(layers))(
            *[LayerInMemory(item.type, item.inputs, item.outputs) for item in layers]
        )
        block = memory(check(library().kml_model_size(inputs, shapes, len(layers)), what))
        pointer = ctypes.c_void_p()
        status = library().kml_model_create(
            block.ctypes.data,
            block.nbytes,
            name_bytes(name, what),
            inputs,
            shapes,
            len(layers),
            ctypes.byref(pointer),
        )
        check(status, what)
        return cls(block, pointer.value or 0)

    def copy(self) -> Model:
        """Another model with the same content."""
        block, pointer = memory(self.size), ctypes.c_void_p()
        status = library().kml_model_copy(block.ctypes.data, block.nbytes, self.address, ctypes.byref(pointer))
        check(status, f"a copy of {self.name}")
        return Model(block, pointer.value or 0)

    def save(self) -> bytes:
        """Its file, numbers as Q16.16."""
        file = bytearray(library().kml_model_file_size(self.address))
        buffer = (ctypes.c_char * len(file)).from_buffer(file)
        written = check(library().kml_model_save(self.address, buffer, len(file)), f"saving {self.name}")
        return bytes(file[:written])

    @property
    def name(self) -> str:
        return bytes(self.structure.name).decode("ascii", "replace")

    @property
    def kind(self) -> ModelKind:
        return ModelKind(self.structure.kind)

    @property
    def size(self) -> int:
        """Bytes of memory, all of it."""
        return int(self.structure.bytes)

    @property
    def parameters(self) -> FixedArray:
        """All weights and biases of a network in the file's order: the model's own memory."""
        return self._view(self.structure.parameters, self.structure.parameter_count)

    @property
    def layers(self) -> list[LayerView]:
        """A network's layers; none of a tree."""
        if self.kind is not ModelKind.NETWORK:
            return []
        return [self._layer(self.structure.layers[index]) for index in range(self.structure.parts)]

    @property
    def features(self) -> list[Feature]:
        items = (self.structure.features[index] for index in range(self.inputs))
        return [
            Feature(bytes(item.name).decode("ascii", "replace"), item.shift / abi.ONE, item.scale / abi.ONE)
            for item in items
        ]

    def set_features(self, features: Sequence[Feature]) -> None:
        """Name its inputs and say how they are normalised.  Raises WrongShape, Refused."""
        if len(features) != self.inputs:
            raise WrongShape("the list of features", (len(features),), f"({self.inputs},)")
        for index, feature in enumerate(features):
            item = self.structure.features[index]
            item.name = name_bytes(feature.name, "a feature").rstrip(b"\0")
            item.shift, item.scale = fixed(feature.shift), fixed(feature.scale)

    def randomise(self, seed: int) -> None:
        """Glorot's uniform weights, biases 0."""
        library().kml_model_randomise(self.address, seed)

    def infer(self, inputs: FixedArray, out: FixedArray | None = None) -> FixedArray:
        """Predict ``[samples, inputs] -> [samples, outputs]``, all Q16.16, as the kernel does it."""
        source = rows(inputs, self.inputs, "the input")
        if out is None:
            out = np.empty((len(source), self.outputs), dtype=np.int32)
        elif out.shape != (len(source), self.outputs) or out.dtype != np.int32 or not out.flags.c_contiguous:
            raise WrongShape("the output", out.shape, f"({len(source)}, {self.outputs}), int32 and contiguous")
        infer, model, scratch = self._infer, self.address, self._scratch
        for begin, end in zip(addresses(source), addresses(out), strict=True):
            infer(model, begin, end, scratch)
        return out

    def predict(self, inputs: npt.ArrayLike) -> FloatArray:
        """The same in real numbers."""
        return to_float(self.infer(to_fixed(inputs, "the input")))

    def _layer(self, layer: LayerInMemory) -> LayerView:
        kind = LayerType(layer.type)
        weights = bias = None
        if kind is LayerType.LINEAR:
            weights = self._view(layer.weights, layer.outputs * layer.inputs).reshape(layer.outputs, layer.inputs)
            bias = self._view(layer.bias, layer.outputs)
        return LayerView(kind, layer.inputs, layer.outputs, weights, bias)

    def _view(self, address: int | None, count: int) -> FixedArray:
        """Numbers within the model's memory, which the view keeps alive."""
        if not address:
            return np.empty(0, dtype=np.int32)
        begin = (address - self._block.ctypes.data) // 4
        return self._block.view(np.int32)[begin : begin + count]


@dataclass(frozen=True)
class Training:
    """Settings of stochastic gradient descent, as kml/train.h describes them."""

    loss: Loss
    rate: float = 0.05
    momentum: float = 0.0
    batch: int = 1
    schedule: Schedule = Schedule.CONSTANT
    decay: float = 0.0
    decay_every: int = 1
    first_layer: int = 0

    def settings(self) -> abi.Training:
        """struct kml_training"""
        return abi.Training(
            loss=self.loss,
            schedule=self.schedule,
            batch=self.batch,
            rate=fixed(self.rate),
            momentum=fixed(self.momentum),
            decay=fixed(self.decay),
            decay_every=self.decay_every,
            first_layer=self.first_layer,
        )


class _Trainer:
    """What the trainers in fixed and in floating point share: the names of their functions differ by a prefix."""

    _prefix = "kml"

    def __init__(self, model: Model, training: Training) -> None:
        self.model = model
        self._library = library()
        settings, reason, pointer = training.settings(), ctypes.c_char_p(), ctypes.c_void_p()
        what = f"training {model.name or 'a model'}"
        checked = self._library.kml_training_check(ctypes.byref(settings), model.address, ctypes.byref(reason))
        check(checked, what, reason)
        self._block = memory(self._function("trainer_size")(model.address))
        create = self._function("trainer_create")
        data, size = self._block.ctypes.data, self._block.nbytes
        check(create(data, size, model.address, ctypes.byref(settings), ctypes.byref(pointer)), what)
        self.address = pointer.value or 0

    def learn(self, inputs: FixedArray, targets: FixedArray) -> FixedArray:
        """Learn the samples in order; each one's loss before its update, as Q16.16."""
        return self._each(self._function("train"), inputs, targets)

    def flush(self) -> None:
        """Apply what is left of a batch."""
        self._function("trainer_flush")(self.address)

    @property
    def updates(self) -> int:
        return int(self._function("trainer_updates")(self.address))

    @property
    def size(self) -> int:
        """Bytes of the trainer's memory."""
        return self._block.nbytes

    def freeze(self, first_layer: int) -> None:
        """Let the layers before ``first_layer`` stay as they are.  Raises Refused."""
        check(self._function("trainer_freeze")(self.address, first_layer), "freezing layers")

    def set_rate(self, rate: float) -> None:
        """Raises Refused."""
        check(self._function("trainer_set_rate")(self.address, fixed(rate)), "the learning rate")

    def _function(self, name: str) -> Callable[..., Any]:
        return getattr(self._library, f"{self._prefix}_{name}")  # type: ignore[no-any-return]

    def _each(self, function: Callable[..., Any], inputs: FixedArray, targets: FixedArray) -> FixedArray:
        source = rows(inputs, self.model.inputs, "the input")
        wanted = rows(targets, self.model.outputs, "the targets")
        if len(source) != len(wanted):
            raise WrongShape("the targets", wanted.shape, f"({len(source)}, {self.model.outputs})")
        pairs = zip(addresses(source), addresses(wanted), strict=True)
        losses = [function(self.address, begin, end) for begin, end in pairs]
        return np.array(losses, dtype=np.int32)


class Trainer(_Trainer):
    """Training in fixed point; each update is at once in the model."""

    def evaluate(self, inputs: FixedArray, targets: FixedArray) -> FixedArray:
        """Each sample's loss, nothing learned."""
        return self._each(self._library.kml_trainer_evaluate, inputs, targets)


class FloatTrainer(_Trainer):
    """Training in binary32, from a model's parameters; `publish` writes what was learned into a model."""

    _prefix = "kml_float"

    def infer(self, inputs: FixedArray) -> FixedArray:
        """Predict with the binary32 parameters."""
        source = rows(inputs, self.model.inputs, "the input")
        out = np.empty((len(source), self.model.outputs), dtype=np.int32)
        for begin, end in zip(addresses(source), addresses(out), strict=True):
            self._library.kml_float_infer(self.address, begin, end)
        return out

    def publish(self, model: Model | None = None) -> int:
        """Round the parameters into the model it was made from, or another of that shape; how many saturated."""
        return int(self._library.kml_float_publish(self.address, (model or self.model).address))
