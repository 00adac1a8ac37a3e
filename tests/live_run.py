"""A capture directory that grows as the agent's does, with samples whose values are known."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edgeprof.collectors.base import FrameWriter
from edgeprof.collectors.helper import start_time
from edgeprof.collectors.phases.recorder import BEGIN, HEADER, MAGIC, RECORD, STEP, STEP_BEGIN, VERSION
from edgeprof.profiler.agent.journal import boot_id

START_NS = 7_000_000_000_000
MB = 1_000_000
PRESSURE = "some avg10=0.00 avg60=0.00 avg300=0.00 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


def partial(**changes: Any) -> dict[str, Any]:
    """The manifest of a run that this process captures on this machine."""
    content: dict[str, Any] = {
        "schema": 1,
        "run": {"id": "live", "name": "demo", "command": ["python", "train.py"], "start_ns": START_NS},
        "host": {"page_bytes": 4096, "devices": {"7:0": {"name": "loop0", "stacked": True}}},
        "processes": {"agent": os.getpid(), "agent_start": start_time(os.getpid()), "boot_id": boot_id()},
    }
    return {**content, **changes}


class LiveRun:
    """A run in progress in ``path``; what is sampled reaches its files at once."""

    def __init__(self, path: Path, manifest: dict[str, Any] | None = None) -> None:
        self.path = path
        self._writers: dict[str, FrameWriter] = {}
        (path / "raw" / "phases").mkdir(parents=True)
        self.write(path, manifest or partial())

    @staticmethod
    def write(path: Path, manifest: dict[str, Any]) -> None:
        """Write the manifest of a run that has begun."""
        (path / "manifest.partial.json").write_text(json.dumps(manifest))

    def sample(self, file: str, seconds: float, **sources: bytes | str) -> None:
        """Frames of one moment, of ``raw/FILE.frames``; a source's name has ``__`` for / and ``_DOT_`` for a dot."""
        writer = self.writer(file)
        for name, payload in sources.items():
            source = writer.source(name.replace("__", "/").replace("_DOT_", "."))
            writer.frame(
                START_NS + round(seconds * 1e9), source, payload.encode() if isinstance(payload, str) else payload
            )
        writer._write()

    def writer(self, file: str) -> FrameWriter:
        """The writer of ``raw/FILE.frames``."""
        if file not in self._writers:
            target = self.path / "raw" / f"{file}.frames"
            target.parent.mkdir(exist_ok=True)
            self._writers[file] = FrameWriter(str(target))
        return self._writers[file]

    def cgroup_v2(self, seconds: float) -> None:
        """A second of 1.5 CPUs, 3 MB read and 2 MB written (through a loop device), and a quarter waited for I/O."""
        self.sample(
            "cgroup/samples",
            seconds,
            unified__cpu_DOT_stat=f"usage_usec {round(seconds * 1.5e6)}\nuser_usec 1\n",
            unified__memory_DOT_current=f"{round(100 * MB + seconds * MB)}\n",
            unified__memory_DOT_max=f"{512 * MB}\n",
            unified__io_DOT_stat="".join(
                f"{device} rbytes={round(seconds * 3 * MB)} wbytes={round(seconds * 2 * MB)} rios=1 wios=1\n"
                for device in ("254:0", "7:0")
            ),
            unified__io_DOT_pressure=PRESSURE.format(round(seconds * 250_000)),
            unified__memory_DOT_pressure=PRESSURE.format(0),
        )

    def process(self, seconds: float, pid: int, read: int, cpu: float = 0.0, rss_pages: int = 1000) -> None:
        """A process's stat and io at a moment: bytes read and CPU seconds so far."""
        fields = ["S", "1", *["0"] * 9, str(round(cpu * 100)), "0", *["0"] * 6, "99", "4096", str(rss_pages), "0", "0"]
        stat = f"{pid} (python) {' '.join(fields)}\n"
        io = f"rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: {read}\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"
        self.sample("procfs/samples", seconds, **{f"process__{pid}__stat": stat, f"process__{pid}__io": io})

    def steps(
        self,
        ends: list[float],
        pid: int = 42,
        begins: dict[int, float] | None = None,
        names: list[str] | None = None,
        phase: str = "load",
    ) -> None:
        """A record file, with room in reserve as recorders leave it; ``begins``: starts of steps that are dated."""
        records = [RECORD.pack(START_NS, 0.0, pid, phase.encode(), len(phase), BEGIN)]
        for number, end in enumerate(ends):
            if begins and number in begins:
                records.append(RECORD.pack(START_NS + round(begins[number] * 1e9), 0.0, pid, b"", 0, STEP_BEGIN))
            name = names[number].encode() if names else b""
            records.append(RECORD.pack(START_NS + round(end * 1e9), 8.0, pid, name, len(name), STEP))
        header = HEADER.pack(MAGIC, VERSION, 64, pid, 1, START_NS, 0, 0, START_NS)
        target = self.path / "raw" / "phases" / f"{pid}-1.bin"
        target.write_bytes(header + b"".join(records) + bytes(64 * 1000))

    def end(self) -> None:
        """The agent has written its final manifest."""
        (self.path / "manifest.partial.json").rename(self.path / "manifest.json")
