"""libkml.so: loading it, its functions' signatures, and Q16.16 numbers as NumPy arrays.

What belongs together stands in modules of its own: `model` (inference and training), `stream` (statistics,
drift, regression, sampling), `ring`.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule.abi import FX_MAX, FX_MIN, NAME_BYTES, ONE
from edgeprof.kmodule.errors import NotANumber, Refused, WrongShape

FixedArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float64]

fx = ctypes.c_int32
_address = ctypes.c_void_p
_u8, _u16, _u32, _u64, _i64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64
_size, _int, _bool, _uint = ctypes.c_size_t, ctypes.c_int, ctypes.c_bool, ctypes.c_uint

SIGNATURES: dict[str, tuple[Any, ...]] = {
    "kml_fx_div": (fx, fx, fx),
    "kml_fx_exp": (fx, fx),
    "kml_fx_log": (fx, fx),
    "kml_fx_sqrt": (fx, fx),
    "kml_fx_sigmoid": (fx, fx),
    "kml_fx_tanh": (fx, fx),
    "kml_fx_sigmoid_each": (None, _address, _uint),
    "kml_fx_tanh_each": (None, _address, _uint),
    "kml_fx_softmax": (None, _address, _address, _uint),
    "kml_fx_from_float_bits": (_int, _u32, _address),
    "kml_model_examine": (_i64, _address, _size, _address),
    "kml_model_load": (_int, _address, _size, _address, _size, _address, _address),
    "kml_model_size": (_i64, _u16, _address, _u16),
    "kml_model_create": (_int, _address, _size, _address, _u16, _address, _u16, _address),
    "kml_model_copy": (_int, _address, _size, _address, _address),
    "kml_model_randomise": (None, _address, _u64),
    "kml_model_file_size": (_size, _address),
    "kml_model_save": (_i64, _address, _address, _size),
    "kml_infer": (None, _address, _address, _address, _address),
    "kml_training_check": (_int, _address, _address, _address),
    "kml_trainer_size": (_size, _address),
    "kml_trainer_create": (_int, _address, _size, _address, _address, _address),
    "kml_train": (fx, _address, _address, _address),
    "kml_trainer_flush": (None, _address),
    "kml_trainer_updates": (_u64, _address),
    "kml_trainer_freeze": (_int, _address, _u16),
    "kml_trainer_set_rate": (_int, _address, fx),
    "kml_trainer_evaluate": (fx, _address, _address, _address),
    "kml_float_trainer_size": (_size, _address),
    "kml_float_trainer_create": (_int, _address, _size, _address, _address, _address),
    "kml_float_train": (fx, _address, _address, _address),
    "kml_float_trainer_flush": (None, _address),
    "kml_float_trainer_updates": (_u64, _address),
    "kml_float_trainer_freeze": (_int, _address, _u16),
    "kml_float_trainer_set_rate": (_int, _address, fx),
    "kml_float_infer": (None, _address, _address, _address),
    "kml_float_publish": (_u32, _address, _address),
    "kml_running_init": (None, _address),
    "kml_running_add": (None, _address, fx),
    "kml_running_mean": (fx, _address),
    "kml_running_variance": (fx, _address),
    "kml_running_deviation": (fx, _address),
    "kml_fading_init": (_int, _address, _u8),
    "kml_fading_add": (None, _address, fx),
    "kml_fading_mean": (fx, _address),
    "kml_fading_deviation": (fx, _address),
    "kml_range_init": (None, _address),
    "kml_range_add": (None, _address, fx),
    "kml_range_normalise": (fx, _address, fx),
    "kml_zscore": (fx, fx, fx, fx),
    "kml_drift_init": (_int, _address, fx, fx, _u32),
    "kml_drift_add": (_bool, _address, fx),
    "kml_regression_init": (_int, _address, _u16, _bool, fx),
    "kml_regression_predict": (fx, _address, _address),
    "kml_regression_learn": (fx, _address, _address, fx),
    "kml_sampler_init": (_int, _address, fx, fx, _u64),
    "kml_uncertainty": (fx, _address, _uint),
    "kml_sampler_keep": (_bool, _address, fx),
    "kml_adapter_init": (_int, _address, _address, _address, _u32),
    "kml_adapter_feed": (_int, _address, _address, _address, _address),
    "kml_latency_begin": (None, _address, _u64),
    "kml_latency_features": (None, _address, _address, _address),
    "kml_latency_arrived": (None, _address, _address),
    "kml_latency_completed": (None, _address, _int, _u32, _u64, _u64),
    "kml_latency_withdrawn": (None, _address),
    "kml_latency_replay": (_bool, _address, _address, _address, _u32, _address, _u32, _u64, _address),
    "kml_latency_target": (fx, _u64),
    "kml_latency_from_target": (_u64, fx),
    "kml_readahead_begin": (None, _address, _u32, _u64),
    "kml_readahead_added": (None, _address, _u64, _u32),
    "kml_readahead_add_each": (_u64, _address, _u32, _address, _address, _address, _u64),
    "kml_readahead_merge": (None, _address, _address),
    "kml_readahead_features": (_bool, _address, _u64, _address),
    "kml_readahead_alike": (_bool, _address, _address),
    "kml_readahead_gain": (fx, _address, _address),
    "kml_readahead_choose": (_u32, fx, _u32, _u32, _address),
    "kml_ring_bytes": (_size, _u32, _u32),
    "kml_ring_writer_init": (_int, _address, _address, _address, _address, _u32, _u32),
    "kml_ring_reader_init": (_int, _address, _address, _address, _address, _size),
    "kml_ring_refresh": (_bool, _address),
    "kml_ring_peek": (_address, _address),
    "kml_ring_release": (None, _address),
    "kml_ring_pop": (_u32, _address, _address, _u32),
}
"""Result and arguments of each public function, in the headers' order."""


@cache
def library(path: Path | None = None) -> ctypes.CDLL:
    """libkml.so with its signatures declared; without a path it is built at need.  Raises EdgeprofError."""
    if path is None:
        from edgeprof.kmodule import build

        path = build.library()
    loaded = ctypes.CDLL(str(path))
    for name, (result, *arguments) in SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def check(status: int, what: str, reason: ctypes.c_char_p | None = None) -> int:
    """The status, if it is not a negative errno.  Raises Refused."""
    if status < 0:
        words = reason.value.decode() if reason is not None and reason.value else ""
        raise Refused(what, -status, words)
    return status


def to_fixed(values: npt.ArrayLike, what: str = "the array") -> FixedArray:
    """Real numbers as Q16.16, to the nearest, halves upwards, saturated.  Raises NotANumber."""
    real = np.asarray(values, dtype=np.float64)
    if not np.isfinite(real).all():
        raise NotANumber(what)
    return np.clip(np.floor(real * ONE + 0.5), FX_MIN, FX_MAX).astype(np.int32)


def to_float(values: npt.ArrayLike) -> FloatArray:
    """Q16.16 numbers as real ones, exactly."""
    return np.asarray(values, dtype=np.int32) / float(ONE)


def rows(values: FixedArray, width: int, what: str) -> FixedArray:
    """An array of Q16.16 numbers as C-contiguous ``[n, width]``, without a copy where it already is.

    Raises WrongShape, also for an array that is not of 32-bit integers: floats are converted by `to_fixed` only.
    """
    if values.dtype != np.int32:
        raise WrongShape(what, values.dtype, "int32 (Q16.16)")
    if values.ndim == 1 and width > 0 and values.size % width == 0:
        values = values.reshape(-1, width)
    if values.ndim != 2 or values.shape[1] != width:
        raise WrongShape(what, values.shape, f"(samples, {width})")
    return np.ascontiguousarray(values)


def addresses(values: FixedArray) -> range:
    """Where each row of a C-contiguous array lies."""
    begin, step = values.ctypes.data, values.itemsize * values.shape[1]
    return range(begin, begin + len(values) * step, step)


def memory(size: int) -> npt.NDArray[np.uint64]:
    """Zeroed memory for the library, aligned to 8 bytes."""
    return np.zeros((size + 7) // 8, dtype=np.uint64)


def name_bytes(name: str, what: str) -> bytes:
    """A name as a model holds it: NUL-padded ASCII.  Raises Refused."""
    encoded = name.encode("ascii", "replace")
    if not name.isascii() or len(encoded) >= NAME_BYTES:
        raise Refused(what, errno.EINVAL, f"a name is at most {NAME_BYTES - 1} ASCII characters, unlike {name!r}")
    return encoded.ljust(NAME_BYTES, b"\0")


def _elementwise(name: str) -> Callable[[FixedArray], FixedArray]:
    def apply(values: FixedArray) -> FixedArray:
        function = getattr(library(), name)
        flat = [function(value) for value in values.ravel().tolist()]
        return np.array(flat, dtype=np.int32).reshape(values.shape)

    apply.__doc__ = f"``{name}`` of each number."
    return apply


exp = _elementwise("kml_fx_exp")
log = _elementwise("kml_fx_log")
sqrt = _elementwise("kml_fx_sqrt")
sigmoid = _elementwise("kml_fx_sigmoid")
tanh = _elementwise("kml_fx_tanh")


def divide(dividend: FixedArray, divisor: FixedArray) -> FixedArray:
    """``kml_fx_div`` of each pair."""
    function = library().kml_fx_div
    pairs = zip(dividend.ravel().tolist(), divisor.ravel().tolist(), strict=True)
    return np.array([function(a, b) for a, b in pairs], dtype=np.int32).reshape(dividend.shape)


def multiply(a: FixedArray, b: FixedArray) -> FixedArray:
    """The rounded, saturated product of each pair: ``kml_fx_mul`` is inline in C, and these are its operations."""
    product = a.astype(np.int64) * b.astype(np.int64)
    return np.clip((product >> 16) + ((product >> 15) & 1), FX_MIN, FX_MAX).astype(np.int32)


def softmax(values: FixedArray) -> FixedArray:
    """``kml_fx_softmax`` along the last axis."""
    function = library().kml_fx_softmax
    source = np.ascontiguousarray(values, dtype=np.int32)
    out = np.empty_like(source)
    width = source.shape[-1]
    for begin in range(0, source.size, width):
        function(source.ctypes.data + 4 * begin, out.ctypes.data + 4 * begin, width)
    return out
