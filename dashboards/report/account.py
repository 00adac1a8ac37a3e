"""The account that the report gives: facts of the run, what was captured and what not, and what that cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeprof.dashboards.report.data import RunData
from edgeprof.dashboards.report.text import clean, sentences
from edgeprof.profiler.units import NOT_MEASURED, count, human, seconds


@dataclass(frozen=True)
class CollectorLine:
    """One collector's status."""

    name: str
    state: str
    kind: str  # good, partial, absent: how the state is marked
    records: str
    bytes: str
    lost: str
    cpu: str
    remarks: Sequence[str]
    remedy: str = ""


def collector_lines(data: RunData) -> list[CollectorLine]:
    """Status of each collector; those that could not run first, since their reasons matter most."""
    lines = [_collector_line(entry) for entry in data.collectors]
    order = {"absent": 0, "partial": 1, "good": 2}
    return sorted(lines, key=lambda line: order[line.kind])


def _collector_line(entry: dict[str, Any]) -> CollectorLine:
    name, remarks = clean(entry.get("name") or "?"), sentences(entry.get("notes"))
    if entry.get("available") is False:
        reason = clean(entry.get("reason") or "no reason was recorded")
        return CollectorLine(
            name, "not captured", "absent", "", "", "", "", [reason, *remarks], clean(entry.get("remedy") or "")
        )
    mode, lost = clean(entry.get("mode") or "full"), entry.get("lost")
    if entry.get("reason"):
        remarks.insert(0, clean(entry["reason"]))
    whole = mode == "full" and not lost
    return CollectorLine(
        name=name,
        state="captured whole" if whole else f"captured, {mode}" if mode != "full" else "captured, records lost",
        kind="good" if whole else "partial",
        records=_count(entry.get("records")),
        bytes=human(_number(entry.get("bytes")), "bytes"),
        lost="unknown" if lost is None else _count(lost),
        cpu=human(_number(entry.get("cpu_seconds")), "s"),
        remarks=remarks,
        remedy=clean(entry.get("remedy") or ""),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _count(value: object) -> str:
    number = _number(value)
    return NOT_MEASURED if number is None else count(number)


def overhead_rows(data: RunData) -> list[list[str]]:
    """What edgeprof itself used during the run."""
    used = data.manifest["overhead"]
    share = _number(used.get("cpu_share"))
    rows = [
        ["CPU time of edgeprof", human(_number(used.get("cpu_seconds")), "s")],
        ["… of it before and after the program ran", human(_number(used.get("setup_cpu_seconds")), "s")],
        ["Share of one core while it ran", NOT_MEASURED if share is None else human(share, "share")],
        ["CPU time of helper tools", human(_number(used.get("helper_cpu_seconds")), "s")],
        ["Bytes written", human(_number(used.get("bytes_written")), "bytes")],
        ["Wall time added to the program", human(_number(used.get("wall_added_seconds")), "s")],
        ["Peak memory of the agent", human(_number(used.get("peak_rss_bytes")), "bytes")],
        ["Records lost", _count(used.get("lost_records"))],
    ]
    budget = used.get("budget")
    if isinstance(budget, dict):
        core = human(_number(budget.get("cpu_share")), "share")
        written = human(_number(budget.get("bytes_per_second")), "bytes/s")
        kept = budget.get("kept")
        state = "not known whether it was kept" if kept is None else "kept" if kept else "not kept"
        rows.append(["Budget", f"{core} of a core, {written}: {state}"])
    return rows


def facts(data: RunData) -> list[tuple[str, list[list[str]]]]:
    """Facts of the run, its factors and its host, as titled lists of name and value."""
    run, host = data.manifest["run"], data.manifest.get("host")
    ended = run.get("ended") or "not recorded: the run was interrupted"
    chosen = [
        ["Folder", clean(data.run.path)],
        ["Working directory", clean(run.get("cwd") or "unknown")],
        ["Started", clean(run.get("started") or "unknown")],
        ["Ended", clean(ended)],
        ["Wall time", seconds(data.wall_time) if data.wall_time else NOT_MEASURED],
        ["Result", status(data)],
        ["User", clean(run.get("user") or "unknown")],
        ["Control group", _cgroup(data)],
    ]
    groups = [("Run", chosen), ("Factors", _flat(data.manifest["factors"]))]
    if isinstance(host, dict):
        groups.append(("Host", _flat(host)))
    if isinstance(data.manifest.get("spec"), dict):
        groups.append(("Capture settings", _flat(data.manifest["spec"])))
    return [(title, rows) for title, rows in groups if rows]


def status(data: RunData) -> str:
    """How the program ended, in words."""
    run = data.manifest["run"]
    if run.get("status") == "interrupted":
        return "interrupted: the capture has no end, what was captured until then is shown"
    if run.get("signal") is not None:
        return f"killed by signal {clean(run['signal'])}"
    if run.get("exit_code") is None:
        return "exit code not recorded"
    return "finished, exit code 0" if run["exit_code"] == 0 else f"failed, exit code {clean(run['exit_code'])}"


def _cgroup(data: RunData) -> str:
    cgroup = data.manifest.get("cgroup")
    if not isinstance(cgroup, dict):
        return "unknown"
    mode, reason = clean(cgroup.get("mode") or "unknown"), clean(cgroup.get("reason") or "")
    return f"{mode} ({reason})" if reason else mode


def _flat(value: dict[str, Any], prefix: str = "", depth: int = 0) -> list[list[str]]:
    """Nested facts as rows "storage.device: value"; unknown ones say so, long ones are cut."""
    rows: list[list[str]] = []
    for key, item in value.items():
        name = f"{prefix}{clean(key)}"
        if isinstance(item, dict) and depth < 3:
            rows += _flat(item, f"{name}.", depth + 1)
        else:
            shown = "unknown" if item is None or item == "" else _shown(key, item)
            rows.append([name, shown if len(shown) <= 400 else shown[:399] + "…"])
    return rows


def _shown(key: str, item: Any) -> str:
    number = _number(item)
    if number is not None and str(key).endswith("bytes"):
        return human(number, "bytes")
    return ", ".join(clean(part) for part in item) if isinstance(item, list) else clean(item)


def marks(data: RunData) -> list[str]:
    """Sentences on what makes the run's figures doubtful."""
    return sentences(data.manifest.get("marks"))


def notes(data: RunData) -> list[str]:
    """Sentences for the user from capture and ingest, and tables that could not be read."""
    ingest = data.manifest.get("ingest")
    found = sentences(data.manifest.get("notes"))
    found += sentences(ingest.get("notes")) if isinstance(ingest, dict) else []
    left = data.manifest.get("processes", {})
    running = left.get("left_running") if isinstance(left, dict) else None
    for item in running if isinstance(running, list) else []:
        if isinstance(item, dict):
            found.append(
                f"Process {clean(item.get('pid'))} ({clean(item.get('comm'))}) was left running by the program."
            )
    return found + [f"{clean(reason)}." for reason in data.damage.values()]
