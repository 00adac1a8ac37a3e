"""Copies power and energy sensors while the workload runs: RAPL, hwmon, INA3221, else tegrastats."""

import os
import time
from typing import Any, Dict, List, Optional

from edgeprof.collectors.base import Collector, Context, FileSampler, FrameWriter, Probe, Status
from edgeprof.collectors.helper import HelperProcess, find_program
from edgeprof.collectors.power import capture_sensors as sensors

SLOW_NS = 1000000000 - 5000000
"""Sensors behind I2C or firmware are read once a second (less a little jitter): a value costs about 1 ms there."""

_PIPE_BYTES = 65536


class Power(Collector):
    """Samples every power rail of the machine.

    RAPL counters are read at the run's rate, all other sensors once a second.  Where /sys has no rails and the
    board has tegrastats, that tool runs beside the workload instead.

    Files: ``rails.json``, what the sources of ``power.frames`` are.

    Options: ``tegrastats`` (the program), ``battery`` (True: batteries too; asking one can cost milliseconds).
    """

    name = "power"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._rails: List[sensors.Rail] = []
        self._writer: Optional[FrameWriter] = None
        self._fast: Optional[FileSampler] = None
        self._slow: Optional[FileSampler] = None
        self._slow_due = 0
        self._tegrastats: Optional[HelperProcess] = None
        self._pipe = -1
        self._lines = 0
        self._notes: List[str] = []

    def probe(self) -> Probe:
        """Look for readable sensors, then for tegrastats."""
        found = sensors.discover(self.context.roots.sys, bool(self.context.options.get("battery")))
        self._rails = found.rails
        if self._rails:
            return Probe(True)
        if self._tool() is not None:
            return Probe(True, details={"tegrastats": self._tool()})
        if found.forbidden:
            return Probe(
                False,
                "only root may read this machine's energy counters (RAPL)",
                "run as root: `sudo edgeprof run ...`",
            )
        return Probe(
            False,
            "no power sensor here: no hwmon power or energy, no INA3221, no RAPL, no tegrastats",
            "virtual machines have none; on a board look for its power monitor's driver",
        )

    def _tool(self) -> Optional[str]:
        return find_program(str(self.context.options.get("tegrastats", "tegrastats")))

    def start(self) -> None:
        """Open the sensors and read them once, so that energy counts from the workload's start."""
        import json

        with open(os.path.join(self.context.raw, "rails.json"), "w") as file:
            json.dump([rail.described() for rail in self._rails], file)
        self._writer = FrameWriter(os.path.join(self.context.raw, "power.frames"))
        self._fast, self._slow = FileSampler(self._writer, 64), FileSampler(self._writer, 64)
        for rail in self._rails:
            sampler = self._fast if rail.fast else self._slow
            for source, path in rail.files().items():
                if not sampler.add(path, source):
                    self._notes.append("{}: {}".format(rail.name, sampler.missing[source]))
        if not self._rails:
            self._start_tegrastats(self._writer)
        self.sample(time.monotonic_ns())

    def _start_tegrastats(self, writer: FrameWriter) -> None:
        writer.source("tegrastats")
        self._pipe, end = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            stderr = os.path.join(self.context.raw, "stderr")
            argv = [str(self._tool()), "--interval", "1000"]
            self._tegrastats = HelperProcess(argv, self.context.journal, stdout=end, stderr=stderr, env={"LC_ALL": "C"})
        finally:
            os.close(end)

    def sample(self, now_ns: int) -> None:
        """Copy what the sensors say now, or what tegrastats has printed."""
        assert self._writer is not None and self._fast is not None and self._slow is not None
        self._fast.sample(now_ns)
        if now_ns >= self._slow_due:
            self._slow_due = now_ns + SLOW_NS
            self._slow.sample(now_ns)
        if self._pipe >= 0:
            self._drain(self._writer, now_ns)
        self._writer.flush()

    def last(self, now_ns: int) -> None:
        """The last sample: of the slow sensors too."""
        self._slow_due = 0
        self.sample(now_ns)

    def _drain(self, writer: FrameWriter, now_ns: int) -> None:
        try:
            text = os.read(self._pipe, _PIPE_BYTES)
        except BlockingIOError:
            return
        if text:
            writer.frame(now_ns, writer.source("tegrastats"), text)

    def stop(self) -> Status:
        """End tegrastats and take what it printed last; close."""
        details: Dict[str, Any] = {"rails": [rail.described() for rail in self._rails]}
        if self._writer is None:
            return Status(0, 0, notes=tuple(self._notes), details=details)
        for sampler in (self._fast, self._slow):
            if sampler is not None:
                sampler.close()
        if self._tegrastats is not None:
            if not self._tegrastats.alive():
                self._notes.append("tegrastats ended before the run did")
            self._tegrastats.stop()
            self._drain(self._writer, time.monotonic_ns())
            details.update(helper_pid=self._tegrastats.pid, helper_cpu_seconds=self._tegrastats.cpu_seconds)
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        self._writer.close()
        notes = (*self._notes, *self._writer.notes())
        return Status(self._writer.records, self._writer.bytes, self._writer.lost, notes=notes, details=details)


COLLECTOR = Power
