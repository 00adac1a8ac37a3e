"""Waits, within a bound, until temperatures, clocks and load hold still, so that runs begin alike.

What is read: thermal_zone*/temp, cpufreq's clock and limits of each policy, and /proc/stat: a few small files, ten
times in the window of time that is judged.
"""

import os
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Tuple

from edgeprof.collectors.base import Roots
from edgeprof.collectors.sysfs import children, read_text

WINDOW = 10.0
"""Seconds that are judged; of a wait shorter than twice that, half of it."""
SAMPLES = 10
"""Readings in a window."""
DEGREES = 1.0
"""°C within which a zone must stay: sensors have steps of up to 1 °C."""
COOLING = 0.5
"""°C by which the last third of the window may be below the first: more is a board that still cools down."""
CLOCK_SHARE = 0.05
"""Share of its highest value by which a clock may vary where it leaves its limits."""
BUSY = 0.1
"""Share of all processors' time that others than edgeprof may use."""

_LOWEST, _HIGHEST = -100.0, 250.0
"""°C outside of which a sensor is off."""
_MOST_BYTES = 64
_STAT_BYTES = 1 << 16
_TELL = 10.0
"""Seconds between two words to the user."""


class _Reading(NamedTuple):
    """What was read at a moment (CLOCK_MONOTONIC s): °C by zone; clock, lower and upper limit (Hz) by policy."""

    at: float
    zones: Dict[str, float]
    clocks: Dict[str, Tuple[float, Optional[float], Optional[float]]]
    ticks: Optional[Tuple[float, float]]  # busy and all, of /proc/stat
    own: float
    runnable: Optional[int]


class Watch:
    """Reads what is to hold still, and judges the last ``window`` seconds.

    Args:
        roots: where /proc and /sys are.
        window: seconds.
        own: CPU seconds that edgeprof itself has used so far.
    """

    def __init__(
        self, roots: Roots = Roots(), window: float = WINDOW, own: Callable[[], float] = time.process_time
    ) -> None:
        self._window = window
        self._own = own
        self._first: Optional[_Reading] = None
        self._first_load: Optional[float] = None
        self._readings: Deque[_Reading] = deque()
        self._zones = _open(_zone_files(roots.sys))
        self._clocks = {
            name: _open({key: os.path.join(folder, file) for key, file in _CLOCK_FILES.items()})
            for name, folder in _policies(roots.sys).items()
        }
        self._stat = _open({"stat": os.path.join(roots.proc, "stat")})

    def sample(self, now: float) -> None:
        """Read all."""
        zones = {name: _degrees(fd) for name, fd in self._zones.items()}
        clocks = {name: _clock(files) for name, files in self._clocks.items()}
        ticks, runnable = _processors(self._stat.get("stat"))
        reading = _Reading(
            now,
            {name: value for name, value in zones.items() if value is not None},
            {name: value for name, value in clocks.items() if value is not None},
            ticks,
            self._own(),
            runnable,
        )
        self._first = self._first or reading
        self._readings.append(reading)
        # One from before the window stays: however far apart the readings are, they span it.
        while len(self._readings) > 1 and self._readings[1].at <= now - self._window + 1e-3:
            self._readings.popleft()

    def full(self) -> bool:
        """Whether what was read spans the window."""
        return bool(self._readings) and self._readings[-1].at - self._readings[0].at >= self._window * 0.9

    def unsteady(self) -> List[str]:
        """What does not hold still, each as a sentence's beginning; empty: all that can be read does."""
        return [*self._hot(), *self._fast(), *self._busy()]

    def criteria(self) -> Dict[str, Any]:
        """For the manifest: first and last value of each, whether it held still, or why that is not known."""
        first, last = self._first, self._readings[-1] if self._readings else None
        assert first is not None and last is not None
        zones = {"first": first.zones, "last": last.zones, "unit": "°C"}
        clocks = {
            "first": {name: values[0] for name, values in first.clocks.items()},
            "last": {name: values[0] for name, values in last.clocks.items()},
            "unit": "Hz",
        }
        share = self._load()
        load = {
            "first": self._first_load,
            "last": share,
            "unit": "share",
            "runnable": {"first": first.runnable, "last": last.runnable},
        }
        return {
            "temperature": _judged(zones, self._hot(), bool(last.zones), "no thermal zone can be read here"),
            "clocks": _judged(clocks, self._fast(), bool(last.clocks), "cpufreq shows no clock here"),
            "load": _judged(load, self._busy(), share is not None, "/proc/stat cannot be read"),
        }

    def known(self) -> bool:
        """Whether anything can be read at all."""
        return bool(self._zones or self._clocks or self._stat)

    def close(self) -> None:
        """Close all files."""
        for files in (self._zones, self._stat, *self._clocks.values()):
            for descriptor in files.values():
                os.close(descriptor)
            files.clear()

    def _hot(self) -> List[str]:
        found = []
        for name in dict.fromkeys(name for reading in self._readings for name in reading.zones):
            values = [reading.zones[name] for reading in self._readings if name in reading.zones]
            third = max(1, len(values) // 3)
            fall = sum(values[:third]) / third - sum(values[-third:]) / third
            spread = max(values) - min(values)
            if spread > DEGREES:
                how = "rose" if fall < -spread / 2 else "fell" if fall > spread / 2 else "varied"
                found.append("{} {} by {:.1f} °C in {:g} s".format(name, how, spread, self._window))
            elif fall > COOLING:
                found.append("{} still cools down, by {:.1f} °C in {:g} s".format(name, fall, self._window))
        return found

    def _fast(self) -> List[str]:
        """A governor may move a clock within its limits; the limits themselves move by heat and power."""
        found = []
        for name in dict.fromkeys(name for reading in self._readings for name in reading.clocks):
            seen = [reading.clocks[name] for reading in self._readings if name in reading.clocks]
            limits = {(low, high) for _, low, high in seen}
            values = [now for now, _, _ in seen]
            inside = all(
                low is not None and high is not None and low * 0.99 <= now <= high * 1.01 for now, low, high in seen
            )
            if len(limits) > 1:
                found.append("the limits of {}'s clock changed within {:g} s".format(name, self._window))
            elif not inside and max(values) - min(values) > CLOCK_SHARE * max(values):
                found.append(
                    "{}'s clock varied from {:.0f} to {:.0f} MHz in {:g} s".format(
                        name, min(values) / 1e6, max(values) / 1e6, self._window
                    )
                )
        return found

    def _busy(self) -> List[str]:
        share = self._load()
        if share is None or share <= BUSY:
            return []
        return ["other programs used {:.0%} of the processors for {:g} s".format(share, self._window)]

    def _load(self) -> Optional[float]:
        """Share of the processors' time that others used in the window."""
        known = [reading for reading in self._readings if reading.ticks is not None]
        if len(known) < 2 or known[0].ticks is None or known[-1].ticks is None:
            return None
        busy = known[-1].ticks[0] - known[0].ticks[0]
        all_of_it = known[-1].ticks[1] - known[0].ticks[1]
        if all_of_it <= 0:
            return None
        own = (known[-1].own - known[0].own) * os.sysconf("SC_CLK_TCK")
        share = max(0.0, min(1.0, (busy - own) / all_of_it))
        if self._first_load is None:
            self._first_load = share
        return share


def wait_steady(
    most: float,
    pause: Callable[[float], None],
    announce: Callable[[str], None] = lambda line: None,
    roots: Roots = Roots(),
    clock: Callable[[], float] = time.monotonic,
) -> Dict[str, Any]:
    """Wait until all that can be read holds still, at most ``most`` seconds.

    Args:
        pause: sleeps; what it raises ends the wait.
        announce: told now and then what is still unsteady.

    Returns:
        For the manifest: ``asked``, ``waited`` and ``window`` (s), ``reached`` (None: nothing can
        be read that tells), ``unsteady`` (sentences), ``criteria``.
    """
    window = min(WINDOW, most / 2)
    watch = Watch(roots, window)
    try:
        return _wait(watch, most, window, pause, announce, clock)
    finally:
        watch.close()


def _wait(
    watch: Watch,
    most: float,
    window: float,
    pause: Callable[[float], None],
    announce: Callable[[str], None],
    clock: Callable[[], float],
) -> Dict[str, Any]:
    announce("waiting until temperatures, clocks and load are steady, at most {:g} s".format(most))
    began = now = clock()
    told = began
    unsteady: List[str] = []
    reached = False
    while True:
        watch.sample(now)
        if watch.full() or not watch.known():
            unsteady = watch.unsteady()
            reached = not unsteady
        if reached or now - began >= most - 1e-6:
            break
        if now - told >= _TELL:
            told = now
            what = "; ".join(unsteady[:3]) or "too early to tell"
            announce("not steady after {:.0f} s of at most {:g} s: {}".format(now - began, most, what))
        pause(max(0.0, min(window / SAMPLES, began + most - now)))
        now = clock()
    waited, criteria = now - began, watch.criteria()
    known = any(item["steady"] is not None for item in criteria.values())
    if not known:
        announce("whether the machine is steady is not known: it shows neither temperatures, nor clocks, nor its load")
    elif reached:
        announce("steady after {:.1f} s".format(waited))
    else:
        announce("not steady after {:.1f} s, so the run is marked: {}".format(waited, "; ".join(unsteady)))
    return {
        "asked": most,
        "waited": waited,
        "window": window,
        "reached": reached if known else None,
        "unsteady": unsteady,
        "criteria": criteria,
    }


_CLOCK_FILES = {"now": "scaling_cur_freq", "low": "scaling_min_freq", "high": "scaling_max_freq"}


def _judged(values: Dict[str, Any], unsteady: List[str], known: bool, reason: str) -> Dict[str, Any]:
    return dict(values, steady=not unsteady if known else None, unsteady=unsteady, reason="" if known else reason)


def _zone_files(sys: str) -> Dict[str, str]:
    """Zone -> file; zones of one type get their number."""
    folders = children(os.path.join(sys, "class/thermal"), "thermal_zone*")
    types = {folder: read_text(os.path.join(folder, "type")) or os.path.basename(folder) for folder in folders}
    shared = {name for name in types.values() if list(types.values()).count(name) > 1}
    number = {folder: os.path.basename(folder)[len("thermal_zone") :] for folder in folders}
    return {
        "{} {}".format(name, number[folder]) if name in shared else name: os.path.join(folder, "temp")
        for folder, name in types.items()
    }


def _policies(sys: str) -> Dict[str, str]:
    cpu = os.path.join(sys, "devices/system/cpu")
    policies = {os.path.basename(path): path for path in children(os.path.join(cpu, "cpufreq"), "policy[0-9]*")}
    return policies or {
        os.path.basename(path): os.path.join(path, "cpufreq")
        for path in children(cpu, "cpu[0-9]*")
        if os.path.isdir(os.path.join(path, "cpufreq"))
    }


def _open(files: Dict[str, str]) -> Dict[str, int]:
    opened = {}
    for name, path in files.items():
        try:
            opened[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
    return opened


def _number(descriptor: int) -> Optional[float]:
    """None: it is off (EAGAIN), gone, or no number."""
    try:
        return float(int(os.pread(descriptor, _MOST_BYTES, 0)))
    except (OSError, ValueError):
        return None


def _degrees(descriptor: int) -> Optional[float]:
    number = _number(descriptor)
    return number / 1000 if number is not None and _LOWEST <= number / 1000 <= _HIGHEST else None


def _clock(files: Dict[str, int]) -> Optional[Tuple[float, Optional[float], Optional[float]]]:
    """Clock and its limits in Hz; None: the policy's processors are off."""
    now, low, high = (_number(files[key]) if key in files else None for key in _CLOCK_FILES)
    if now is None:
        return None
    return now * 1e3, None if low is None else low * 1e3, None if high is None else high * 1e3


def _processors(descriptor: Optional[int]) -> Tuple[Optional[Tuple[float, float]], Optional[int]]:
    """Busy and all ticks of all processors since boot, and how many tasks were runnable besides this one."""
    if descriptor is None:
        return None, None
    try:
        lines = os.pread(descriptor, _STAT_BYTES, 0).split(b"\n")
        # user nice system idle iowait irq softirq steal; guest time is in user and nice already (proc_stat(5))
        values = [float(word) for word in lines[0].split()[1:9]]
        running = next((int(line.split()[1]) for line in lines if line.startswith(b"procs_running ")), None)
    except (OSError, ValueError, IndexError):
        return None, None
    if not lines[0].startswith(b"cpu ") or len(values) < 4:
        return None, None
    idle = sum(values[3:5])
    return (sum(values) - idle, sum(values)), None if running is None else max(0, running - 1)
