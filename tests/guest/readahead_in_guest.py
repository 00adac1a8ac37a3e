"""Runs in a guest: reads files of /data in known ways while kml_readahead.ko tunes; prints what it saw as JSON.

How far the kernel reads ahead is seen from outside the module: sectors that the disk reads for each page of a random
mapped read.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edgeprof.kmodule.device import Device
from edgeprof.kmodule.errors import DeviceRefused

DISK = "kml_disk"
QUEUE = Path("/sys/block", DISK, "queue")
PARAMETERS = Path("/sys/module/kml_readahead/parameters")
REPORTS = Path("/sys/kernel/debug/kml_readahead")
PAGE = 4096


def sectors() -> int:
    return int(Path("/sys/block", DISK, "stat").read_text().split()[2])


def read_ahead_kb() -> int:
    return int((QUEUE / "read_ahead_kb").read_text())


def counters() -> dict[str, int]:
    lines = (REPORTS / "counters").read_text().splitlines()
    return {name: int(value) for name, value in map(str.split, lines)}


def device() -> dict[str, str]:
    """What the module says of the disk."""
    names, *lines = (REPORTS / "devices").read_text().splitlines()
    return dict(zip(names.split(), lines[0].split(), strict=True))


def given(path: str) -> tuple[int, bool]:
    """KiB that the module has for a file, and whether it is the file's own."""
    inode = Path(path).stat().st_ino
    for line in (REPORTS / "files").read_text().splitlines()[1:]:
        _, _, number, kib, own, *_ = line.split()
        if int(number) == inode:
            return int(kib), own == "1"
    return 0, False


def set_parameter(name: str, value: str) -> str:
    """What the kernel says to it: a name of errno, or nothing."""
    file = os.open(PARAMETERS / name, os.O_WRONLY)
    try:
        os.write(file, value.encode() + b"\n")
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        os.close(file)
    return ""


def load_module(*parameters: str) -> int:
    return subprocess.run(["insmod", "/kml_readahead.ko", *parameters], stderr=subprocess.DEVNULL).returncode


def load_model(name: str) -> str:
    with Device() as device:
        try:
            device.load(device.find("kml-readahead"), Path("/", name).read_bytes())
        except DeviceRefused as refused:
            return errno.errorcode[refused.number]
    return ""


class Mapped:
    """A file that is only mapped: its descriptor is closed."""

    def __init__(self, path: str, advice: int | None = None) -> None:
        self.path = path
        file = os.open(path, os.O_RDONLY)
        if advice is not None:
            os.posix_fadvise(file, 0, 0, advice)
        self._map = mmap.mmap(file, 0, prot=mmap.PROT_READ)
        os.close(file)
        self._random = random.Random(1)

    def touch(self, count: int = 150) -> float:
        """Read pages anywhere in the file; sectors that the disk read for each."""
        self._map.madvise(mmap.MADV_DONTNEED)
        Path("/proc/sys/vm/drop_caches").write_text("1")
        before = sectors()
        for _ in range(count):
            self._map[self._random.randrange(len(self._map))]
        return (sectors() - before) / count

    def touch_until(self, holds: Callable[[], bool], most: int = 20) -> bool:
        for _ in range(most):
            self.touch()
            if holds():
                return True
        return False


def read_on(path: str, seconds: list[float] | None = None) -> None:
    """Read a whole file from its beginning."""
    Path("/proc/sys/vm/drop_caches").write_text("1")
    begun = time.monotonic()
    file = os.open(path, os.O_RDONLY)
    while os.read(file, 128 << 10):
        pass
    os.close(file)
    if seconds is not None:
        seconds.append(time.monotonic() - begun)


def read_on_until(path: str, holds: Callable[[], bool], most: int = 12) -> bool:
    for _ in range(most):
        read_on(path)
        if holds():
            return True
    return False


def in_a_new_process(work: Callable[[], float]) -> float:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, str(work()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return float(os.read(reader, 100))


def without_model(seen: dict[str, object]) -> None:
    load_module(f"devices={DISK}", "mode=act", "interval_ms=50", "calm=2")
    mapped = Mapped("/data/random")
    mapped.touch_until(lambda: counters()["without_model"] > 2)
    seen["without_model"] = {**counters(), "sectors": mapped.touch(), "read_ahead_kb": read_ahead_kb()}
    seen["refused_model"] = load_model("other.kml")
    subprocess.run(["rmmod", "kml_readahead"], check=True)


def tuned(seen: dict[str, object]) -> None:
    """Observe, act, stop: random and sequential files, one that has chosen for itself, and one that is opened anew."""
    load_module(f"devices={DISK}", "interval_ms=50")
    seen["default_mode"] = (PARAMETERS / "mode").read_text()
    load_model("rule.kml")
    mapped, advised = Mapped("/data/random"), Mapped("/data/advised", os.POSIX_FADV_SEQUENTIAL)
    by_default: list[float] = []
    read_on("/data/sequential", by_default)
    mapped.touch_until(lambda: counters()["wanted"] > 0)
    seen["observe"] = {**counters(), "sectors": mapped.touch(), "read_ahead_kb": read_ahead_kb()}

    set_parameter("mode", "act")
    seen["advised_before"] = advised.touch()
    advised.touch_until(lambda: counters()["files_left"] > 0)
    seen["advised"] = advised.touch()
    adapted = mapped.touch_until(lambda: given(mapped.path) == (8, True))
    seen["random"] = {"adapted": adapted, "sectors": mapped.touch(), "device_kb": read_ahead_kb()}
    seen["reopened"] = in_a_new_process(lambda: Mapped("/data/random").touch(60))
    adapted = read_on_until("/data/sequential", lambda: given("/data/sequential")[0] == 1024)
    with_tuning: list[float] = []
    read_on("/data/sequential", with_tuning)
    seen["sequential"] = {"adapted": adapted, "default_s": by_default[0], "tuned_s": with_tuning[0]}
    seen["act"] = counters()

    set_parameter("mode", "observe")
    seen["restored"] = {**counters(), "sectors": mapped.touch(), "read_ahead_kb": read_ahead_kb()}
    set_parameter("mode", "act")
    mapped.touch_until(lambda: given(mapped.path) == (8, True))
    seen["random_again"] = mapped.touch()
    (QUEUE / "read_ahead_kb").write_text("64")  # an administrator's choice
    mapped.touch_until(lambda: given(mapped.path) == (8, True))
    seen["random_after_choice"] = mapped.touch()
    subprocess.run(["rmmod", "kml_readahead"], check=True)
    seen["unloaded"] = {"sectors": mapped.touch(), "read_ahead_kb": read_ahead_kb()}
    (QUEUE / "read_ahead_kb").write_text("128")


def harmful(seen: dict[str, object]) -> None:
    """A model that is wrong is overruled by what its answers led to."""
    load_module(f"devices={DISK}", "mode=act", "interval_ms=50", "calm=1")
    load_model("largest.kml")
    mapped = Mapped("/data/random")
    mapped.touch_until(lambda: counters()["taken_back"] > 0)
    seen["harmful"] = {**counters(), "kib": given(mapped.path)[0], "sectors": mapped.touch()}
    subprocess.run(["rmmod", "kml_readahead"], check=True)


def bounds(seen: dict[str, object]) -> None:
    load_module(f"devices={DISK}", "interval_ms=50", "files=16")
    load_model("rule.kml")
    for number in range(200):
        Path(f"/data/small-{number}").read_bytes()
    seen["many_files"] = {**device(), "kept": len((REPORTS / "files").read_text().splitlines()) - 1}
    seen["refused"] = {
        f"{name}={value}": set_parameter(name, value)
        for name, value in (
            *(("mode", "fast"), ("mode", ""), ("interval_ms", "0"), ("interval_ms", "x"), ("calm", "101")),
            *(("devices", "nothing"), ("devices", "null"), ("devices", f"{DISK},{DISK}"), ("devices", "x" * 300)),
            *(("devices", "x" * 40), ("devices", "../data")),
        )
    }
    seen["devices_after"] = (PARAMETERS / "devices").read_text()
    seen["none"] = set_parameter("devices", ""), (PARAMETERS / "devices").read_text()
    subprocess.run(["rmmod", "kml_readahead"], check=True)
    wrong = (["devices=nothing"], [f"devices={DISK}", "mode=fast"], ["files=3"])
    seen["insmod_refused"] = [load_module(*parameters) for parameters in wrong]


def background() -> list[int]:
    """Processes that read for ever: at random through a mapping, and on."""
    children = []
    for work in (lambda: Mapped("/data/random").touch(50), lambda: read_on("/data/sequential")):
        child = os.fork()
        if not child:
            try:
                while True:
                    work()
            finally:
                os._exit(1)
        children.append(child)
    return children


def under_load(seen: dict[str, object]) -> None:
    children = background()
    for turn in range(2):
        load_module(f"devices={DISK}", "mode=act", "interval_ms=10", "calm=1")
        load_model("rule.kml")
        for switch in range(20):
            set_parameter("mode", ("off", "act", "observe", "act")[switch % 4])
            if switch % 5 == 4:
                set_parameter("devices", "")
                set_parameter("devices", DISK)
            time.sleep(0.03)
        subprocess.run(["rmmod", "kml_readahead"], check=True)
        seen[f"turn-{turn}"] = read_ahead_kb()
    load_module(f"devices={DISK}", "mode=act", "interval_ms=20", "calm=1")
    load_model("rule.kml")
    time.sleep(0.5)
    seen["before_removal"] = counters()
    Path("/sys/kernel/debug/kml_disk/remove").write_text("1")
    time.sleep(0.3)
    alive = [child for child in children if not os.waitpid(child, os.WNOHANG)[0]]
    seen["alive"] = alive
    for child in alive:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    seen["gone"] = device()["gone"]
    seen["gone_refused"] = set_parameter("devices", DISK)
    subprocess.run(["rmmod", "kml_readahead"], check=True)


def main(parts: list[str]) -> None:
    seen: dict[str, object] = {}
    everything = {part.__name__: part for part in (without_model, tuned, harmful, bounds, under_load)}
    for part in parts:
        everything[part](seen)
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
