"""Parse half of ``phases``: record files to the tables phases, steps and marks, and what the program said of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from edgeprof.collectors.parsing import Parsed, RunFacts, read_raw
from edgeprof.collectors.phases import matching, namespaces
from edgeprof.collectors.phases.recorder import BEGIN, END, HEADER, MAGIC, MARK, NAME_BYTES, ROLE, STEP, STEP_BEGIN
from edgeprof.collectors.phases.recorder import VERSION as FORMAT_VERSION
from edgeprof.collectors.schema import table

Array = npt.NDArray[Any]

_RECORD = np.dtype(
    [("time", "<u8"), ("value", "<f8"), ("tid", "<u4"), ("name", f"V{NAME_BYTES + 1}"), ("kind", "u1")]
)  # recorder.RECORD; the name's length is the last byte of its field
_LATEST_NS = 1 << 62
_OVERHEAD_PHASES = frozenset({"startup", "import", "restore", "shutdown"})
"""A process that has only these has not worked: a launcher, or a tool that imports torch."""


@dataclass(frozen=True)
class Process:
    """One record file: who wrote it; ``ticks``: its start in clock ticks since boot, 0 where not known."""

    pid: int
    ppid: int
    start_ns: int
    lost: int
    ticks: int = 0


@dataclass(frozen=True)
class Records:
    """All records of a run in the order in which each process wrote them; ``name`` indexes ``names``."""

    process: Array
    time: Array
    value: Array
    tid: Array
    name: Array
    kind: Array
    names: list[str]

    def where(self, mask: Array) -> Records:
        """The records for which ``mask`` is true."""
        process, time, value = self.process[mask], self.time[mask], self.value[mask]
        return Records(process, time, value, self.tid[mask], self.name[mask], self.kind[mask], self.names)


def parse(raw: Path, facts: RunFacts) -> Parsed:
    """Tables ``phases``, ``steps`` and ``marks`` of a run; see docs/phases.md for what each row means."""
    processes, blocks, notes = [], [], []
    for path in record_files(raw):
        try:
            process, block = read_records(read_raw(path))
        except (OSError, ValueError) as error:
            notes.append(f"phases: {path.name} is left out: {error}")
            continue
        processes.append(process)
        blocks.append(block)
    records, damaged = join(blocks)
    if damaged:
        notes.append(f"phases: {damaged} damaged records are left out")
    processes, records, unknown = namespaces.on_host(processes, records, facts.tables.get("process"))
    if unknown:
        notes.append(
            f"phases: {unknown} process(es) of a container were never seen in /proc: their pid is the one inside it"
        )
    ends = _process_ends(processes, records, facts)
    main = main_processes(processes, records)
    tables = {
        "phases": _phases(processes, records, ends, main, facts),
        "steps": _steps(processes, records, facts),
        "marks": _marks(processes, records),
    }
    return Parsed(tables, notes, sum(process.lost for process in processes))


def record_files(raw: Path, ending: str = ".bin") -> list[Path]:
    """The record files below a run's raw folder, compressed or not, by their uncompressed names."""
    folder = raw / "phases"
    files = [path for path in folder.glob("*") if path.is_file() and not path.is_symlink()]
    names = {path.name.removesuffix(".zst") for path in files}
    return sorted(folder / name for name in names if name.endswith(ending))


def read_records(data: bytes) -> tuple[Process, Array]:
    """One record file's header and its raw records (a structured array; a cut last record is left out).

    Raises:
        ValueError: it is not a record file, or of an unknown version.
    """
    if len(data) < HEADER.size:
        raise ValueError("it is empty or cut in its header")
    magic, version, size, pid, ppid, start_ns, ticks, lost, _ = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise ValueError("it is not a record file")
    if version != FORMAT_VERSION or size != _RECORD.itemsize:
        raise ValueError(f"its format is version {version}; upgrade edgeprof to read it")
    if pid >= 1 << 31 or ppid >= 1 << 31:
        raise ValueError("its header is damaged")
    count = len(data) // _RECORD.itemsize - 1
    block = np.frombuffer(data, _RECORD, count, offset=HEADER.size)
    return Process(pid, ppid, min(start_ns, _LATEST_NS), min(lost, 1 << 53), ticks), block[block["kind"] != 0]


def join(blocks: list[Array]) -> tuple[Records, int]:
    """Records of all files as columns, and how many were damaged (and left out)."""
    block = np.concatenate([*blocks, np.empty(0, _RECORD)])
    process = np.repeat(np.arange(len(blocks)), [len(item) for item in blocks])
    raw_names = np.ascontiguousarray(block["name"])
    lengths = raw_names.view(np.uint8).reshape(-1, NAME_BYTES + 1)[:, NAME_BYTES]
    good = (block["kind"] <= ROLE) & (lengths <= NAME_BYTES) & (block["time"] < _LATEST_NS) & (block["tid"] < 1 << 31)
    damaged = len(block) - int(good.sum())
    if damaged:
        block, process, raw_names = block[good], process[good], raw_names[good]
    name, names = _encode_names(raw_names)
    records = Records(
        process,
        block["time"].astype(np.int64),
        block["value"].astype(np.float64),
        block["tid"].astype(np.int64),
        name,
        block["kind"].copy(),
        names,
    )
    return records, damaged


def _encode_names(raw: Array) -> tuple[Array, list[str]]:
    if not len(raw):
        return np.empty(0, np.int64), []
    kind = pa.binary(NAME_BYTES + 1)
    encoded = pa.Array.from_buffers(kind, len(raw), [None, pa.py_buffer(raw.tobytes())]).dictionary_encode()
    values = [
        item[: min(item[NAME_BYTES], NAME_BYTES)].decode("utf-8", "replace") for item in encoded.dictionary.to_pylist()
    ]
    names: dict[str, int] = {}  # two byte strings may decode to one name
    codes = np.array([names.setdefault(value, len(names)) for value in values], np.int64)
    return codes[encoded.indices.to_numpy()], list(names)


def main_processes(processes: list[Process], records: Records) -> Array:
    """Which processes are the main one: a flag each (a process may have two files).

    It is the first to start among those that are no DataLoader workers and did some work (a phase
    beyond start-up, or a step), so a launcher like torchrun is not it and its rank 0 usually is;
    if none did, the first that recorded anything.
    """
    count = len(processes)
    worker = np.zeros(count, bool)
    worker[records.process[records.kind == ROLE]] = True
    idle = [code for code, name in enumerate(records.names) if name in _OVERHEAD_PHASES]
    work = (records.kind == STEP) | ((records.kind == BEGIN) & ~np.isin(records.name, idle))
    worked = np.zeros(count, bool)
    worked[records.process[work]] = True
    recorded = np.zeros(count, bool)
    recorded[records.process] = True
    for candidates in (worked & ~worker, recorded & ~worker):
        if candidates.any():
            first = min(np.flatnonzero(candidates), key=lambda item: (processes[item].start_ns, processes[item].pid))
            chosen = processes[first]
            return np.array([(item.pid, item.start_ns) == (chosen.pid, chosen.start_ns) for item in processes])
    return np.zeros(count, bool)


def _process_ends(processes: list[Process], records: Records, facts: RunFacts) -> Array:
    """When each process ended, as well as is known: its exit (the run's first process), last sample or last record."""
    ends = np.zeros(len(processes), np.int64)
    np.maximum.at(ends, records.process, records.time)
    sampled = facts.tables.get("process")
    seen: dict[int, int] = {}
    if sampled is not None and sampled.num_rows and processes:
        last = sampled.select(["pid", "time_ns"]).group_by("pid").aggregate([("time_ns", "max")])
        seen = dict(zip(last["pid"].to_pylist(), last["time_ns_max"].to_pylist(), strict=True))
    for index, process in enumerate(processes):
        ends[index] = max(int(ends[index]), seen.get(process.pid) or 0)
        if facts.end_ns is not None:
            ends[index] = facts.end_ns if process.pid == facts.main_pid else min(int(ends[index]), facts.end_ns)
    return ends


def _phases(processes: list[Process], records: Records, ends: Array, main: Array, facts: RunFacts) -> pa.Table:
    spans = matching.match(
        records.where((records.kind == BEGIN) | (records.kind == END)), begin_kind=BEGIN, process_ends=ends
    )
    start = np.maximum(spans.start, facts.start_ns)
    end = spans.end if facts.end_ns is None else np.minimum(spans.end, facts.end_ns)
    keep = start <= end
    order = np.lexsort((spans.depth, start))
    order = order[keep[order]]
    process = spans.process[order]
    pids = np.array([item.pid for item in processes], np.int32)
    columns = {
        "start_ns": start[order],
        "end_ns": end[order],
        "name": _text(spans.name[order], records.names),
        "pid": pids[process],
        "tid": spans.tid[order].astype(np.int32),
        "depth": spans.depth[order].astype(np.int32),
        "main": main[process],
        "cut": spans.cut[order],
    }
    return table("phases", columns)


def _steps(processes: list[Process], records: Records, facts: RunFacts) -> pa.Table:
    steps = matching.steps(records, kinds=(BEGIN, STEP, STEP_BEGIN), process_count=len(processes))
    pids = np.array([item.pid for item in processes], np.int32)
    start = np.maximum(steps.start, facts.start_ns)
    columns = {
        "step": steps.number,
        "start_ns": pa.array(start, mask=steps.start < 0),
        "end_ns": steps.end,
        "pid": pids[steps.process],
        "samples": pa.array(steps.samples, mask=np.isnan(steps.samples)),
    }
    return table("steps", columns)


def _marks(processes: list[Process], records: Records) -> pa.Table:
    marks = records.where(records.kind == MARK)
    marks = marks.where(np.argsort(marks.time, kind="stable"))
    pids = np.array([item.pid for item in processes], np.int32)
    columns = {
        "time_ns": marks.time,
        "name": _text(marks.name, records.names),
        "pid": pids[marks.process],
        "value": pa.array(marks.value, mask=np.isnan(marks.value)),
    }
    return table("marks", columns)


def _text(codes: Array, names: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string()))


def facts(raw: Path) -> dict[str, Any]:
    """What the program said of itself under ``--auto``, for the manifest's factors; {} if nothing.

    Keys: ``model``, ``lifecycle`` (train or infer), ``framework`` {name, version}, ``unit`` {kind, threads,
    precision}, ``batch_size``, ``workers``; None where not known.  Where several processes said something,
    a training one goes before one of inference, and then the first to start.
    """
    found = []
    for path in record_files(raw, "-facts.json"):
        try:
            said = json.loads(read_raw(path))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(said, dict):
            found.append(said)
    if not found:
        return {}
    return _factors(
        min(found, key=lambda said: (said.get("lifecycle") != "train", _integer(said.get("start_ns")) or 0))
    )


def _factors(said: Mapping[str, Any]) -> dict[str, Any]:
    framework = said.get("framework")
    framework = framework if isinstance(framework, dict) else {}
    device = _string(said.get("device"))
    lifecycle = _string(said.get("lifecycle"))
    return {
        "model": _string(said.get("model")),
        "lifecycle": lifecycle if lifecycle in ("train", "infer") else None,
        "framework": {"name": _string(framework.get("name")), "version": _string(framework.get("version"))},
        "unit": {
            "kind": {"cuda": "gpu", "mps": "gpu", "xpu": "gpu"}.get(device or "", device),
            "threads": _integer(said.get("threads")),
            "precision": _string(said.get("precision")),
        },
        "batch_size": _integer(said.get("batch_size")),
        "workers": _integer(said.get("workers")),
    }


def _string(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) else None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62 else None


def main_thread(phases: pa.Table) -> dict[str, Array]:
    """Columns start_ns, end_ns, depth and name (codes and ``names``) of the main process's main thread.

    That is the thread whose id is the process's; if it recorded nothing, the one that recorded first.
    """
    main = phases["main"].to_numpy(zero_copy_only=False).astype(bool)
    tid, pid = phases["tid"].to_numpy(), phases["pid"].to_numpy()
    mine = main & (tid == pid)
    if not mine.any() and main.any():
        first = np.flatnonzero(main)[np.argmin(phases["start_ns"].to_numpy()[main])]
        mine = main & (tid == tid[first])
    encoded = phases["name"].combine_chunks()
    columns = {name: phases[name].to_numpy()[mine] for name in ("start_ns", "end_ns", "depth")}
    columns["name"] = encoded.indices.to_numpy(zero_copy_only=False)[mine]
    columns["names"] = np.array(encoded.dictionary.to_pylist(), object)
    return columns


def assign_phase(phases: pa.Table, times: Array) -> pa.DictionaryArray:
    """The innermost phase of the main process's main thread at each time (ns); null outside phases.

    A phase holds its start and not its end.  Nesting deeper than 64 counts as the 64th level.
    """
    thread = main_thread(phases)
    times = np.asarray(times, np.int64)
    codes = np.full(len(times), -1, np.int64)
    depth = np.minimum(thread["depth"], 63)
    for level in np.unique(depth):
        at = np.flatnonzero(depth == level)
        at = at[np.argsort(thread["start_ns"][at], kind="stable")]
        position = np.searchsorted(thread["start_ns"][at], times, "right") - 1
        inside = (position >= 0) & (times < thread["end_ns"][at[position]])
        codes[inside] = thread["name"][at[position[inside]]]
    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(thread["names"].tolist(), pa.string()))


def coverage(phases: pa.Table, start_ns: int, end_ns: int) -> float:
    """Share of [start_ns, end_ns] that lies within phases of the main process's main thread, 0 to 1.

    Time that no hook and no ``phase()`` named is not covered: the share says how much is accounted for.
    """
    if end_ns <= start_ns:
        return 0.0
    thread = main_thread(phases)
    order = np.argsort(thread["start_ns"], kind="stable")
    start = np.clip(thread["start_ns"][order], start_ns, end_ns)
    end = np.clip(thread["end_ns"][order], start_ns, end_ns)
    reached = np.maximum.accumulate(np.concatenate([[start_ns], end]))
    return float(np.maximum(end - np.maximum(start, reached[:-1]), 0).sum()) / (end_ns - start_ns)
