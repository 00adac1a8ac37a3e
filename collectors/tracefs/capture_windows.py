"""When tracing is on: an allowance of bytes and CPU time, and the windows that hold it (capture set)."""

import os
import struct
import time
from typing import Optional

from edgeprof.collectors.tracefs.capture_files import create

WINDOW = struct.Struct("<QQ")
"""A record of windows.bin: begin, end, CLOCK_MONOTONIC ns; end 0: not known (yet)."""

BURST_SECONDS = 2.0
"""An idle trace may save this much of its allowance."""

_LEAST_BURST_BYTES = 256 << 10
OTHERS_SHARE = 0.005
"""Share of a core that the other collectors need at 10 Hz (0.3 to 0.5 % on a small VM); moving trace data gets what
the budget leaves, but at least half of it."""

_GOLDEN = 0.618034


class Allowance:
    """A token bucket counted in seconds: what was moved costs the time it takes to earn it.

    Args:
        bytes_per_second: raw bytes that may be written on average.
        cpu_share: share of one core that the agent may use; None: not limited.
    """

    def __init__(self, bytes_per_second: float, cpu_share: Optional[float], now_ns: int) -> None:
        self._bytes = max(bytes_per_second, 1.0)
        self._cpu = max(cpu_share - OTHERS_SHARE, cpu_share / 2) if cpu_share else None
        self.burst = max(BURST_SECONDS, _LEAST_BURST_BYTES / self._bytes)
        self.seconds = self.burst
        self._at = now_ns

    def refill(self, now_ns: int) -> None:
        """Earn the time since the last call."""
        self.seconds = min(self.burst, self.seconds + max(0, now_ns - self._at) / 1e9)
        self._at = now_ns

    def charge(self, count: int, cpu_ns: int) -> None:
        """Pay for bytes moved and the CPU time it took, whichever is dearer."""
        cost = count / self._bytes
        if self._cpu is not None:
            cost = max(cost, cpu_ns / 1e9 / self._cpu)
        self.seconds -= cost


class Windows:
    """Switches an instance's tracing on and off and writes down when it was on.

    Between its ``begin`` and ``end`` a window holds every event: ``begin`` is taken after the switch,
    ``end`` before it.

    Attributes:
        open: whether tracing is on.
        count: windows opened so far.
        observed_ns: time spent in windows that have ended.
    """

    def __init__(self, instance: str, folder: str) -> None:
        self._switch = os.open(os.path.join(instance, "tracing_on"), os.O_WRONLY | os.O_CLOEXEC)
        os.pwrite(self._switch, b"0", 0)
        self._file = create(os.path.join(folder, "windows.bin"))
        self._begin = 0
        self.open = False
        self.count = 0
        self.observed_ns = 0

    def due(self, allowance: Allowance) -> bool:
        """Whether enough has been saved for the next window.

        The golden ratio spreads the pauses' lengths, so that windows do not keep step with the workload.
        """
        return allowance.seconds >= allowance.burst * (0.5 + 0.5 * (self.count * _GOLDEN % 1.0))

    def begin(self) -> None:
        """Switch tracing on.  Raises OSError."""
        os.pwrite(self._switch, b"1", 0)
        self.open = True
        self.count += 1
        self._begin = time.monotonic_ns()
        os.write(self._file, WINDOW.pack(self._begin, 0))

    def end(self) -> None:
        """Switch tracing off; harmless when it is.  Raises OSError."""
        if not self.open:
            return
        end = time.monotonic_ns()
        os.pwrite(self._switch, b"0", 0)
        self.open = False
        self.observed_ns += end - self._begin
        os.write(self._file, WINDOW.pack(self._begin, end))

    def close(self) -> None:
        """Close the files; the instance cannot be removed before."""
        os.close(self._switch)
        os.close(self._file)
