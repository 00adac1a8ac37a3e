"""Writing model files, as kml/model_abi.h describes them: networks and trees that were trained elsewhere."""

from __future__ import annotations

import ctypes
import errno
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule import abi
from edgeprof.kmodule.abi import FileFeature, FileHeader, FileLayer, FileNode, LayerType, ModelKind, Number
from edgeprof.kmodule.errors import Refused
from edgeprof.kmodule.library import FloatArray, name_bytes, to_fixed
from edgeprof.kmodule.model import Feature

MAGIC = int.from_bytes(b"KMLM", "little")
_CHECKED_FROM = FileHeader.kind.offset
"""The CRC is of the bytes from here on."""


@dataclass(frozen=True)
class FloatLayer:
    """A layer with real parameters: ``weights[outputs, inputs]`` and ``bias[outputs]`` of a linear one, else none."""

    type: LayerType
    weights: FloatArray | None = None
    bias: FloatArray | None = None


@dataclass(frozen=True)
class Node:
    """A tree's node.  A leaf has feature -1, and the index of its values as ``left``."""

    feature: int
    left: int
    right: int
    threshold: float = 0.0


def network_file(
    name: str, features: Sequence[Feature], layers: Sequence[FloatLayer], number: Number = Number.FIXED
) -> bytes:
    """A network's file.  Whether it is one that the kernel takes, `Model.load` says.  Raises Refused, NotANumber."""
    shapes, parameters, width = [], [], len(features)
    for layer in layers:
        outputs = width
        if layer.weights is not None:
            outputs = len(layer.weights)
            parameters += [np.ravel(layer.weights), np.zeros(outputs) if layer.bias is None else layer.bias]
        shapes.append(FileLayer(type=layer.type, inputs=width, outputs=outputs))
        width = outputs
    body = b"".join(bytes(shape) for shape in shapes)
    body += b"".join(_numbers(values, number, "the parameters").tobytes() for values in parameters)
    header = FileHeader(
        kind=ModelKind.NETWORK,
        number=number,
        inputs=len(features),
        outputs=width,
        parts=len(layers),
        name=name_bytes(name, "the model"),
    )
    return _whole(header, features, body, number)


def tree_file(
    name: str,
    features: Sequence[Feature],
    nodes: Sequence[Node],
    values: FloatArray,
    number: Number = Number.FIXED,
) -> bytes:
    """A tree's file; ``values[leaves, outputs]``.  Raises Refused, NotANumber.

    Thresholds in Q16.16 are rounded down: then ``x <= threshold`` says the same of each Q16.16 number x as it says
    with the real threshold.
    """
    if len(nodes) > abi.MAX_NODES:
        raise Refused(f"a tree of {len(nodes)} nodes", errno.E2BIG, f"at most {abi.MAX_NODES} fit a model")
    real = np.array([node.threshold for node in nodes])
    thresholds = _numbers(np.floor(real * abi.ONE) / abi.ONE if number is Number.FIXED else real, number, "a threshold")
    body = b"".join(
        bytes(FileNode(feature=node.feature, left=node.left, right=node.right, threshold=int(threshold)))
        for node, threshold in zip(nodes, thresholds.view(np.uint32), strict=True)
    )
    header = FileHeader(
        kind=ModelKind.TREE,
        number=number,
        inputs=len(features),
        outputs=values.shape[1],
        parts=len(nodes),
        leaves=len(values),
        name=name_bytes(name, "the model"),
    )
    return _whole(header, features, body + _numbers(np.ravel(values), number, "a leaf").tobytes(), number)


def seal(file: bytes) -> bytes:
    """The file with its length and CRC as they should be."""
    header = FileHeader.from_buffer_copy(file)
    header.length = len(file)
    header.crc32 = zlib.crc32(bytes(header)[_CHECKED_FROM:] + file[ctypes.sizeof(header) :])
    return bytes(header) + file[ctypes.sizeof(header) :]


def _whole(header: FileHeader, features: Sequence[Feature], body: bytes, number: Number) -> bytes:
    header.magic, header.version, header.header_bytes = MAGIC, 1, ctypes.sizeof(FileHeader)
    listed = b""
    for feature in features:
        shift, scale = (
            int(value) for value in _numbers(np.array([feature.shift, feature.scale]), number, feature.name)
        )
        listed += bytes(
            FileFeature(name=name_bytes(feature.name, "a feature"), shift=shift & 0xFFFFFFFF, scale=scale & 0xFFFFFFFF)
        )
    return seal(bytes(header) + listed + body)


def _numbers(values: npt.NDArray[np.float64], number: Number, what: str) -> npt.NDArray[np.int32]:
    """The words that stand for the values in a file."""
    if number is Number.FIXED:
        return to_fixed(values, what)
    return np.asarray(values, dtype="<f4").view(np.int32)
