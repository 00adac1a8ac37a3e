"""What a machine's own sensors can be read of here, by the collectors' own discovery, and why not the others.

Capture set.
"""

import errno
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from edgeprof.collectors.base import Context, Roots
from edgeprof.collectors.clocks.capture import EMC_RATES, Clocks
from edgeprof.collectors.power import capture_sensors
from edgeprof.collectors.sysfs import children, read_number, read_text
from edgeprof.collectors.thermal.capture import Thermal
from edgeprof.profiler.agent.board import Board

AS_ROOT = "run as root: sudo edgeprof run -- COMMAND"
ENGINES = (
    ("DLA", "*.nvdla*"),
    ("NVENC", "*.nvenc*"),
    ("NVDEC", "*.nvdec*"),
    ("NVJPG", "*.nvjpg*"),
    ("VIC", "*.vic*"),
    ("PVA", "*.pva*"),
    ("OFA", "*.ofa*"),
)
"""Engines of Jetson modules, and the names of their platform devices."""

PLAUSIBLE = (-100000, 250000)
"""m°C; what lies outside comes from a sensor that is off (the parser of temperatures leaves it out, too)."""

_SIZE = 256
_WATTS = {"uW": 1e-6, "mW": 1e-3}
_CALLS = {"GPU load": "utilization", "GPU clock": "sm_clock"}
"""What NVML tells where /sys does not."""


class Sensor(NamedTuple):
    """One figure that a machine could give.

    Attributes:
        kind: ``rail`` (power), ``zone`` (temperature), ``engine`` (load or clock), ``cpu`` (clock), ``throttling``.
        name: its own name.
        readable: whether it gives a value now.
        value: what it says now, in ``unit`` (W, J since some start, °C, Hz, share; none for ``throttling``'s bits).
        path: the file, or the program or library that is asked.
        reason: why it cannot be read.
        remedy: what would help.
    """

    kind: str
    name: str
    readable: bool
    value: Optional[float] = None
    unit: str = ""
    path: str = ""
    reason: str = ""
    remedy: str = ""


def sensors(roots: Roots, board: Board, collectors: List[Dict[str, Any]]) -> List[Sensor]:
    """All rails, zones, engines and clocks that the collectors would read here, and those that they cannot.

    Args:
        roots: where /proc and /sys are.
        board: which board this is: it decides what could be expected.
        collectors: what each collector's own probe said, for tegrastats and NVML.
    """
    said = {str(item["name"]): item.get("details") or {} for item in collectors}
    context = Context(raw="", roots=roots)
    thermal = Thermal(context).files()
    found = list(_rails(roots.sys, board, said.get("power", {})))
    found += _zones(thermal)
    found += _throttling(board, thermal)
    found += _engines(roots.sys, board, Clocks(context).files(), said.get("gpu", {}))
    return found


def _read(path: str) -> Tuple[Optional[str], str, str]:
    """A file's text, or the reason why it gives none and what would help."""
    try:
        with open(path, "rb") as file:
            return file.read(_SIZE).decode("utf-8", "replace").strip(" \t\r\n\0"), "", ""
    except OSError as error:
        return (None, *_why(path, error))


def _why(path: str, error: OSError) -> Tuple[str, str]:
    if error.errno in (errno.EACCES, errno.EPERM):
        return _forbidden(path)
    if error.errno == errno.EAGAIN:
        return "it is powered down now", "look again while its engine works"
    if error.errno == errno.ENOENT:
        return "it is not here", ""
    return "reading it fails ({}): it is switched off, or not fitted".format(error.strerror or error), ""


def _forbidden(path: str) -> Tuple[str, str]:
    """A group that may read a file is a gentler way than root."""
    import grp

    try:
        status = os.stat(path)
        group = grp.getgrgid(status.st_gid).gr_name if status.st_mode & 0o040 and status.st_gid else None
    except (OSError, KeyError):
        group = None
    if group is None:
        return "only root may read it", AS_ROOT
    remedy = "sudo usermod -aG {} USER, and log in again; or {}".format(group, AS_ROOT)
    return "only root and the group {} may read it".format(group), remedy


def _number(text: Optional[str]) -> Optional[int]:
    try:
        return int(text) if text else None
    except ValueError:
        return None


def _rails(sys: str, board: Board, said: Dict[str, Any]) -> Iterator[Sensor]:
    found = capture_sensors.discover(sys)
    for rail in found.rails:
        values = [read_number(path) for path in rail.paths]
        known = [value for value in values if value is not None]
        if len(known) < len(values):  # it went since it was found
            yield Sensor("rail", rail.name, False, path=rail.paths[0], reason="it gave a value, and now gives none")
        elif rail.quantity == "uJ":
            yield Sensor("rail", rail.name, True, known[0] * 1e-6, "J", rail.paths[0])
        else:
            watts = known[0] * _WATTS[rail.quantity] if len(known) == 1 else known[0] * known[1] * 1e-6
            yield Sensor("rail", rail.name, True, watts, "W", rail.paths[0])
    for name, path in found.unread:
        text, reason, remedy = _read(path)
        reason = reason or "it says {!r}, not a number".format((text or "")[:20])
        yield Sensor("rail", name, False, path=path, reason=reason, remedy=remedy)
    if not found.rails and said.get("tegrastats"):
        yield Sensor("rail", "tegrastats", True, path=str(said["tegrastats"]))
    if board.kind == "raspberry-pi" and not found.rails:
        yield Sensor(
            "rail",
            "supply",
            False,
            reason="a Raspberry Pi shows no power sensor in /sys",
            remedy="`vcgencmd pmic_read_adc` shows the rails of a Raspberry Pi 5; else measure before the supply",
        )


def _zones(files: Dict[str, str]) -> Iterator[Sensor]:
    for source, path in files.items():
        kind, _, name = source.partition(":")
        if kind != "zone":
            continue
        name = name.partition(":")[2]
        text, reason, remedy = _read(path)
        value = _number(text)
        if value is None:
            reason = reason or "it says {!r}, not a number".format((text or "")[:20])
            yield Sensor("zone", name, False, path=path, reason=reason, remedy=remedy)
        elif not PLAUSIBLE[0] <= value <= PLAUSIBLE[1]:
            reason = "it says {:g} °C: its sensor is off".format(value / 1000)
            yield Sensor("zone", name, False, path=path, reason=reason, remedy="look again while its engine works")
        else:
            yield Sensor("zone", name, True, value / 1000, "°C", path)


def _throttling(board: Board, files: Dict[str, str]) -> Iterator[Sensor]:
    """Cooling devices that slow the machine show it by their state; a Raspberry Pi's firmware by bits."""
    states = [path for source, path in files.items() if source.startswith("device:")]
    if states:
        readable = [path for path in states if _read(path)[0] is not None]
        name = "{} of {} cooling devices".format(len(readable), len(states))
        reason, remedy = ("", "") if readable else _read(states[0])[1:]
        yield Sensor("throttling", name, bool(readable), path=states[0], reason=reason, remedy=remedy)
    if "raspberrypi" in files:
        text, reason, remedy = _read(files["raspberrypi"])
        yield Sensor("throttling", "get_throttled", text is not None, None, "", files["raspberrypi"], reason, remedy)
    elif board.kind == "raspberry-pi":
        yield Sensor(
            "throttling",
            "get_throttled",
            False,
            reason="this kernel does not show the firmware's flags in /sys",
            remedy="`vcgencmd get_throttled` before and after the run shows them",
        )


def _engines(sys: str, board: Board, files: Dict[str, str], nvml: Dict[str, Any]) -> Iterator[Sensor]:
    left = dict(files)
    yield from _gpu(board, left, nvml)
    yield from _memory_controller(sys, board, left)
    for name, pattern in ENGINES:
        word = name.lower()
        labels = [source for source in left if source.startswith("Hz:") and word in source.lower()]
        for source in labels:
            yield _clock("engine", "{} clock ({})".format(name, source[3:]), left.pop(source))
        if board.kind == "jetson" and not labels:
            yield _engine_unread(sys, name, pattern)
    for source, path in left.items():
        unit, _, name = source.partition(":")
        if unit == "kHz":
            yield _clock("cpu", name + " clock", path, 1000)
        elif unit == "Hz":
            yield _clock("engine", name + " clock", path)


def _gpu(board: Board, left: Dict[str, str], nvml: Dict[str, Any]) -> Iterator[Sensor]:
    devices = [device for device in nvml.get("devices") or [] if isinstance(device, dict)]
    for name, source in (("GPU load", "permille:gpu"), ("GPU clock", "Hz:gpu")):
        path = left.pop(source, None)
        told = [device for device in devices if _CALLS[name] in (device.get("calls") or ())]
        if path is not None:
            yield _clock("engine", name, path, 0.001, "share") if name == "GPU load" else _clock("engine", name, path)
        elif told:
            yield Sensor("engine", name, True, path="NVML: {}".format(told[0].get("name")))
        elif board.kind == "jetson":
            reason = "no file of this release that is known to edgeprof, and NVML does not tell it"
            remedy = "see that the GPU's driver is loaded (lsmod); tell us the board and its release"
            yield Sensor("engine", name, False, reason=reason, remedy=remedy)
        elif devices:
            reason = (devices[0].get("not_supported") or {}).get(_CALLS[name]) or "NVML does not tell it"
            yield Sensor("engine", name, False, path="NVML: {}".format(devices[0].get("name")), reason=str(reason))


def _memory_controller(sys: str, board: Board, left: Dict[str, str]) -> Iterator[Sensor]:
    name = "memory controller (EMC) clock"
    path = left.pop("Hz:emc", None)
    if path is not None:
        yield _clock("engine", name, path)
        return
    if board.kind != "jetson":
        return
    folder = os.path.join(sys, "kernel/debug")
    path = os.path.join(sys, EMC_RATES[0])
    try:
        mounted = bool(os.listdir(folder))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            reason = "it is in debugfs, which only root may read"
            yield Sensor("engine", name, False, path=path, reason=reason, remedy=AS_ROOT)
            return
        mounted = False
    if mounted:
        yield Sensor("engine", name, False, path=path, reason="this release does not show it in debugfs or devfreq")
    else:
        remedy = "as root: mount -t debugfs debugfs /sys/kernel/debug"
        yield Sensor("engine", name, False, path=path, reason="debugfs is not mounted here", remedy=remedy)


def _engine_unread(sys: str, name: str, pattern: str) -> Sensor:
    devices = children(os.path.join(sys, "bus/platform/devices"), pattern)
    if not devices:
        return Sensor("engine", name + " clock", False, reason="no such device here")
    state = read_text(os.path.join(devices[0], "power/runtime_status"))
    reason = "no devfreq device of it on this release" + (" ({} now)".format(state) if state else "")
    remedy = "`sudo tegrastats` shows the clocks of engines at work"
    return Sensor("engine", name + " clock", False, path=devices[0], reason=reason, remedy=remedy)


def _clock(kind: str, name: str, path: str, factor: float = 1, unit: str = "Hz") -> Sensor:
    text, reason, remedy = _read(path)
    value = _number(text)
    if value is None:
        reason = reason or "it says {!r}, not a number".format((text or "")[:20])
        return Sensor(kind, name, False, path=path, reason=reason, remedy=remedy)
    return Sensor(kind, name, True, value * factor, unit, path)
