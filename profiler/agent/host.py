"""Facts about the machine that could explain a difference between two runs later; unknown ones are null."""

import os
import platform
import re
import time
from typing import Any, Dict, List, Optional

from edgeprof.collectors.base import Roots
from edgeprof.profiler.agent.board import identify

_VM_KNOBS = (
    "swappiness",
    "dirty_ratio",
    "dirty_background_ratio",
    "dirty_expire_centisecs",
    "vfs_cache_pressure",
    "overcommit_memory",
)
_MEM_TOTAL = re.compile(r"MemTotal:\s+\d+ kB")
_QUEUE_KNOBS = ("scheduler", "read_ahead_kb", "nr_requests", "rotational", "wbt_lat_usec", "logical_block_size")


def read_text(path: str) -> Optional[str]:
    """A small file's text without trailing space or NUL, or None when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(65536).decode("utf-8", "replace").strip("\0 \t\n")
    except OSError:
        return None


def _number(text: Optional[str]) -> Optional[int]:
    try:
        return int(text) if text else None
    except ValueError:
        return None


def clock_triplet(at: str) -> Dict[str, Any]:
    """MONOTONIC, BOOTTIME and REALTIME read together, ns; ``error_ns`` bounds how far apart they were read."""
    best: Dict[str, Any] = {}
    for _ in range(5):
        before = time.monotonic_ns()
        boottime = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        realtime = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.monotonic_ns()
        error = (after - before) // 2
        if not best or error < best["error_ns"]:
            best = {
                "at": at,
                "monotonic_ns": before + error,
                "boottime_ns": boottime,
                "realtime_ns": realtime,
                "error_ns": error,
            }
    return best


def host_facts(roots: Roots, folders: Dict[str, str]) -> Dict[str, Any]:
    """The machine: kernel, processors, memory, devices and the knobs that change I/O.

    Args:
        roots: where /proc and /sys are.
        folders: name -> path whose mount is to be described (``cwd``, ``capture``).
    """
    kernel = os.uname()
    meminfo = read_text(roots.proc + "/meminfo") or ""
    total = next((_number(line.split()[-2]) for line in meminfo.splitlines() if _MEM_TOTAL.match(line)), None)
    cpu = roots.sys + "/devices/system/cpu"
    board = identify(roots)
    return {
        "hostname": kernel.nodename,
        "kernel": kernel.release,
        "kernel_version": kernel.version,
        "machine": kernel.machine,
        "os": os_name(roots),
        "python": platform.python_version(),
        "board": board.model,
        "board_release": board.release,
        "board_identity": board.to_dict(),
        "cpus": os.cpu_count(),
        "cpu_model": _cpu_model(roots),
        "cpus_allowed": len(os.sched_getaffinity(0)),
        "memory_bytes": total * 1024 if total else None,
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "governor": read_text(cpu + "/cpu0/cpufreq/scaling_governor"),
        "smt": read_text(cpu + "/smt/active"),
        "transparent_hugepages": _chosen(read_text(roots.sys + "/kernel/mm/transparent_hugepage/enabled")),
        "vm": {knob: _number(read_text(roots.proc + "/sys/vm/" + knob)) for knob in _VM_KNOBS},
        "swaps": _swaps(roots),
        "cmdline": read_text(roots.proc + "/cmdline"),
        "virtualization": virtualization(roots),
        "devices": devices(roots),
        "mounts": {name: mount_of(path, roots) for name, path in folders.items()},
    }


def os_name(roots: Roots = Roots()) -> Optional[str]:
    """The distribution's name and version, of /etc/os-release."""
    for line in (read_text(roots.etc + "/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.split("=", 1)[1].strip('"')
    return None


def _cpu_model(roots: Roots) -> Optional[str]:
    for line in (read_text(roots.proc + "/cpuinfo") or "").splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() in ("model name", "Hardware", "Model"):
            return value.strip()
    return None


def _chosen(text: Optional[str]) -> Optional[str]:
    """The bracketed choice of a sysfs list, as in ``none [mq-deadline] kyber``."""
    if text is None or "[" not in text:
        return text
    return text.partition("[")[2].partition("]")[0]


def virtualization(roots: Roots = Roots()) -> str:
    """``container``, ``vm`` or ``bare``: where edgeprof itself runs."""
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv") or read_text("/run/systemd/container"):
        return "container"
    return "vm" if is_virtual(roots) else "bare"


def is_virtual(roots: Roots = Roots()) -> bool:
    """Whether the machine, containers apart, is a virtual one by what it says of itself."""
    for line in (read_text(roots.proc + "/cpuinfo") or "").splitlines():
        if line.startswith("flags") and " hypervisor" in line:
            return True
    if "linux,dummy-virt" in (read_text(roots.proc + "/device-tree/compatible") or ""):  # QEMU's and crosvm's on ARM
        return True
    product = read_text(roots.sys + "/class/dmi/id/product_name") or ""
    return any(name in product for name in ("KVM", "QEMU", "VirtualBox", "VMware", "Virtual Machine"))


def devices(roots: Roots = Roots()) -> Dict[str, Dict[str, Any]]:
    """``major:minor`` -> name, queue settings and size (bytes) of each disk and, by name only, each partition."""
    found: Dict[str, Dict[str, Any]] = {}
    base = roots.sys + "/block"
    try:
        names = sorted(os.listdir(base))
    except OSError:
        return found
    for name in names:
        folder = os.path.join(base, name)
        number = read_text(folder + "/dev")
        sectors = _number(read_text(folder + "/size"))
        if number is None or not sectors:
            continue  # an empty loop or zram device is no storage
        facts: Dict[str, Any] = {"name": name, "bytes": sectors * 512, "model": read_text(folder + "/device/model")}
        facts["stacked"] = _is_stacked(folder)
        for knob in _QUEUE_KNOBS:
            text = read_text("{}/queue/{}".format(folder, knob))
            facts[knob] = _chosen(text) if knob == "scheduler" else _number(text)
        found[number] = facts
        try:
            parts = sorted(part for part in os.listdir(folder) if part.startswith(name))
        except OSError:  # unplugged meanwhile
            parts = []
        for part in parts:
            part_number = read_text("{}/{}/dev".format(folder, part))
            if part_number:
                found[part_number] = {
                    "name": part,
                    "disk": name,
                    "start": _number(read_text(folder + "/" + part + "/start")),
                }
    return found


def _is_stacked(folder: str) -> bool:
    """Whether the device passes requests on: to the devices it consists of (dm, md, bcache), or to a file (loop)."""
    if os.path.exists(folder + "/loop/backing_file"):
        return True
    try:
        return bool(os.listdir(folder + "/slaves"))
    except OSError:
        return False


def mount_of(path: str, roots: Roots = Roots()) -> Dict[str, Any]:
    """File system type, mount point, options, device (``major:minor``) and source that hold ``path``."""
    answer: Dict[str, Any] = {"path": path, "file_system": None, "mount_point": None, "options": None, "device": None}
    answer["source"] = None
    real = os.path.realpath(path)
    best = ""
    for line in (read_text(roots.proc + "/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 6 or not kind:
            continue
        point = fields[4].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best = point
            answer.update(file_system=kind[0], mount_point=point, options=fields[5], device=fields[2])
            answer["source"] = kind[1].replace("\\040", " ") if len(kind) > 1 else None
    return answer


def storage_factors(facts: Dict[str, Any], memory_limit: Optional[int]) -> Dict[str, Any]:
    """The storage factors as far as the machine tells them: of the device under the working folder."""
    mount = facts["mounts"].get("cwd") or {}
    device = facts["devices"].get(mount.get("device") or "", {})
    if "disk" in device:  # a partition: its disk has the queue
        device = next((item for item in facts["devices"].values() if item["name"] == device["disk"]), device)
    ahead = device.get("read_ahead_kb")
    return {
        "format": None,
        "file_system": mount.get("file_system"),
        "device": device_kind(device["name"]) if "name" in device else None,
        "scheduler": device.get("scheduler"),
        "read_ahead": ahead * 1024 if ahead is not None else None,
        "cache": None,
        "memory_limit": memory_limit,
        "zram": _zram_swap(facts.get("swaps")),
    }


def device_kind(name: str) -> str:
    """A device's name as a factor: loop devices differ in their numbers only, which mean nothing."""
    return "loop" if re.fullmatch(r"loop\d+", name) else name


def _swaps(roots: Roots) -> Optional[List[str]]:
    """The lines of /proc/swaps below its heading; None: it cannot be read."""
    text = read_text(roots.proc + "/swaps")
    return None if text is None else text.splitlines()[1:]


def _zram_swap(swaps: Optional[List[str]]) -> Optional[int]:
    """Bytes of the swap devices that are zram, from the lines of /proc/swaps (KiB)."""
    if swaps is None:
        return None
    fields = [line.split() for line in swaps]
    return 1024 * sum(_number(item[2]) or 0 for item in fields if len(item) > 2 and "zram" in item[0])
