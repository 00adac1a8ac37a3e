"""The structures and numbers that libkml.so, /dev/kml and the model file share, as include/kml/*_abi.h declares them.

Standard library only, so that a client of /dev/kml runs on a board's own Python.
"""

from __future__ import annotations

import ctypes
import math
from enum import IntEnum

ONE = 1 << 16
"""1.0 as a Q16.16 number."""
FX_MAX, FX_MIN = 2**31 - 1, -(2**31)
WEIGHT_MAX = 64 * ONE
NAME_BYTES = 32
MAX_WIDTH = 256
MAX_LAYERS = 16
MAX_NODES = 16384
MAX_DEPTH = 32
FILE_MAX_BYTES = 1 << 20
REGRESSION_MAX_INPUTS = 16
DEVICE_VERSION = 1
MAX_COUNT = 65536


class ModelKind(IntEnum):
    NETWORK = 1
    TREE = 2


class Number(IntEnum):
    """How a model file's numbers are written."""

    FIXED = 1
    FLOAT = 2


class LayerType(IntEnum):
    LINEAR = 1
    RELU = 2
    SIGMOID = 3
    TANH = 4
    SOFTMAX = 5


class Loss(IntEnum):
    MSE = 1
    CROSS_ENTROPY = 2
    LOGISTIC = 3


class Schedule(IntEnum):
    CONSTANT = 1
    STEP = 2
    INVERSE = 3


class RingMode(IntEnum):
    DROPPING = 1
    BLOCKING = 2


class Consumer(IntEnum):
    """Who reads a predictor's rings."""

    KERNEL_FIXED = 1
    KERNEL_FLOAT = 2
    USER = 3


class Function(IntEnum):
    EXP = 1
    LOG = 2
    SQRT = 3
    SIGMOID = 4
    TANH = 5
    SOFTMAX = 6
    DIV = 7
    MUL = 8


class Map(IntEnum):
    """The areas of a ring."""

    WRITER = 0
    RECORDS = 1
    READER = 2


COLLECT_WAIT = 1
COLLECT_SAMPLED = 2

_u8, _u16, _u32, _u64, _i16, _i32 = (
    ctypes.c_uint8,
    ctypes.c_uint16,
    ctypes.c_uint32,
    ctypes.c_uint64,
    ctypes.c_int16,
    ctypes.c_int32,
)
_name = ctypes.c_char * NAME_BYTES


class FileHeader(ctypes.LittleEndianStructure):
    """struct kml_file_header"""

    _fields_ = (
        ("magic", _u32),
        ("version", _u16),
        ("header_bytes", _u16),
        ("length", _u32),
        ("crc32", _u32),
        ("kind", _u8),
        ("number", _u8),
        ("inputs", _u16),
        ("outputs", _u16),
        ("parts", _u16),
        ("leaves", _u16),
        ("reserved", _u16 * 3),
        ("name", _name),
    )


class FileFeature(ctypes.LittleEndianStructure):
    """struct kml_file_feature"""

    _fields_ = (("name", _name), ("shift", _u32), ("scale", _u32))


class FileLayer(ctypes.LittleEndianStructure):
    """struct kml_file_layer"""

    _fields_ = (("type", _u16), ("inputs", _u16), ("outputs", _u16), ("reserved", _u16))


class FileNode(ctypes.LittleEndianStructure):
    """struct kml_file_node"""

    _fields_ = (("feature", _i16), ("left", _u16), ("right", _u16), ("reserved", _u16), ("threshold", _u32))


class Training(ctypes.Structure):
    """struct kml_training"""

    _fields_ = (
        ("loss", _u8),
        ("schedule", _u8),
        ("batch", _u16),
        ("rate", _i32),
        ("momentum", _i32),
        ("decay", _i32),
        ("decay_every", _u32),
        ("first_layer", _u16),
        ("reserved", _u16),
    )


class RingWriterWords(ctypes.Structure):
    """struct kml_ring_writer_words"""

    _fields_ = (
        ("magic", _u32),
        ("slots", _u32),
        ("record_bytes", _u32),
        ("reserved", _u32),
        ("head", _u64),
        ("dropped", _u64),
        ("bad_tails", _u64),
    )


class Create(ctypes.Structure):
    """struct kml_create"""

    _fields_ = (
        ("name", _name),
        ("inputs", _u16),
        ("outputs", _u16),
        ("mode", _u8),
        ("consumer", _u8),
        ("reserved", _u16),
        ("slots", _u32),
        ("share", _i32),
        ("explore", _i32),
        ("id", _u32),
    )


class Shape(ctypes.Structure):
    """struct kml_shape"""

    _fields_ = (
        ("id", _u32),
        ("reserved", _u32),
        ("name", _name),
        ("inputs", _u16),
        ("outputs", _u16),
        ("mode", _u8),
        ("consumer", _u8),
        ("rings", _u16),
        ("slots", _u32),
        ("record_bytes", _u32),
        ("record_area", _u64),
        ("page", _u32),
        ("next", _u32),
    )


class Transfer(ctypes.Structure):
    """struct kml_transfer"""

    _fields_ = (("id", _u32), ("length", _u32), ("file", _u64))


class InferCall(ctypes.Structure):
    """struct kml_infer_call"""

    _fields_ = (
        ("id", _u32),
        ("count", _u32),
        ("inputs", _u64),
        ("outputs", _u64),
        ("time_ns", _u64),
        ("model", _u64),
    )


class CollectCall(ctypes.Structure):
    """struct kml_collect_call"""

    _fields_ = (
        ("id", _u32),
        ("count", _u32),
        ("values", _u64),
        ("flags", _u32),
        ("accepted", _u32),
        ("dropped", _u32),
        ("skipped", _u32),
        ("time_ns", _u64),
    )


class TrainCall(ctypes.Structure):
    """struct kml_train_call"""

    _fields_ = (
        ("id", _u32),
        ("publish_every", _u32),
        ("training", Training),
        ("adapt_samples", _u32),
        ("drift_tolerance", _i32),
        ("drift_threshold", _i32),
        ("drift_warm_up", _u32),
    )


class MathCall(ctypes.Structure):
    """struct kml_math_call"""

    _fields_ = (("function", _u32), ("count", _u32), ("in", _u64), ("out", _u64), ("time_ns", _u64))


class Statistics(ctypes.Structure):
    """struct kml_statistics"""

    _fields_ = (
        ("id", _u32),
        ("model_bytes", _u32),
        ("models", _u64),
        ("loads", _u64),
        ("refused", _u64),
        ("predictions", _u64),
        ("without_model", _u64),
        ("pushed", _u64),
        ("popped", _u64),
        ("dropped", _u64),
        ("skipped", _u64),
        ("bad_tails", _u64),
        ("waits", _u64),
        ("trained", _u64),
        ("updates", _u64),
        ("publications", _u64),
        ("adaptations", _u64),
        ("train_ns", _u64),
        ("fpu_sections", _u64),
        ("fpu_longest_ns", _u64),
        ("loss", _i32),
        ("training", _u8),
        ("reserved", _u8 * 3),
    )


class Request(IntEnum):
    """ioctl numbers, composed as asm-generic/ioctl.h does (x86-64 and arm64 use it)."""

    VERSION = 2 << 30 | 4 << 16 | 0xCB << 8 | 0
    CREATE = 3 << 30 | ctypes.sizeof(Create) << 16 | 0xCB << 8 | 1
    SHAPE = 3 << 30 | ctypes.sizeof(Shape) << 16 | 0xCB << 8 | 2
    ATTACH = 1 << 30 | 4 << 16 | 0xCB << 8 | 3
    LOAD = 1 << 30 | ctypes.sizeof(Transfer) << 16 | 0xCB << 8 | 4
    SAVE = 3 << 30 | ctypes.sizeof(Transfer) << 16 | 0xCB << 8 | 5
    UNLOAD = 1 << 30 | 4 << 16 | 0xCB << 8 | 6
    INFER = 3 << 30 | ctypes.sizeof(InferCall) << 16 | 0xCB << 8 | 7
    COLLECT = 3 << 30 | ctypes.sizeof(CollectCall) << 16 | 0xCB << 8 | 8
    TRAIN = 1 << 30 | ctypes.sizeof(TrainCall) << 16 | 0xCB << 8 | 9
    STOP = 1 << 30 | 4 << 16 | 0xCB << 8 | 10
    STATISTICS = 3 << 30 | ctypes.sizeof(Statistics) << 16 | 0xCB << 8 | 11
    MATH = 3 << 30 | ctypes.sizeof(MathCall) << 16 | 0xCB << 8 | 12


def map_offset(ring: int, area: Map) -> int:
    """KML_MAP_OFFSET"""
    return (ring * 4 + area) << 32


def fixed(value: float) -> int:
    """The nearest Q16.16 number, halves upwards, saturated; NaN is a ValueError."""
    if math.isnan(value):
        raise ValueError("not a number")
    if value * ONE >= FX_MAX:
        return FX_MAX
    if value * ONE <= FX_MIN:
        return FX_MIN
    return int((value * ONE + 0.5) // 1)
