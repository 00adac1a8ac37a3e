"""The manifest: what was asked for, on what machine, what was captured, and what it cost."""

import json
import math
import os
import time
from typing import Any, Dict, List, NamedTuple, Optional

from edgeprof.collectors.helper import start_time
from edgeprof.profiler.agent import host
from edgeprof.profiler.agent.journal import boot_id
from edgeprof.profiler.agent.launch import Exit
from edgeprof.profiler.agent.spec import RunSpec

SCHEMA_VERSION = 1
FINAL = "manifest.json"
PARTIAL = "manifest.partial.json"
"""Written at the start; an interrupted run has only this one."""

_RESERVE = ".reserve"
_RESERVE_BYTES = 1 << 20


def write_json(folder: str, name: str, content: Dict[str, Any]) -> None:
    """Write a JSON file atomically: temporary name, fsync, rename, fsync of the folder.  Raises OSError."""
    temporary = os.path.join(folder, "." + name + ".tmp")
    try:
        os.unlink(temporary)  # left by one that was killed
    except FileNotFoundError:
        pass
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(plain(content), file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, os.path.join(folder, name))
    except OSError:
        os.unlink(temporary)
        raise
    directory = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def plain(value: Any) -> Any:
    """A value as JSON and UTF-8 can hold it: bytes of a command or path that are no UTF-8 become ``\\xff``."""
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:  # a lone surrogate that stands for no byte
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {str(plain(str(key))): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float)) else plain(str(value))


def reserve_space(folder: str) -> None:
    """Set aside the manifest's room, so that a disk that fills up during the run does not cost it."""
    descriptor = os.open(os.path.join(folder, _RESERVE), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _RESERVE_BYTES)
    finally:
        os.close(descriptor)


def free_reserve(folder: str) -> None:
    """Give the reserved room back."""
    try:
        os.unlink(os.path.join(folder, _RESERVE))
    except FileNotFoundError:
        pass


class AgentUsage(NamedTuple):
    """What the agent itself used, in seconds; ``run_cpu_seconds`` is the part while the workload ran.

    ``wall_added_seconds`` is the time before the workload's exec and after its exit; what it was slowed by in between
    can only be told by runs with and without edgeprof.  ``sampling_stretch`` is the factor by which the sampling
    interval was lengthened at most to keep the budget.  ``beside_cpu_seconds``: of what went on beside the run.
    """

    cpu_seconds: float
    setup_cpu_seconds: float
    run_cpu_seconds: float
    wall_added_seconds: Optional[float]
    sampling_stretch: int
    beside_cpu_seconds: float = 0.0


def build(
    run_id: str,
    version: str,
    spec: RunSpec,
    pid: int,
    start_ns: Optional[int],
    end_ns: Optional[int],
    ending: Optional[Exit],
    facts: Dict[str, Any],
    clocks: List[Dict[str, Any]],
    collectors: List[Dict[str, Any]],
    usage: AgentUsage,
    cgroup: Dict[str, Any],
    helpers: List[int],
    notes: List[str],
    conditions: Optional[Dict[str, Any]] = None,
) -> Dict[str, Any]:
    """The manifest's content; without an ``ending`` it is the partial one of a run that has just begun.

    ``conditions`` are further parts; see `Conditions.facts`.
    """
    conditions = conditions or {}
    wall = (end_ns - start_ns) / 1e9 if start_ns is not None and end_ns is not None else None
    known_helpers = {int(item["details"]["helper_pid"]) for item in collectors if item["details"].get("helper_pid")}
    return {
        "schema": SCHEMA_VERSION,
        "edgeprof": version,
        "run": {
            "id": run_id,
            "name": spec.name or os.path.basename(spec.command[0]),
            "command": spec.command,
            "cwd": os.getcwd(),
            "started": utc(clocks[0]["realtime_ns"]),
            "ended": utc(clocks[-1]["realtime_ns"]) if ending else None,
            "status": "finished" if ending else "interrupted",
            "exit_code": ending.exit_code if ending else None,
            "signal": ending.signal if ending else None,
            "wall_time": wall,
            "start_ns": start_ns if start_ns is not None else clocks[0]["monotonic_ns"],
            "end_ns": end_ns,
            "pid": pid,
            "user": os.geteuid(),
            "rusage": ending.usage if ending and not spec.stand_in else None,  # a stand-in's own says nothing
        },
        "spec": spec.to_dict(),
        "factors": _factors(spec, facts, collectors, conditions),
        "host": facts,
        "clocks": clocks,
        "collectors": collectors,
        "overhead": _overhead(spec, wall, collectors, usage),
        "cgroup": cgroup,
        "processes": {
            "agent": os.getpid(),
            "agent_start": start_time(os.getpid()),
            "boot_id": boot_id(),
            "helpers": sorted(known_helpers | set(helpers)),
            "left_running": [],
        },
        "notes": notes,
        "setup": {},
        **conditions,
    }


def utc(realtime_ns: int) -> str:
    """ISO 8601 of a CLOCK_REALTIME, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(realtime_ns / 1e9))


def _factors(
    spec: RunSpec, facts: Dict[str, Any], collectors: List[Dict[str, Any]], conditions: Dict[str, Any]
) -> Dict[str, Any]:
    """All factors, null where unknown; what the user states wins over what was found."""
    clocks: Dict[str, Any] = next((item["details"] for item in collectors if item["name"] == "clocks"), {})
    mode = (conditions.get("power_mode") or {}).get("start") or {}
    asked = mode.get("kind") == "nvpmodel" or spec.power_mode  # governors are among the host's facts
    power_mode = (clocks.get("nvpmodel") or {}).get("name") or (mode.get("name") if asked else None)
    factors: Dict[str, Any] = {
        "model": None,
        "lifecycle": None,
        "framework": {"name": None, "version": None},
        "isolation": facts["virtualization"],
        "storage": host.storage_factors(facts, spec.memory_limit),
        "unit": {"kind": None, "threads": None, "precision": None, "power_mode": power_mode},
        "board": facts["board"],
    }
    for dotted, value in spec.factors.items():
        place = factors
        *parents, leaf = dotted.split(".")
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}
            place = place[parent]
        place[leaf] = value
    return factors


_GROUPS = ("framework", "storage", "unit")
_SINGLE = ("model", "lifecycle", "isolation", "board")


def wrong_factor(name: str) -> str:
    """A sentence when a dotted factor name goes against the factors that every run has; else nothing."""
    top, _, rest = name.partition(".")
    if top in _GROUPS and not rest:
        return "the factor {0} has parts; state one of them, such as {0}.{1}".format(top, _EXAMPLES[top])
    if (top in _SINGLE and rest) or (top in _GROUPS and "." in rest):
        return "there is no factor {}; {} has no such part".format(name, name.rpartition(".")[0])
    return ""


_EXAMPLES = {"framework": "name", "storage": "format", "unit": "precision"}


def _overhead(
    spec: RunSpec, wall: Optional[float], collectors: List[Dict[str, Any]], usage: AgentUsage
) -> Dict[str, Any]:
    """What edgeprof cost.  ``cpu_share`` is of one core while the workload ran, helper tools included."""
    tools, tools_setup = (
        sum(float(item["details"].get(name) or 0.0) for item in collectors)
        for name in ("helper_cpu_seconds", "helper_setup_cpu_seconds")
    )
    helpers = tools + usage.beside_cpu_seconds
    share = (usage.run_cpu_seconds + helpers - tools_setup) / wall if wall else None
    written = sum(int(item["bytes"] or 0) for item in collectors)
    lost = [item["lost"] for item in collectors if item["available"]]
    rate = written / wall if wall else None
    return {
        "cpu_seconds": usage.cpu_seconds + helpers,
        "run_cpu_seconds": usage.run_cpu_seconds,
        "setup_cpu_seconds": usage.setup_cpu_seconds + tools_setup,
        "helper_cpu_seconds": helpers,
        "cpu_share": share,
        "bytes_written": written,
        "bytes_per_second": rate,
        "wall_added_seconds": usage.wall_added_seconds,
        "peak_rss_bytes": _peak_rss(),
        "lost_records": None if any(item is None for item in lost) else sum(lost),
        "budget": {
            "cpu_share": spec.budget_cpu,
            "bytes_per_second": spec.budget_bytes,
            "kept": share is not None and share <= spec.budget_cpu and rate is not None and rate <= spec.budget_bytes,
            "sampling_stretch": usage.sampling_stretch,
            "sampled": [item["name"] for item in collectors if item["mode"] not in (None, "full")],
        },
    }


def _peak_rss() -> Optional[int]:
    for line in (host.read_text("/proc/self/status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
