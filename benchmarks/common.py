"""What the benchmarks share: the machine's description, figures with their spread, Markdown tables."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EDGEPROF = str(Path(sys.executable).parent / "edgeprof")


def machine() -> str:
    """One sentence on the machine, from /proc and uname."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor() or "unknown processor",
    )
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    gib = int(memory.split()[1]) / 2**20
    virtual = "a virtual machine" if " hypervisor" in Path("/proc/cpuinfo").read_text() else "bare metal"
    return (
        f"{model}, {os.cpu_count()} CPUs, {gib:.0f} GiB of memory, {virtual}, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def spread(values: Sequence[float], digits: int = 2, scale: float = 1.0) -> str:
    """``median (least to largest)`` of repeats."""
    if not values:
        return "not measured"
    numbers = [value * scale for value in values]
    middle = f"{statistics.median(numbers):.{digits}f}"
    return middle if len(numbers) == 1 else f"{middle} ({min(numbers):.{digits}f} to {max(numbers):.{digits}f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def progress(text: str) -> None:
    """Say on standard error what goes on."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def loop_device(folder: Path, size: int) -> Iterator[str]:
    """A loop device over a fresh file; needs root.  It and its file are gone afterwards."""
    image = folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(size)
    device = subprocess.run(
        ["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
        image.unlink()
