"""What one reading of a file of /proc tells: bytes to numbers.

Formats: proc_pid_stat(5), proc_pid_io(5), proc_pid_statm(5), proc_pid_status(5), proc_pid_cgroup(5),
Documentation/accounting/psi.rst (pressure), Documentation/scheduler/sched-stats.rst (schedstat).
"""

from __future__ import annotations

import os
import re

from edgeprof.collectors.text import keyed, scaled, to_int

USER_HZ = os.sysconf("SC_CLK_TCK")
"""Ticks a second of /proc's CPU times: 100 on every architecture that Linux boards use."""
PAGE_BYTES = 4096


def pressure_values(payload: bytes, resource: str) -> dict[str, float]:
    """``psi_<resource>_{some,full}_total`` in seconds from one pressure file (microseconds)."""
    values: dict[str, float] = {}
    for line in payload.split(b"\n"):
        kind, _, rest = line.partition(b" ")
        _, found, total = rest.rpartition(b"total=")
        number = to_int(total)
        if kind in (b"some", b"full") and found and number is not None:
            values[f"psi_{resource}_{kind.decode()}_total"] = number / 1e6
    return values


_STAT = {
    "ppid": 1,
    "minflt": 7,
    "majflt": 9,
    "utime": 11,
    "stime": 12,
    "num_threads": 17,
    "start_time": 19,
    "vsize": 20,
    "rss": 21,
}
"""Positions after the command's closing parenthesis: field 3 of proc_pid_stat(5) is 0."""
_SMALL = ("ppid", "num_threads")
_IO = ("rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes")
_ROLLUP = {b"Pss:": "pss", b"Pss_Anon:": "pss_anon", b"Pss_File:": "pss_file", b"Swap:": "swap"}


def inner_pid(payload: bytes) -> int | None:
    """The id that a process has in its own pid namespace, from its status file; None: it is in the reader's."""
    found = _NSPID.search(payload)
    ids = found[1].split() if found else []
    number = to_int(ids[-1]) if len(ids) > 1 else None
    return number if number is not None and 0 < number < 1 << 31 else None


_NSPID = re.compile(rb"^NSpid:([^\n]{1,400})$", re.MULTILINE)


def role_of(payload: bytes) -> str | None:
    """The role of a process by its cgroup's path (proc_pid_cgroup): ``.../role-NAME``."""
    found = _ROLE.search(payload)
    return found[1].decode("utf-8", "replace") if found else None


_ROLE = re.compile(rb"/role-([^/\n]{1,64})")


def read_process(file: str, payload: bytes, page_bytes: int) -> dict[str, object]:
    """The columns that one file of /proc/PID tells; nothing for a file that is cut or not known."""
    reader = _READERS.get(file)
    return reader(payload, page_bytes) if reader else {}


def _process_stat(payload: bytes, page_bytes: int) -> dict[str, object]:
    opening, closing = payload.find(b"("), payload.rfind(b")")
    fields = payload[closing + 2 :].split(None, 64)
    if not 0 <= opening < closing or len(fields) < 22:
        return {}
    values: dict[str, object] = {
        "comm": payload[opening + 1 : closing].decode("utf-8", "replace"),
        "state": fields[0].decode("ascii", "replace"),
    }
    for name, position in _STAT.items():
        number = to_int(fields[position])
        if number is not None and name in ("utime", "stime", "start_time"):
            values[name] = number / USER_HZ
        else:
            values[name] = scaled(number, page_bytes) if number is not None and name == "rss" else number
    for name in _SMALL:
        number = to_int(fields[_STAT[name]])
        if number is not None and not 0 <= number < 1 << 31:
            values[name] = None
    if values["state"] in ("Z", "X"):  # it has ended and has no memory any more: the kernel writes zeros
        values["vsize"] = values["rss"] = None
    return values


def _process_io(payload: bytes, page_bytes: int) -> dict[str, object]:
    values = keyed(payload, "")
    return {name: int(values[name]) for name in _IO if name in values}


def _process_statm(payload: bytes, page_bytes: int) -> dict[str, object]:
    fields = [to_int(text) for text in payload.split(None, 7)]
    if len(fields) < 3 or fields[2] is None or not fields[0]:  # of size 0: it has ended
        return {}
    return {"shared": scaled(fields[2], page_bytes)}


def _process_schedstat(payload: bytes, page_bytes: int) -> dict[str, object]:
    fields = [to_int(text) for text in payload.split(None, 3)]
    return {"run_delay": fields[1] / 1e9} if len(fields) >= 2 and fields[1] is not None else {}


def _process_rollup(payload: bytes, page_bytes: int) -> dict[str, object]:
    values: dict[str, object] = {}
    for line in payload.split(b"\n"):
        fields = line.split(None, 3)
        name = _ROLLUP.get(fields[0]) if len(fields) == 3 else None
        number = to_int(fields[1]) if name else None
        if name and number is not None:
            values[name] = scaled(number, 1024)
    return values


_READERS = {
    "stat": _process_stat,
    "io": _process_io,
    "statm": _process_statm,
    "schedstat": _process_schedstat,
    "smaps_rollup": _process_rollup,
}
