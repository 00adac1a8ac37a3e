"""Copies processor, GPU and memory clocks once a second, and notes the machine's power mode."""

import os
import re
from typing import Any, Dict, List, Optional

from edgeprof.collectors.base import Context, Probe, SmallFiles, Status
from edgeprof.collectors.helper import ask, find_program
from edgeprof.collectors.sysfs import children, read_number, read_text

GPU = re.compile(r"gpu|gv11b|ga10b|gp10b|gm20b|gb10b|mali", re.IGNORECASE)
MEMORY = re.compile(r"dmc|emc|ddr|bus_mem", re.IGNORECASE)

EMC_RATES = ("kernel/debug/bpmp/debug/clk/emc/rate", "kernel/debug/clk/emc/clk_rate")
GPU_LOADS = (
    ("devices", "gpu.0"),
    ("devices/platform", "gpu.0"),
    ("devices/platform/bus@0", "*.gpu"),
    ("devices/platform", "17000000.*"),
)
ASK_SECONDS = 2.0
"""A tool that describes the power mode gets this long, before or after the workload, never beside it."""

_MODE = re.compile(r"NV Power Mode: *(\S[^\n]*?)[ \t\r]*(?:\n\s*(\d{1,6}))?\s*(?:\n|$)")


class Clocks(SmallFiles):
    """Reads cpufreq, devfreq, the GPU's load and the memory controller's clock.

    Sources of frames: ``kHz:cpu0`` (one a cpufreq policy, by its first CPU), ``Hz:gpu``, ``Hz:emc``, ``Hz:NAME`` of
    other devfreq devices, ``permille:gpu``.

    ``Status.details`` holds what does not change: governors and limits (Hz), ``nvpmodel`` (name, number) and the
    text of ``jetson_clocks``.  Options: ``nvpmodel``, ``jetson_clocks`` (the programs).
    """

    name = "clocks"
    interval = 1.0

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._facts: Dict[str, Any] = {}
        self._find_cpus()
        self._find_devices()

    def _sys(self, *parts: str) -> str:
        return os.path.join(self.context.roots.sys, *parts)

    def _find_cpus(self) -> None:
        folders = children(self._sys("devices/system/cpu/cpufreq"), "policy[0-9]*")
        folders = folders or [
            os.path.join(folder, "cpufreq") for folder in children(self._sys("devices/system/cpu"), "cpu[0-9]*")
        ]
        for folder in folders:
            named = re.search(r"(?:policy|cpu)(\d+)", os.path.relpath(folder, self._sys("devices/system/cpu")))
            path = os.path.join(folder, "scaling_cur_freq")
            if named is None or not os.path.exists(path):
                continue
            domain = "cpu" + named[1]
            self._files["kHz:" + domain] = path
            self._facts[domain] = {
                "governor": read_text(os.path.join(folder, "scaling_governor")),
                "cpus": read_text(os.path.join(folder, "related_cpus")),
                "min_hz": _times(read_number(os.path.join(folder, "scaling_min_freq")), 1000),
                "max_hz": _times(read_number(os.path.join(folder, "scaling_max_freq")), 1000),
            }

    def _find_devices(self) -> None:
        for folder in children(self._sys("class/devfreq")):
            label = os.path.basename(folder)
            domain = "gpu" if GPU.search(label) else "emc" if MEMORY.search(label) else label
            path = os.path.join(folder, "cur_freq")
            if "Hz:" + domain in self._files:  # a second GPU keeps its own name
                domain = label
            if os.path.exists(path):
                self._files["Hz:" + domain] = path
                self._facts[domain] = {
                    "governor": read_text(os.path.join(folder, "governor")),
                    "min_hz": read_number(os.path.join(folder, "min_freq")),
                    "max_hz": read_number(os.path.join(folder, "max_freq")),
                }
        for rate in EMC_RATES:
            if read_number(self._sys(rate)) is not None:
                self._files.setdefault("Hz:emc", self._sys(rate))
        for folder, pattern in GPU_LOADS:
            for device in children(self._sys(folder), pattern):
                if read_number(os.path.join(device, "load")) is not None:
                    self._files.setdefault("permille:gpu", os.path.join(device, "load"))

    def probe(self) -> Probe:
        """Whether there is any clock to read."""
        if self._files:
            return Probe(True)
        return Probe(
            False,
            "this machine shows no clocks: neither cpufreq nor devfreq",
            "virtual machines have none; on a board load its cpufreq driver",
        )

    def start(self) -> None:
        """Ask for the power mode, open all, read once."""
        mode = self._ask("nvpmodel", "-q")
        if mode is not None:
            self._facts["nvpmodel"] = power_mode(mode)
        super().start()

    def _ask(self, tool: str, *arguments: str) -> Optional[str]:
        program = find_program(str(self.context.options.get(tool, tool)))
        if program is None:
            return None
        try:
            answer = ask([program, *arguments], ASK_SECONDS, {"LC_ALL": "C"})
        except OSError:
            return None
        return answer.stdout if answer.code == 0 else None

    def stop(self) -> Status:
        """Close, and ask jetson_clocks, which is too slow to run before or beside the workload."""
        if self._writer is None or self._sampler is None:
            return Status(0, 0, details=self._facts)
        self._sampler.close()
        self._writer.close()
        shown = self._ask("jetson_clocks", "--show")
        if shown is not None:
            self._facts["jetson_clocks"] = shown[:4096]
        notes: List[str] = ["{}: {}".format(*item) for item in self._sampler.missing.items()]
        notes += self._writer.notes()
        return Status(
            self._writer.records, self._writer.bytes, self._writer.lost, notes=tuple(notes), details=self._facts
        )


def power_mode(text: str) -> Dict[str, Any]:
    """Name and number of what ``nvpmodel -q`` prints: ``NV Power Mode: MAXN``, then the number on a line of its own."""
    found = _MODE.search(text)
    if found is None:
        return {"name": None, "number": None, "text": text.strip()[:200]}
    return {"name": found[1], "number": int(found[2]) if found[2] else None}


def _times(number: Optional[int], factor: int) -> Optional[int]:
    return None if number is None else number * factor


COLLECTOR = Clocks
