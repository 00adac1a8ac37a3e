"""Copies what NVML says of NVIDIA GPUs, through libnvidia-ml.so.1 itself; each call is tried by itself first."""

import ctypes
import os
import struct
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from edgeprof.collectors.base import Collector, Context, FrameWriter, Probe, Status

LIBRARY = "libnvidia-ml.so.1"

CALLS: Tuple[Tuple[str, str, Tuple[int, ...], int], ...] = (
    # name, function, arguments between device and result, bytes of the result
    ("utilization", "nvmlDeviceGetUtilizationRates", (), 8),
    ("memory", "nvmlDeviceGetMemoryInfo", (), 24),
    ("power", "nvmlDeviceGetPowerUsage", (), 4),
    ("energy", "nvmlDeviceGetTotalEnergyConsumption", (), 8),
    ("temperature", "nvmlDeviceGetTemperature", (0,), 4),  # NVML_TEMPERATURE_GPU
    ("sm_clock", "nvmlDeviceGetClockInfo", (1,), 4),  # NVML_CLOCK_SM
    ("memory_clock", "nvmlDeviceGetClockInfo", (2,), 4),  # NVML_CLOCK_MEM
    ("throttle_reasons", "nvmlDeviceGetCurrentClocksThrottleReasons", (), 8),
)
"""NVML's calls with one result (nvml.h; NVML API Reference Guide).  `parse.LAYOUTS` reads the results."""

PROCESS_BYTES = 24
"""nvmlProcessInfo_v2_t of nvmlDeviceGetComputeRunningProcesses_v3 and _v2: pid, memory, two MIG numbers."""

MOST_PROCESSES = 64

_CODE = struct.Struct("<i")
_REFUSALS = (2, 3, 4, 13, 25, 26)
"""NVML_ERROR_ INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH and
DEPRECATED stay as they are; any other failure may pass, so that call is kept and its sample is null."""

_NOT_FOUND = "this NVML has no such function"


class Call(NamedTuple):
    """A call that this device answers: its name, and what makes it (returns NVML's code) and where the result is."""

    name: str
    make: Callable[[], int]
    result: Any


class Device(NamedTuple):
    """One GPU; ``refused`` maps what it does not support to NVML's own words."""

    number: int
    name: str
    calls: List[Call]
    processes: Optional[Call]
    room: Any
    refused: Dict[str, str]


class Gpu(Collector):
    """One frame a device and sample: for each supported call, NVML's code and the bytes of its result.

    Files: ``gpu.json`` (devices, and which calls in what order stand in a frame), ``gpu.frames``.
    Options: ``nvml`` (path of the library), ``interval`` (seconds, 1.0; 0: at the run's rate).
    """

    name = "gpu"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.interval = float(context.options.get("interval", 1.0)) or None
        self._library = str(context.options.get("nvml", LIBRARY))
        self._nvml: Any = None
        self._devices: List[Device] = []
        self._sources: List[int] = []
        self._writer: Optional[FrameWriter] = None

    def probe(self) -> Probe:
        """Start NVML and try every call on every device once."""
        try:
            self._nvml = ctypes.CDLL(self._library)
        except OSError:
            return Probe(
                False,
                "no NVIDIA management library here ({})".format(os.path.basename(self._library)),
                "install NVIDIA's driver; Jetson boards up to JetPack 6 show their GPU through /sys (power, clocks)",
            )
        code = self._call("nvmlInit_v2")
        if code:
            return Probe(False, "NVML does not start: {}".format(self._said(code)), "check `nvidia-smi`")
        number = ctypes.c_uint(0)
        code = self._call("nvmlDeviceGetCount_v2", ctypes.byref(number))
        for index in range(0 if code else min(number.value, 64)):
            device = self._device(index)
            if device is not None:
                self._devices.append(device)
        if not self._devices:
            self._shut_down()
            return Probe(False, "NVML sees no GPU: {}".format(self._said(code) if code else "it counts none"))
        details = {"devices": [_described(device) for device in self._devices]}
        if not any(device.calls or device.processes for device in self._devices):
            self._shut_down()
            return Probe(
                False,
                "NVML is here but supports no figure of {}".format(self._devices[0].name),
                "boards with shared memory show their GPU through /sys: see the collectors power, thermal and clocks",
                details,
            )
        return Probe(True, details=details)

    def _call(self, function: str, *arguments: Any) -> int:
        """NVML's code; 13 (NVML_ERROR_FUNCTION_NOT_FOUND) when this library has no such function."""
        try:
            return int(getattr(self._nvml, function)(*arguments))
        except AttributeError:
            return 13

    def _said(self, code: int) -> str:
        if code == 13:
            return _NOT_FOUND
        try:
            describe = self._nvml.nvmlErrorString
        except AttributeError:
            return "code {}".format(code)
        describe.restype = ctypes.c_char_p
        return (describe(code) or b"").decode("utf-8", "replace") or "code {}".format(code)

    def _device(self, index: int) -> Optional[Device]:
        handle = ctypes.c_void_p()
        if self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle)):
            return None
        text = ctypes.create_string_buffer(96)  # NVML_DEVICE_NAME_V2_BUFFER_SIZE
        named = self._call("nvmlDeviceGetName", handle, text, ctypes.c_uint(96)) == 0
        calls, refused = [], {}
        for name, function, arguments, size in CALLS:
            result = ctypes.create_string_buffer(size)
            values = [ctypes.c_uint(argument) for argument in arguments]
            code = self._call(function, handle, *values, result)
            if code in _REFUSALS:
                refused[name] = self._said(code)
            else:
                calls.append(Call(name, _bound(getattr(self._nvml, function), handle, *values, result), result))
        count = ctypes.c_uint(MOST_PROCESSES)
        processes = self._processes(handle, count, refused)
        name = text.value.decode("utf-8", "replace") if named else "GPU {}".format(index)
        return Device(index, name, calls, processes, count, refused)

    def _processes(self, handle: Any, count: Any, refused: Dict[str, str]) -> Optional[Call]:
        table = ctypes.create_string_buffer(PROCESS_BYTES * MOST_PROCESSES)
        code = 13
        for version in ("_v3", "_v2"):
            function = "nvmlDeviceGetComputeRunningProcesses" + version
            count.value = MOST_PROCESSES
            code = self._call(function, handle, ctypes.byref(count), table)
            if code in (0, 7):  # 7, NVML_ERROR_INSUFFICIENT_SIZE: supported, only busier than the table is long
                bound = _bound(getattr(self._nvml, function), handle, ctypes.byref(count), table)
                return Call("processes", bound, table)
        refused["processes"] = self._said(code)
        return None

    def start(self) -> None:
        """Write down what the frames hold and take the first sample."""
        import json

        with open(os.path.join(self.context.raw, "gpu.json"), "w") as file:
            json.dump([_described(device) for device in self._devices], file)
        self._writer = FrameWriter(os.path.join(self.context.raw, "gpu.frames"))
        for device in self._devices:
            self._sources.append(self._writer.source("device:{}".format(device.number)))
            self._sources.append(self._writer.source("processes:{}".format(device.number)))
        self.sample(time.monotonic_ns())

    def sample(self, now_ns: int) -> None:
        """Ask every supported call of every device and copy the bytes of its result."""
        assert self._writer is not None
        sources = iter(self._sources)
        for device in self._devices:
            parts = []
            for call in device.calls:
                parts.append(_CODE.pack(call.make()))
                parts.append(call.result.raw)
            self._writer.frame(now_ns, next(sources), b"".join(parts))
            listed = next(sources)
            if device.processes is not None:
                device.room.value = MOST_PROCESSES
                code = device.processes.make()
                used = min(device.room.value, MOST_PROCESSES) if code == 0 else 0
                self._writer.frame(now_ns, listed, _CODE.pack(code) + device.processes.result[: used * PROCESS_BYTES])
        self._writer.flush()

    def stop(self) -> Status:
        """Close, and shut NVML down."""
        details = {"devices": [_described(device) for device in self._devices]}
        if self._writer is None:
            self._shut_down()
            return Status(0, 0, details=details)
        self._writer.close()
        self._shut_down()
        written = self._writer
        return Status(written.records, written.bytes, written.lost, notes=tuple(written.notes()), details=details)

    def _shut_down(self) -> None:
        if self._nvml is not None:
            self._call("nvmlShutdown")
            self._nvml = None


def _bound(function: Callable[..., int], *arguments: Any) -> Callable[[], int]:
    return lambda: function(*arguments)


def _described(device: Device) -> Dict[str, Any]:
    return {
        "index": device.number,
        "name": device.name,
        "calls": [call.name for call in device.calls],
        "processes": device.processes is not None,
        "not_supported": device.refused,
    }


COLLECTOR = Gpu
