"""A client of /dev/kml: predictors, models, samples and rings of the kernel module, and its loading and unloading.

Standard library only: it runs on a board's own Python.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import subprocess
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from edgeprof.kmodule import abi
from edgeprof.kmodule.abi import Consumer, Function, Map, Request, RingMode, fixed
from edgeprof.kmodule.errors import DeviceRefused, ModuleRefused, NoDevice

PATH = Path("/dev/kml")
MODULES = Path("/sys/module")

Values: TypeAlias = "array[int] | memoryview"
"""Q16.16 numbers: ``array("i")``, or any other writable buffer of 32-bit integers, as NumPy arrays are."""


@dataclass(frozen=True)
class Predictor:
    """A model in use in the kernel, as the device describes it."""

    id: int
    name: str
    inputs: int
    outputs: int
    mode: RingMode
    consumer: Consumer
    rings: int
    slots: int
    record_bytes: int
    record_area: int
    page: int


@dataclass(frozen=True)
class Collected:
    """What became of samples that were offered."""

    accepted: int
    dropped: int
    skipped: int
    time_ns: int


@dataclass(frozen=True)
class RingAreas:
    """A ring's memory, for `edgeprof.kmodule.ring.RingReader`."""

    writer: mmap.mmap
    reader: mmap.mmap
    records: mmap.mmap


class Device:
    """The device, open.  Raises NoDevice."""

    def __init__(self, path: Path = PATH) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise NoDevice(path, error) from None
        try:
            self._check_version()
        except DeviceRefused:
            self.close()
            raise

    def __enter__(self) -> Device:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def predictors(self) -> Iterator[Predictor]:
        """All that there are."""
        number = 0
        while True:
            try:
                shape = self._shape(abi.Shape(id=number), "listing predictors")
            except DeviceRefused as refused:
                if refused.number == errno.ENOENT:  # none at all, or the next one went meanwhile
                    return
                raise
            yield _predictor(shape)
            if not shape.next:
                return
            number = shape.next

    def find(self, name: str) -> Predictor:
        """The predictor of that name.  Raises DeviceRefused."""
        return _predictor(self._shape(abi.Shape(name=_name(name)), f"finding the predictor {name!r}"))

    def create(
        self,
        name: str,
        inputs: int,
        outputs: int,
        *,
        consumer: Consumer,
        mode: RingMode = RingMode.DROPPING,
        slots: int = 1024,
        share: float = 0.0,
        explore: float = 0.0,
    ) -> Predictor:
        """Make a predictor, which goes with this file and whose rings it may map; one a file."""
        request = abi.Create(
            name=_name(name),
            inputs=inputs,
            outputs=outputs,
            mode=mode,
            consumer=consumer,
            slots=slots,
            share=fixed(share),
            explore=fixed(explore),
        )
        self._call(Request.CREATE, request, f"making the predictor {name!r}")
        return _predictor(self._shape(abi.Shape(id=request.id), f"finding the predictor {name!r}"))

    def attach(self, predictor: Predictor) -> None:
        """Become the process that maps a predictor's rings.  Raises DeviceRefused."""
        self._call(Request.ATTACH, ctypes.c_uint32(predictor.id), f"attaching to {predictor.name}")

    def load(self, predictor: Predictor, file: bytes) -> None:
        """Give it the model of a file; a refused one changes nothing, and the kernel's log says why."""
        buffer = ctypes.create_string_buffer(file, max(len(file), 1))
        request = abi.Transfer(id=predictor.id, length=len(file), file=ctypes.addressof(buffer))
        self._call(Request.LOAD, request, f"loading a model into {predictor.name}")

    def save(self, predictor: Predictor) -> bytes:
        """The file of the model that it uses now."""
        buffer = ctypes.create_string_buffer(abi.FILE_MAX_BYTES)
        request = abi.Transfer(id=predictor.id, length=len(buffer), file=ctypes.addressof(buffer))
        self._call(Request.SAVE, request, f"saving the model of {predictor.name}")
        return buffer.raw[: request.length]

    def unload(self, predictor: Predictor) -> None:
        """Take its model away."""
        self._call(Request.UNLOAD, ctypes.c_uint32(predictor.id), f"unloading the model of {predictor.name}")

    def infer(self, predictor: Predictor, values: Values) -> tuple[array[int], int]:
        """Predict for samples that lie one after another: their outputs, and the nanoseconds that it took."""
        source, count = _buffer(values, predictor.inputs, predictor.name)
        out = array("i", bytes(4 * count * predictor.outputs))
        request = abi.InferCall(
            id=predictor.id, count=count, inputs=ctypes.addressof(source), outputs=out.buffer_info()[0]
        )
        self._call(Request.INFER, request, f"predicting with {predictor.name}")
        return out, request.time_ns

    def collect(self, predictor: Predictor, values: Values, *, wait: bool = False, sampled: bool = False) -> Collected:
        """Offer samples (inputs, then targets) to its rings."""
        source, count = _buffer(values, predictor.inputs + predictor.outputs, predictor.name)
        flags = abi.COLLECT_WAIT * wait | abi.COLLECT_SAMPLED * sampled
        request = abi.CollectCall(id=predictor.id, count=count, values=ctypes.addressof(source), flags=flags)
        self._call(Request.COLLECT, request, f"collecting for {predictor.name}")
        return Collected(request.accepted, request.dropped, request.skipped, request.time_ns)

    def train(
        self,
        predictor: Predictor,
        training: abi.Training,
        *,
        publish_every: int = 1,
        adapt_samples: int = 0,
        drift_tolerance: float = 0.0,
        drift_threshold: float = 0.0,
        drift_warm_up: int = 0,
    ) -> None:
        """Let its kernel thread learn; with ``adapt_samples`` only so many after each drift."""
        request = abi.TrainCall(
            id=predictor.id,
            publish_every=publish_every,
            training=training,
            adapt_samples=adapt_samples,
            drift_tolerance=fixed(drift_tolerance),
            drift_threshold=fixed(drift_threshold),
            drift_warm_up=drift_warm_up,
        )
        self._call(Request.TRAIN, request, f"training {predictor.name}")

    def stop(self, predictor: Predictor) -> None:
        """Learn what the rings still hold, publish, and stop."""
        self._call(Request.STOP, ctypes.c_uint32(predictor.id), f"stopping the training of {predictor.name}")

    def statistics(self, predictor: Predictor) -> dict[str, int]:
        """Its counters, by the names of struct kml_statistics; the loss is Q16.16."""
        request = abi.Statistics(id=predictor.id)
        self._call(Request.STATISTICS, request, f"reading the counters of {predictor.name}")
        names = [field[0] for field in abi.Statistics._fields_ if field[0] not in ("id", "reserved")]
        return {name: int(getattr(request, name)) for name in names}

    def compute(self, function: Function, values: Values) -> array[int]:
        """One of the core's functions, as this kernel computes it."""
        width = 2 if function in (Function.DIV, Function.MUL) else 1
        source, count = _buffer(values, width, function.name.lower())
        out = array("i", bytes(4 * count))
        request = abi.MathCall(function=function, count=count, out=out.buffer_info()[0])
        setattr(request, "in", ctypes.addressof(source))
        self._call(Request.MATH, request, function.name.lower())
        return out

    def map(self, predictor: Predictor, ring: int) -> RingAreas:
        """Map one of its rings; this file must be attached to it.  Raises DeviceRefused."""
        try:
            return RingAreas(
                self._map(predictor.page, ring, Map.WRITER, mmap.PROT_READ),
                self._map(predictor.page, ring, Map.READER, mmap.PROT_READ | mmap.PROT_WRITE),
                self._map(predictor.record_area, ring, Map.RECORDS, mmap.PROT_READ),
            )
        except OSError as error:
            raise DeviceRefused(f"mapping ring {ring} of {predictor.name}", error.errno or errno.EINVAL) from None

    def _map(self, size: int, ring: int, area: Map, protection: int) -> mmap.mmap:
        return mmap.mmap(self._file, size, mmap.MAP_SHARED, protection, offset=abi.map_offset(ring, area))

    def _check_version(self) -> None:
        version = ctypes.c_uint32()
        self._call(Request.VERSION, version, "asking for the version")
        if version.value != abi.DEVICE_VERSION:
            raise DeviceRefused(
                "talking to the module", errno.EPROTONOSUPPORT, f"it has version {version.value} of /dev/kml"
            )

    def _shape(self, request: abi.Shape, what: str) -> abi.Shape:
        self._call(Request.SHAPE, request, what)
        return request

    def _call(self, request: Request, argument: ctypes.Structure | ctypes.c_uint32, what: str) -> None:
        try:
            fcntl.ioctl(self._file, request, argument)
        except OSError as error:
            raise DeviceRefused(what, error.errno or errno.EINVAL) from None


def insert(module: Path, parameters: Sequence[str] = ()) -> None:
    """Load a module's file; needs root.  Raises ModuleRefused."""
    _run(["insmod", str(module), *parameters], f"loading {module}")


def remove(name: str = "kml") -> None:
    """Unload a module; needs root.  Raises ModuleRefused, while something uses it, too."""
    _run(["rmmod", name], f"unloading the module {name}")


def is_loaded(name: str = "kml") -> bool:
    """Whether the running kernel has a module."""
    return (MODULES / name).is_dir()


def _run(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise ModuleRefused(what, f"{command[0]} is not installed: apt-get install kmod") from None
    if done.returncode:
        raise ModuleRefused(what, done.stderr.strip())


def _name(name: str) -> bytes:
    if len(name) >= abi.NAME_BYTES or not name.isascii():
        raise DeviceRefused(
            f"the name {name!r}", errno.EINVAL, f"it must be at most {abi.NAME_BYTES - 1} ASCII characters"
        )
    return name.encode("ascii")


def _predictor(shape: abi.Shape) -> Predictor:
    return Predictor(
        id=shape.id,
        name=shape.name.decode("ascii", "replace"),
        inputs=shape.inputs,
        outputs=shape.outputs,
        mode=RingMode(shape.mode),
        consumer=Consumer(shape.consumer),
        rings=shape.rings,
        slots=shape.slots,
        record_bytes=shape.record_bytes,
        record_area=shape.record_area,
        page=shape.page,
    )


def _buffer(values: Values, width: int, what: str) -> tuple[ctypes.Array[ctypes.c_int32], int]:
    """The values' own memory, and how many samples of that width it holds."""
    view = memoryview(values)
    if view.itemsize != 4 or view.nbytes % (4 * width):
        raise DeviceRefused(what, errno.EINVAL, f"its samples are {width} 32-bit numbers each")
    return (ctypes.c_int32 * (view.nbytes // 4)).from_buffer(values), view.nbytes // (4 * width)
