"""What a machine can capture: which board it is, facts that decide it, its sensors, and each collector's own probe.

Capture set: it runs on a board, too.
"""

import os
import platform
import shutil
import tempfile
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from edgeprof.collectors import registry
from edgeprof.collectors.base import Context, Probe, Roots
from edgeprof.profiler.agent import power_mode
from edgeprof.profiler.agent.board import Board, identify
from edgeprof.profiler.agent.cgroups import V2_CONTROLLERS, Hierarchy, hierarchies
from edgeprof.profiler.agent.doctor_sensors import AS_ROOT, Sensor, sensors
from edgeprof.profiler.agent.host import os_name, read_text, virtualization

LOW_SPACE = 1 << 30
"""Free bytes below which a long run may fill the disk: the default budget allows up to 14 GB an hour."""

OUTSIDE = "run edgeprof outside, with --isolation container; or start this container with "
_TOOLS = {
    "perf": ("counters of the run's tasks", "apt-get install linux-perf (Ubuntu: linux-tools-generic)"),
    "blktrace": ("the block collector's back end blktrace", "apt-get install blktrace"),
}


class Check(NamedTuple):
    """One fact: ``good`` is None where it is neither good nor bad; ``remedy`` says what would help."""

    name: str
    value: str
    good: Optional[bool] = None
    remedy: str = ""


class Examination(NamedTuple):
    """All facts and probes of a machine.

    ``board`` holds what `board.Board` does, and ``name``, ``system`` (its release for a person), ``power_mode`` (see
    `power_mode.PowerMode`; None: there is none) and ``power_modes`` (those that can be set).
    """

    board: Dict[str, Any]
    machine: List[Check]
    sensors: List[Sensor]
    collectors: List[Dict[str, Any]]

    def to_dict(self) -> Dict[str, Any]:
        """As plain JSON values."""
        return {
            "board": self.board,
            "machine": [check._asdict() for check in self.machine],
            "sensors": [sensor._asdict() for sensor in self.sensors],
            "collectors": self.collectors,
        }


def examine(folder: str, roots: Roots = Roots(), tools: power_mode.Tools = power_mode.Tools()) -> Examination:
    """Look at this machine without changing it; a check that fails says so and stops no other.

    Args:
        folder: where runs would be kept, for its free space.
        roots: where /proc, /sys, /dev and /etc are.
        tools: what is asked for the power mode.
    """
    board = identify(roots)
    collectors = probe_collectors(roots)
    checks: List[Tuple[str, Callable[[], Check]]] = [
        ("kernel", _kernel),
        ("machine", lambda: _machine(roots)),
        ("user", _user),
        ("cgroups", lambda: _cgroups(roots, board)),
        ("tracefs", lambda: _tracefs(roots)),
        ("perf events", lambda: _perf_events(roots)),
        ("lockdown", lambda: _lockdown(roots)),
        ("pressure", lambda: _pressure(roots)),
    ]
    checks += [(tool, lambda tool=tool: _tool(tool)) for tool in _TOOLS]  # type: ignore[misc]
    checks += [("space", lambda: _space(folder))]
    machine = [_guarded(name, check) for name, check in checks]
    return Examination(_board(board, roots, tools), machine, sensors(roots, board, collectors), collectors)


def _board(board: Board, roots: Roots, tools: power_mode.Tools) -> Dict[str, Any]:
    mode = power_mode.read(roots, tools)
    return dict(
        board.to_dict(),
        name=board.name(),
        system=", ".join(filter(None, (board.system(), os_name(roots)))) or None,
        power_mode=mode.described() if mode else None,
        power_modes=power_mode.available(roots, tools),
    )


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (OSError, ValueError, IndexError) as error:
        return Check(name, "cannot be told: {}".format(error), None)


def _kernel() -> Check:
    kernel = os.uname()
    python = platform.python_version()
    return Check("kernel", "{} {} {}, Python {}".format(kernel.sysname, kernel.release, kernel.machine, python))


def _machine(roots: Roots) -> Check:
    meminfo = read_text(roots.proc + "/meminfo") or ""
    total = next((int(line.split()[1]) for line in meminfo.splitlines() if line.startswith("MemTotal:")), None)
    memory = "{:.1f} GB of memory".format(total * 1024 / 1e9) if total else "memory not known"
    place = {"bare": "bare metal", "vm": "virtual machine"}.get(virtualization(roots), virtualization(roots))
    return Check("machine", ", ".join((place, "{} CPUs".format(os.cpu_count()), memory)))


def _user() -> Check:
    if os.geteuid() == 0:
        return Check("user", "root", True)
    value = "uid {}, not root: no tracing and maybe no cgroup".format(os.geteuid())
    return Check("user", value, False, AS_ROOT)


def _cgroups(roots: Roots, board: Board) -> Check:
    found = hierarchies(roots)
    if not found:
        return Check("cgroups", "none mounted", False, "mount -t cgroup2 none /sys/fs/cgroup")
    versions = {item.version for item in found}
    kind = {frozenset({1}): "v1", frozenset({2}): "v2"}.get(frozenset(versions), "v1 and v2 (hybrid)")
    controllers = sorted({name for item in found for name in _controllers(item)})
    value = "{}, controllers: {}".format(kind, ", ".join(controllers) or "none")
    if not any(os.access(item.home, os.W_OK) for item in found):
        remedy = AS_ROOT + "; or: systemd-run --user --scope -p Delegate=yes edgeprof run -- COMMAND"
        if os.geteuid() == 0 and virtualization(roots) == "container":
            remedy = OUTSIDE + "--cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:rw"
        return Check("cgroups", value + "; this user may not make one", False, remedy)
    if "memory" not in controllers:
        file = "/boot/firmware/cmdline.txt" if board.kind == "raspberry-pi" else "the kernel's command line"
        remedy = "add cgroup_enable=memory cgroup_memory=1 to {}, and reboot".format(file)
        return Check("cgroups", value + "; memory is not accounted", False, remedy)
    return Check("cgroups", value, True)


def _controllers(item: Hierarchy) -> Tuple[str, ...]:
    if item.version == 1:
        return item.controllers
    present = (read_text(item.mount + "/cgroup.controllers") or "").split()
    return tuple(name for name in V2_CONTROLLERS if name in present)


def _tracefs(roots: Roots) -> Check:
    for path in (roots.sys + "/kernel/tracing", roots.sys + "/kernel/debug/tracing"):
        if os.access(path + "/instances", os.W_OK):
            return Check("tracefs", path + ", instances can be made", True)
    if os.geteuid() != 0:
        return Check("tracefs", "this user may not read it", False, AS_ROOT)
    if virtualization(roots) == "container":
        remedy = OUTSIDE + "--cap-add SYS_ADMIN -v /sys/kernel/tracing:/sys/kernel/tracing"
        return Check("tracefs", "not in this container", False, remedy)
    if os.path.isdir(roots.sys + "/kernel/tracing"):
        return Check("tracefs", "not mounted; each run mounts it for itself", True)
    return Check("tracefs", "the kernel has none", False, "use a kernel with CONFIG_FTRACE")


def _perf_events(roots: Roots) -> Check:
    text = read_text(roots.proc + "/sys/kernel/perf_event_paranoid")
    if text is None:
        return Check("perf events", "the kernel has none", False, "use a kernel with CONFIG_PERF_EVENTS")
    value = "perf_event_paranoid is " + text
    if os.geteuid() != 0 and int(text) > 2:
        return Check("perf events", value + ": only root may count", False, "sysctl kernel.perf_event_paranoid=1")
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
    value = "{}: {}".format(mode, effect)
    return Check("lockdown", value, mode == "integrity", "boot with lockdown=none to lift it")


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
    if path is None:
        return Check(name, "not found; for " + use, False, remedy)
    return Check(name, "{}, for {}".format(path, use), True)


def _space(folder: str) -> Check:
    wanted = os.path.abspath(folder)
    place = wanted
    while not os.path.exists(place):
        place = os.path.dirname(place)
    space = os.statvfs(place)
    free = space.f_bavail * space.f_frsize
    if not os.access(place, os.W_OK):
        return Check("space", place + " cannot be written", False, "name another folder with --output")
    enough = free >= LOW_SPACE
    value = "{:.1f} GB free for {}".format(free / 1e9, wanted)
    return Check("space", value, enough, "" if enough else "free some, or name another folder")


def probe_collectors(roots: Roots = Roots()) -> List[Dict[str, Any]]:
    """Each collector's name, whether it can run here, and if not why and what would help."""
    groups = _likely_cgroups(roots)
    with tempfile.TemporaryDirectory(prefix="edgeprof-doctor-") as raw:
        shared: Dict[str, Any] = {}
        return [_probe(name, raw, roots, groups, shared) for name in registry.NAMES]


def _likely_cgroups(roots: Roots) -> Dict[str, str]:
    """Controllers for which a run could get a cgroup, with the folder it would lie below."""
    try:
        found = hierarchies(roots)
    except (OSError, ValueError):
        return {}
    usable = [item for item in found if os.access(item.home, os.W_OK)]
    return {name: item.home for item in usable for name in (item.controllers or ("unified",))}


def _probe(name: str, raw: str, roots: Roots, groups: Dict[str, str], shared: Dict[str, Any]) -> Dict[str, Any]:
    try:
        context = Context(raw=raw, roots=roots, pid=os.getpid(), cgroups=groups, deep=True, shared=shared)
        answer = registry.load(name)(context).probe()
    except Exception as error:  # one collector's bug must not hide what the others say
        answer = Probe(False, "its probe failed: {!r}".format(error), "report this as a bug in edgeprof")
    return {"name": name, **answer._asdict()}
