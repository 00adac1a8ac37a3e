"""Turns a capture directory's raw bytes into tables, metrics and a verdict.

May be repeated, and works on what an interrupted run left: the manifest is then put together from the partial
one, or from nothing but the raw files.
"""

from __future__ import annotations

import errno
import json
import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from edgeprof.collectors import registry
from edgeprof.collectors.cgroup.parse import members
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.phases.parse import assign_phase
from edgeprof.profiler import conditions
from edgeprof.profiler.agent import journal, manifest, undo
from edgeprof.profiler.errors import EdgeprofError, NewerSchema, NotARun
from edgeprof.profiler.run import SCHEMA_VERSION, Run, load_manifest, wrong_part

ORDER = ("procfs", "phases", "cgroup", *(name for name in registry.NAMES if name not in ("procfs", "phases", "cgroup")))
"""Who is in the run and when its phases were comes first: other parsers refer to it."""

_CUT_BY_PHASE = {"block_io": "queued_ns", "page_cache": "time_ns"}
_UNFINISHED = ".zst.tmp"
_COMPRESS_FROM = 4096
"""Raw files smaller than this stay as they are."""


class StillRunning(EdgeprofError):
    """The run is being captured right now."""

    def __init__(self, path: Path, owner: int) -> None:
        super().__init__(f"{path} is still being captured by process {owner}; wait for it to end")


class NothingCaptured(EdgeprofError):
    """The run ended before anything was captured."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"nothing was captured in {path}: the run was interrupted before its first sample;"
            " the folder can be deleted"
        )


def ingest(path: Path) -> Run:
    """Make tables, metrics and verdict of the capture directory ``path``.

    Raises:
        NotARun: there is no capture in it.
        NothingCaptured: the run was interrupted before its first sample.
        NewerSchema, DamagedManifest: see `load_manifest`.
        StillRunning: its edgeprof is still at work.
        EdgeprofError: the folder cannot be written.
    """
    began = time.monotonic()
    _refuse_running(path)
    _refuse_links(path)
    content = load_manifest(path) if (path / manifest.FINAL).exists() else recover_manifest(path)
    raw = path / "raw"
    if not raw.is_dir():
        raise EdgeprofError(f"{path} has no raw data (any more): what tables there are stay as they are")
    try:
        manifest.free_reserve(str(path))
        parsed, notes = _parse_all(raw, content)
        notes.extend(_ingest_guest(path / "guest"))
        if content["run"].get("status") == "interrupted" and not any(table.num_rows for table in parsed.values()):
            raise NothingCaptured(path)
        tables = _finish(parsed)
        _write_tables(path / "tables", tables)
        _compress(raw)
        content["ingest"] = {
            "tables": {name: table.num_rows for name, table in sorted(tables.items())},
            "notes": notes,
            "seconds": time.monotonic() - began,
        }
        if isinstance(content.get("idle_power"), dict):
            content["idle_power"] = conditions.idle_account(raw, content["idle_power"])
        manifest.write_json(str(path), manifest.FINAL, content)
        (path / manifest.PARTIAL).unlink(missing_ok=True)
        return _analyse(path, content)
    except OSError as error:
        where = error.filename or path
        advice = "free some space, then" if error.errno == errno.ENOSPC else "once that is mended,"
        raise EdgeprofError(
            f"cannot ingest: {error.strerror or error} ({where}); nothing that was captured is lost: "
            f"{advice} `edgeprof ingest {path}` reads it"
        ) from None


def _ingest_guest(path: Path) -> list[str]:
    """The capture from inside a virtual machine, where there is one; a note when it cannot be read."""
    if path.is_symlink() or not path.is_dir():
        return []
    try:
        ingest(path)
    except EdgeprofError as error:
        return [f"guest: {error}"]
    return []


def _refuse_running(path: Path) -> None:
    """The journal tells from the first moment, to its own user; the partial manifest, a moment later, to all."""
    try:
        journals = list(Path(journal.state_folder()).glob("*.journal"))
    except OSError:
        journals = []
    for item in journals:
        try:
            saved = journal.read_journal(str(item))
        except OSError:
            continue
        if saved and os.path.realpath(saved.capture) == os.path.realpath(path) and undo.being_captured(saved):
            raise StillRunning(path, saved.owner)
    if (path / manifest.FINAL).exists():
        return
    agent = (_partial(path) or {}).get("processes") or {}
    pid, started = agent.get("agent"), agent.get("agent_start")
    if pid and started and agent.get("boot_id") == journal.boot_id() and undo.same_process(pid, started):
        raise StillRunning(path, pid)


def _refuse_links(path: Path) -> None:
    """Ingest replaces files below these folders: they must be the capture's own."""
    for name in ("raw", "tables"):
        if (path / name).is_symlink():
            raise EdgeprofError(f"{path / name} is a symbolic link; put the folder itself there")


def _partial(path: Path) -> dict[str, Any] | None:
    """The partial manifest, with the parts that every manifest has; None when it is missing or damaged.

    Raises:
        NewerSchema: it is of a newer edgeprof.
    """
    try:
        content = json.loads((path / manifest.PARTIAL).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    found = content.get("schema")
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise NewerSchema(path, found, SCHEMA_VERSION)
    return content if found == SCHEMA_VERSION and wrong_part(content) is None else None


def recover_manifest(path: Path) -> dict[str, Any]:
    """The manifest of an interrupted run: the partial one, or one that says only what the raw files tell.

    Raises:
        NotARun: there are no raw files either.
        NothingCaptured: there are, but all are empty.
        NewerSchema: the partial manifest is of a newer edgeprof.
    """
    content = _partial(path)
    raw = path / "raw"
    if content is None and not raw.is_dir():
        raise NotARun(path)
    if not any(item.is_file() and item.stat().st_size for item in raw.rglob("*")):
        raise NothingCaptured(path)
    if content is not None:
        ended = "edgeprof ended before the run did; this is what it had captured"
        content["notes"] = [*(content.get("notes") or []), ended]
        return content
    unknown: dict[str, Any] = dict.fromkeys(
        ("command", "cwd", "started", "ended", "exit_code", "signal", "wall_time", "end_ns", "user", "rusage")
    )
    return {
        "schema": SCHEMA_VERSION,
        "edgeprof": None,
        "run": {**unknown, "id": path.name, "name": path.name, "status": "interrupted", "start_ns": 0, "pid": 0},
        "spec": {},
        "factors": {},
        "host": {},
        "clocks": [],
        "collectors": [],
        "overhead": {},
        "cgroup": {},
        "processes": {},
        "marks": [],
        "notes": ["the manifest was lost; what stands here comes from the raw files alone"],
    }


_FED_BY_TEGRASTATS = ("thermal", "clocks")
"""The collector ``power`` runs it; where /sys shows these two nothing, they took no part, and its lines serve."""


def _parse_all(raw: Path, content: dict[str, Any]) -> tuple[dict[str, pa.Table], list[str]]:
    tables: dict[str, pa.Table] = {}
    notes: list[str] = []
    for name in ORDER:
        took_part = (raw / name).is_dir()
        if not took_part and not (name in _FED_BY_TEGRASTATS and (raw / "power").is_dir()):
            continue
        facts = _facts(raw, content, tables)
        try:
            result: Parsed = import_module(f"edgeprof.collectors.{name}.parse").parse(raw, facts)
        except Exception as error:  # one damaged source must not cost the others
            notes.append(f"{name}: its raw data could not be read ({type(error).__name__}: {error})")
            continue
        for table_name, table in result.tables.items():
            if table.num_rows or took_part:
                tables[table_name] = _joined(tables.get(table_name), table)
        notes.extend(result.notes)
        _note_loss(content, name, result)
        if name == "procfs":
            _bound(content["run"], tables)
    return tables, notes


def _bound(run: dict[str, Any], tables: dict[str, pa.Table]) -> None:
    """An interrupted run ends, and one without a manifest begins, with what was sampled: before others rely on it."""
    if run.get("end_ns") is None and tables["system"].num_rows:
        times = tables["system"]["time_ns"]
        run["end_ns"] = pc.max(times).as_py()
        run["start_ns"] = run.get("start_ns") or pc.min(times).as_py()
        run["wall_time"] = (run["end_ns"] - run["start_ns"]) / 1e9


def _joined(before: pa.Table | None, table: pa.Table) -> pa.Table:
    """Several collectors may feed one table (tegrastats gives power, thermal and clocks)."""
    if before is None or before.num_rows == 0:
        return table
    return pa.concat_tables([before, table], promote_options="default") if table.num_rows else before


def _note_loss(content: dict[str, Any], name: str, result: Parsed) -> None:
    """Records that only the parser could see to be lost are added to the collector's entry and the run's sum."""
    entry = next((item for item in content["collectors"] if item.get("name") == name), None)
    if entry is None or not result.lost or entry.get("lost") is None or result.lost <= entry["lost"]:
        return
    overhead = content["overhead"]
    if isinstance(overhead.get("lost_records"), int):
        overhead["lost_records"] += result.lost - entry["lost"]
    entry["lost"] = result.lost


def _facts(raw: Path, content: dict[str, Any], tables: dict[str, pa.Table]) -> RunFacts:
    run, processes = content["run"], content.get("processes") or {}
    main_pid = _main_pid(content)
    pids = {main_pid} if main_pid else set()
    if "process" in tables:
        pids.update(pc.unique(tables["process"]["pid"]).to_pylist())
    if tables:
        pids |= members(raw)
    profiler = [processes.get("agent"), *(processes.get("helpers") or [])]
    return RunFacts(
        start_ns=run.get("start_ns") or 0,
        end_ns=run.get("end_ns"),
        main_pid=main_pid,
        profiler_pids=frozenset(pid for pid in profiler if pid),
        clocks=tuple(content.get("clocks") or ()),
        host=content.get("host") or {},
        tables=tables,
        run_pids=frozenset(pids),
        held_back=_held_back(content),
    )


def _main_pid(content: dict[str, Any]) -> int:
    """The workload's first process: a container's own, or the one that edgeprof started; 0: not known."""
    inside = ((content.get("setup") or {}).get("isolation") or {}).get("pid")
    return inside if isinstance(inside, int) else content["run"].get("pid") or 0


def _held_back(content: dict[str, Any]) -> dict[str, frozenset[str]]:
    """The device limits that a container really had."""
    inside = (content.get("setup") or {}).get("isolation") or {}
    device, limits = inside.get("limited_number"), inside.get("limits")
    return {device: frozenset(limits)} if isinstance(device, str) and isinstance(limits, dict) else {}


def _finish(tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """What needs several tables at once: the phase of each request and page."""
    for name, column in _CUT_BY_PHASE.items():
        table = tables.get(name)
        if table is not None and "phases" in tables and table.num_rows:
            times = pc.fill_null(table[column], -1).to_numpy()
            phase = assign_phase(tables["phases"], times).cast(table.schema.field("phase").type)
            tables[name] = table.set_column(table.schema.get_field_index("phase"), table.schema.field("phase"), phase)
    return tables


def _write_tables(folder: Path, tables: dict[str, pa.Table]) -> None:
    folder.mkdir(exist_ok=True)
    for stale in folder.glob("*.parquet"):
        if stale.stem not in tables:
            stale.unlink()
    for name, table in tables.items():
        temporary = folder / f".{name}.tmp"
        temporary.unlink(missing_ok=True)  # left by an ingest that was killed
        pq.write_table(table, temporary, compression="zstd")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(folder / f"{name}.parquet")


def _compress(raw: Path) -> None:
    """Replace raw files by zstd ones; each is whole under one of its two names at any moment."""
    for path in sorted(raw.rglob("*")):
        if path.name.endswith(_UNFINISHED):
            path.unlink(missing_ok=True)  # left by an ingest that was killed
            continue
        if path.is_symlink() or not path.is_file() or path.suffix == ".zst" or path.stat().st_size < _COMPRESS_FROM:
            continue
        packed = path.with_name(path.name + ".zst")
        temporary = path.with_name(path.name + _UNFINISHED)
        temporary.unlink(missing_ok=True)
        with (
            path.open("rb") as source,
            pa.OSFile(str(temporary), "wb") as sink,
            pa.CompressedOutputStream(sink, "zstd") as target,
        ):
            while block := source.read(1 << 20):
                target.write(block)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(packed)
        path.unlink()


def _analyse(path: Path, content: dict[str, Any]) -> Run:
    from edgeprof.profiler import analysis
    from edgeprof.profiler.analysis.judgement import with_roles

    run = Run(path)
    content["factors"] = _with_program_facts(path / "raw", content["factors"], content.get("spec") or {})
    manifest.write_json(str(path), manifest.FINAL, content)
    analysis.write_metrics(run)
    content["marks"] = conditions.marks(content, Run(path).metrics)
    content["verdict"] = analysis.verdict(Run(path))
    content["roles"] = roles = analysis.role_account(Run(path))
    if roles is not None:
        content["verdict"] = with_roles(content["verdict"], roles["sentences"])
    manifest.write_json(str(path), manifest.FINAL, content)
    return Run(path)


def _with_program_facts(raw: Path, factors: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Fill factors that are still unknown with what the instrumented program told; the user's own word stands."""
    from edgeprof.collectors.phases import parse as phases

    found = phases.facts(raw)
    filled = dict(factors)
    for name in ("model", "lifecycle"):
        if filled.get(name) is None and found.get(name) is not None:
            filled[name] = found[name]
    for name in ("framework", "unit"):
        if not isinstance(filled.get(name), dict | None):
            continue
        inner = dict(filled.get(name) or {})
        for key, value in (found.get(name) or {}).items():
            if inner.get(key) is None:
                inner[key] = value
        filled[name] = inner
    for name in ("batch_size", "workers"):
        if filled.get(name) is None and found.get(name) is not None:
            filled[name] = found[name]
    return filled
