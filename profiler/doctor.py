"""What a machine can capture: facts that decide it, and each collector's own probe."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeprof.collectors import registry
from edgeprof.collectors.base import Context, Probe, Roots
from edgeprof.profiler.agent.cgroups import V2_CONTROLLERS, Hierarchy, hierarchies
from edgeprof.profiler.agent.host import read_text, virtualization

LOW_SPACE = 1 << 30
"""Free bytes below which a long run may fill the disk: the default budget allows up to 14 GB an hour."""

SUDO = "run as root: sudo edgeprof run -- COMMAND"
_TOOLS = {
    "perf": ("counters of the run's tasks", "apt-get install linux-perf (Ubuntu: linux-tools-generic)"),
    "blktrace": ("the block collector's back end blktrace", "apt-get install blktrace"),
}


@dataclass(frozen=True)
class Check:
    """One fact: ``good`` is None where it is neither good nor bad; ``remedy`` says what would help."""

    name: str
    value: str
    good: bool | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Examination:
    """All facts and probes of a machine."""

    machine: list[Check]
    collectors: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"machine": [asdict(check) for check in self.machine], "collectors": self.collectors}


def examine(folder: Path, roots: Roots = Roots()) -> Examination:
    """Look at this machine without changing it; a check that fails says so and stops no other.

    Args:
        folder: where runs would be kept, for its free space.
        roots: where /proc, /sys and /dev are.
    """
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("kernel", _kernel),
        ("machine", lambda: _machine(roots)),
        ("user", _user),
        ("cgroups", lambda: _cgroups(roots)),
        ("tracefs", lambda: _tracefs(roots)),
        ("perf events", lambda: _perf_events(roots)),
        ("lockdown", lambda: _lockdown(roots)),
        ("pressure", lambda: _pressure(roots)),
        *((tool, lambda tool=tool: _tool(tool)) for tool in _TOOLS),
        ("space", lambda: _space(folder)),
    ]
    return Examination([_guarded(name, check) for name, check in checks], probe_collectors(roots))


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (OSError, ValueError, IndexError) as error:
        return Check(name, f"cannot be told: {error}", None)


def _kernel() -> Check:
    kernel = os.uname()
    return Check("kernel", f"{kernel.sysname} {kernel.release} {kernel.machine}, Python {platform.python_version()}")


def _machine(roots: Roots) -> Check:
    meminfo = read_text(roots.proc + "/meminfo") or ""
    total = next((int(line.split()[1]) for line in meminfo.splitlines() if line.startswith("MemTotal:")), None)
    memory = f"{total * 1024 / 1e9:.1f} GB of memory" if total else "memory not known"
    board = read_text(roots.proc + "/device-tree/model")
    place = {"bare": "bare metal", "vm": "virtual machine"}.get(virtualization(roots), virtualization(roots))
    return Check("machine", ", ".join(filter(None, (board, place, f"{os.cpu_count()} CPUs", memory))))


def _user() -> Check:
    if os.geteuid() == 0:
        return Check("user", "root", True)
    return Check("user", f"uid {os.geteuid()}, not root: no tracing and maybe no cgroup", False, SUDO)


def _cgroups(roots: Roots) -> Check:
    found = hierarchies(roots)
    if not found:
        return Check("cgroups", "none mounted", False, "mount -t cgroup2 none /sys/fs/cgroup")
    versions = {item.version for item in found}
    kind = {frozenset({1}): "v1", frozenset({2}): "v2"}.get(frozenset(versions), "v1 and v2 (hybrid)")
    controllers = sorted({name for item in found for name in _controllers(item)})
    value = f"{kind}, controllers: {', '.join(controllers) or 'none'}"
    if not any(os.access(item.home, os.W_OK) for item in found):
        remedy = f"{SUDO}; or: systemd-run --user --scope -p Delegate=yes edgeprof run -- COMMAND"
        return Check("cgroups", f"{value}; this user may not make one", False, remedy)
    return Check("cgroups", value, True)


def _controllers(item: Hierarchy) -> tuple[str, ...]:
    if item.version == 1:
        return item.controllers
    present = (read_text(item.mount + "/cgroup.controllers") or "").split()
    return tuple(name for name in V2_CONTROLLERS if name in present)


def _tracefs(roots: Roots) -> Check:
    for path in (roots.sys + "/kernel/tracing", roots.sys + "/kernel/debug/tracing"):
        if os.access(path + "/instances", os.W_OK):
            return Check("tracefs", f"{path}, instances can be made", True)
    if os.geteuid() != 0:
        return Check("tracefs", "this user may not read it", False, SUDO)
    if Path(roots.sys, "kernel/tracing").is_dir():
        return Check("tracefs", "not mounted", False, "mount -t tracefs tracefs /sys/kernel/tracing")
    return Check("tracefs", "the kernel has none", False, "use a kernel with CONFIG_FTRACE")


def _perf_events(roots: Roots) -> Check:
    text = read_text(roots.proc + "/sys/kernel/perf_event_paranoid")
    if text is None:
        return Check("perf events", "the kernel has none", False, "use a kernel with CONFIG_PERF_EVENTS")
    value = f"perf_event_paranoid is {text}"
    if os.geteuid() != 0 and int(text) > 2:
        return Check("perf events", f"{value}: only root may count", False, "sysctl kernel.perf_event_paranoid=1")
    return Check("perf events", value, True)


def _lockdown(roots: Roots) -> Check:
    text = read_text(roots.sys + "/kernel/security/lockdown")
    if text is None:
        remedy = "as root: mount -t securityfs securityfs /sys/kernel/security"
        return Check("lockdown", "not known: securityfs is not mounted, or the kernel has no lockdown", None, remedy)
    if "[none]" in text:
        return Check("lockdown", "off", True)
    mode = text.split("[", 1)[1].split("]", 1)[0]
    effect = "blktrace is refused its relay files; tracefs works" if mode == "integrity" else "tracing is refused"
    return Check("lockdown", f"{mode}: {effect}", mode == "integrity", "boot with lockdown=none to lift it")


def _pressure(roots: Roots) -> Check:
    if read_text(roots.proc + "/pressure/io") is None:
        return Check("pressure", "no pressure stall information", False, "boot with psi=1 (kernel with CONFIG_PSI)")
    return Check("pressure", "pressure stall information is on", True)


def _tool(name: str) -> Check:
    search = os.pathsep.join(
        filter(None, (os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    )
    path = shutil.which(name, path=search)
    use, remedy = _TOOLS[name]
    return Check(name, f"{path}, for {use}", True) if path else Check(name, f"not found; for {use}", False, remedy)


def _space(folder: Path) -> Check:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    space = os.statvfs(place)
    free = space.f_bavail * space.f_frsize
    value = f"{free / 1e9:.1f} GB free for {folder.absolute()}"
    if not os.access(place, os.W_OK):
        return Check("space", f"{place} cannot be written", False, "name another folder with --output")
    return Check("space", value, free >= LOW_SPACE, "" if free >= LOW_SPACE else "free some, or name another folder")


def probe_collectors(roots: Roots = Roots()) -> list[dict[str, Any]]:
    """Each collector's name, whether it can run here, and if not why and what would help."""
    groups = _likely_cgroups(roots)
    with tempfile.TemporaryDirectory(prefix="edgeprof-doctor-") as raw:
        shared: dict[str, Any] = {}
        return [_probe(name, raw, roots, groups, shared) for name in registry.NAMES]


def _likely_cgroups(roots: Roots) -> dict[str, str]:
    """Controllers for which a run could get a cgroup, with the folder it would lie below."""
    try:
        found = hierarchies(roots)
    except (OSError, ValueError):
        return {}
    usable = [item for item in found if os.access(item.home, os.W_OK)]
    return {name: item.home for item in usable for name in (item.controllers or ("unified",))}


def _probe(name: str, raw: str, roots: Roots, groups: dict[str, str], shared: dict[str, Any]) -> dict[str, Any]:
    try:
        context = Context(raw=raw, roots=roots, pid=os.getpid(), cgroups=groups, deep=True, shared=shared)
        answer = registry.load(name)(context).probe()
    except Exception as error:  # one collector's bug must not hide what the others say
        answer = Probe(False, f"its probe failed: {error!r}", "report this as a bug in edgeprof")
    return {"name": name, **answer._asdict()}
