"""A trace captured from a real kernel reads as the kernel itself renders it, whole, cut or damaged."""

from __future__ import annotations

import re
import shutil
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.tracefs.capture_windows import Allowance
from edgeprof.collectors.tracefs.events import read_trace
from edgeprof.collectors.tracefs.formats import FormatError, parse_event
from edgeprof.collectors.tracefs.tasks import OWNERS, Tasks

CAPTURED = Path(__file__).parents[1] / "data" / "tracefs" / "x86_64-6.18"
RENDERED = re.compile(r"^\s*(.+)-(\d+)\s+\[(\d+)\] \S+\s+(\d+)\.(\d{6}): (\w+): (.*)$", re.MULTILINE)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A copy of the captured trace that a test may damage."""
    return Path(shutil.copytree(CAPTURED, tmp_path / "raw"))


def rendered() -> list[tuple[str, int, int, int, str, str]]:
    """(command, pid, CPU, time in us, event, text) as the kernel prints them."""
    lines = RENDERED.findall((CAPTURED / "kernel_trace.txt").read_text())
    return [(comm, int(pid), int(cpu), int(s + us), name, text) for comm, pid, cpu, s, us, name, text in lines]


def test_every_event_is_there_at_the_time_on_the_cpu_and_for_the_task_the_kernel_says() -> None:
    trace = read_trace(CAPTURED)
    ours = Counter()
    for system, name in trace.formats:
        events = trace.get(system, name)
        times = ((events.time_ns + 500) // 1000).tolist()  # the kernel rounds to microseconds
        ours.update(zip([name] * len(times), times, events.cpu.tolist(), events.pid.tolist(), strict=True))
    theirs = Counter((name, time, cpu, pid) for _, pid, cpu, time, name, _ in rendered())
    assert len(theirs) > 400
    assert ours == theirs
    assert (trace.lost, trace.windows, trace.notes) == (0, None, [])


def test_fields_and_texts_are_those_the_kernel_prints() -> None:
    trace = read_trace(CAPTURED)
    issue = trace.get("block", "block_rq_issue")
    dev = issue.field("dev")
    printed = [
        f"{device >> 20},{device & 0xFFFFF} {rwbs.decode()} {count} () {sector} + {sectors}"
        for device, rwbs, count, sector, sectors in zip(
            dev.tolist(),
            issue.text("rwbs").tolist(),
            issue.field("bytes").tolist(),
            issue.field("sector").tolist(),
            issue.field("nr_sector").tolist(),
            strict=True,
        )
    ]
    comms = [comm.decode() for comm in issue.text("comm").tolist()]
    kernels = [text for *_, name, text in rendered() if name == "block_rq_issue"]
    assert len(kernels) > 80
    assert Counter(kernels) == Counter(
        f"{line} {re.search(r'[a-z]+,[0-9]+,[0-9]+ ', text)[0]}[{comm}]"
        for line, comm, text in zip(printed, comms, in_file_order(issue), strict=True)
    )
    codes, values = issue.categories("comm")
    assert values[codes].tolist() == issue.text("comm").tolist()
    assert issue.text("cmd").tolist() == [b""] * len(issue)


def in_file_order(issue) -> list[str]:
    """The kernel's texts of block_rq_issue in the order in which we have the events: CPU by CPU."""
    lines = [(cpu, time, text) for _, _, cpu, time, name, text in rendered() if name == "block_rq_issue"]
    lines.sort(key=lambda line: line[0])
    assert [cpu for cpu, _, _ in lines] == issue.cpu.tolist()
    return [text for _, _, text in lines]


def test_tasks_are_named_and_traced_to_who_started_them() -> None:
    trace = read_trace(CAPTURED)
    started = [int(re.search(r"pid=(\d+)", text)[1]) for *_, name, text in rendered() if name == "task_newtask"]
    main = next(pid for _, pid, _, _, name, _ in rendered() if name == "task_newtask")
    assert len(started) == 2
    assert trace.tasks_of({main}) == {main, *started}
    assert [trace.comm(pid) for pid in started] == ["true", "true"]
    assert [trace.process_of[pid] for pid in started] == started
    assert trace.comm(4_000_000) is None
    facts = RunFacts(0, None, main_pid=main, profiler_pids=frozenset({4_000_000}))
    owners = trace.tasks.owners(np.array([main, started[0], 0, 14, 4_000_000, 1]), facts)
    assert [OWNERS[owner] for owner in owners] == ["run", "run", "kernel", "kernel", "profiler", "other"]


def test_threads_are_counted_to_their_process_and_the_run_is_not_its_profilers() -> None:
    tasks = Tasks(started=((10, 20, False), (20, 21, True), (21, 22, True), (22, 30, False), (10, 11, True)))
    assert tasks.processes() == {20: 20, 21: 20, 22: 20, 30: 30, 11: 10}
    facts = RunFacts(0, None, main_pid=20, profiler_pids=frozenset({10}))
    owners = tasks.owners(np.array([10, 11, 20, 21, 22, 30, 99]), facts)
    assert [OWNERS[owner] for owner in owners] == ["profiler", "profiler", "run", "run", "run", "run", "other"]


def test_a_compressed_trace_reads_the_same(raw: Path) -> None:
    before = read_trace(raw).get("block", "block_rq_issue")
    sectors = before.field("sector").tolist()
    for path in [*(raw / "tracefs").glob("*"), *(raw / "tracefs" / "formats").glob("*")]:
        if path.is_file():
            with pa.output_stream(str(path.with_name(path.name + ".zst")), compression="zstd") as stream:
                stream.write(path.read_bytes())
            path.unlink()
    trace = read_trace(raw)
    assert trace.get("block", "block_rq_issue").field("sector").tolist() == sectors
    assert (trace.lost, trace.notes) == (0, [])
    assert trace.comm(1 << 30) is None


def test_what_is_missing_is_said_and_the_rest_is_read(raw: Path, tmp_path: Path) -> None:
    assert read_trace(tmp_path / "nowhere").notes == ["no kernel trace was captured"]
    whole = len(read_trace(raw).get("block", "block_rq_issue"))
    folder = raw / "tracefs"
    for name in ("stats.cpu0", "saved_cmdlines", "kernel_tasks", "windows.bin", "about.json"):
        (folder / name).unlink()
    (folder / "formats" / "block.block_rq_complete").write_text("nothing")
    trace = read_trace(raw)
    assert len(trace.get("block", "block_rq_issue")) == whole
    assert trace.notes == ["the format of block:block_rq_complete cannot be read: not the format of an event"]
    assert len(trace.get("block", "block_rq_complete")) == len(trace.get("block", "no_such_event")) == 0
    nothing = trace.get("block", "no_such_event")
    assert (len(nothing.time_ns), len(nothing.field("sector")), len(nothing.text("comm"))) == (0, 0, 0)
    assert nothing.names == {}
    (folder / "header_page").write_text("field: no;")
    assert read_trace(raw).notes == ["the kernel trace cannot be read: header_page has no field 'timestamp'"]


def test_a_page_with_an_impossible_time_is_left_out_with_a_note(raw: Path) -> None:
    file = raw / "tracefs" / "cpu0.raw"
    content = bytearray(file.read_bytes())
    struct.pack_into("<Q", content, 4096, 1 << 61)
    file.write_bytes(content)
    trace = read_trace(raw)
    assert [note for note in trace.notes if "impossible times" in note]
    assert trace.get("filemap", "mm_filemap_get_pages").time_ns.max() < 1 << 50
    assert len(trace.get("filemap", "mm_filemap_get_pages")) > 0


def test_losses_are_the_kernels_count_or_else_what_the_pages_tell(raw: Path) -> None:
    stats = raw / "tracefs" / "stats.cpu1"
    stats.write_text("entries: 0\noverrun: 12\ncommit overrun: 3\noldest event ts: 2.5\ndropped events: 5\n")
    trace = read_trace(raw)
    assert trace.lost == 20
    assert trace.notes == ["the kernel dropped 20 trace events: they came faster than they were read"]
    stats.unlink()
    file = raw / "tracefs" / "cpu1.raw"
    content = bytearray(file.read_bytes())
    content[8 + 3] |= 0x80  # missed events, their number not stored
    file.write_bytes(content)
    trace = read_trace(raw)
    assert trace.lost is None
    assert trace.notes == ["the kernel dropped trace events; how many is not known"]


def test_events_that_were_taken_from_the_kernel_but_are_not_there_are_lost(raw: Path) -> None:
    file = raw / "tracefs" / "cpu1.raw"
    whole = len(read_trace(raw).cpus[1].types)
    file.write_bytes(file.read_bytes()[:4096])
    trace = read_trace(raw)
    missing = whole - len(trace.cpus[1].types)
    assert trace.lost == missing > 0
    assert trace.notes == [f"{missing} trace events were taken from the kernel but are not in the raw files"]
    file.unlink()
    assert read_trace(raw).lost == whole


def test_windows_are_read_in_order_with_the_last_one_open_after_a_crash(raw: Path) -> None:
    begin = struct.unpack("<Q", (raw / "tracefs" / "windows.bin").read_bytes()[:8])[0]
    records = [(begin, 0), (begin, begin + 50), (begin + 100, 0), (begin + 100, begin + 170), (begin + 300, 0)]
    content = b"".join(struct.pack("<QQ", *record) for record in records)
    (raw / "tracefs" / "windows.bin").write_bytes(content + b"half a rec")
    expected = [(begin, begin + 50), (begin + 100, begin + 170), (begin + 300, 0)]
    assert read_trace(raw).windows == expected


@pytest.mark.parametrize("event", ["task.task_newtask", "task.task_rename"])
@pytest.mark.parametrize("field", ["common_pid", "pid", "clone_flags", "comm", "newcomm"])
def test_a_format_without_a_field_costs_no_more_than_that(raw: Path, event: str, field: str) -> None:
    path = raw / "tracefs" / "formats" / event
    path.write_text(re.sub(rf"\tfield:[^;]*\b{field}\b.*\n", "", path.read_text()))
    trace = read_trace(raw)
    assert trace.tasks.processes() is not None
    assert len(trace.get("block", "block_rq_issue")) > 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_any_file_makes_reading_fail(raw: Path, data: st.DataObject) -> None:
    folder = raw / "tracefs"
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.write_bytes((CAPTURED / "tracefs" / path.relative_to(folder)).read_bytes())
    victim = data.draw(st.sampled_from(sorted(path for path in folder.rglob("*") if path.is_file())))
    content = bytearray(victim.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    victim.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    trace = read_trace(raw)
    for key in list(trace.formats):
        events = trace.get(*key)
        assert len(events.time_ns) == len(events.cpu) == len(events)
        for name, field in events.names.items():
            assert len(events.field(name)) == len(events)
            if field.kind in ("text", "data_loc", "rel_loc"):
                assert len(events.text(name)) == len(events)
    assert trace.tasks.processes() is not None


def test_formats_of_other_kernels_are_read() -> None:
    text = """name: thing
ID: 77
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;
\tfield:int common_pid;\toffset:4;\tsize:4;
\tfield:char rwbs[8];\toffset:8;\tsize:8;\tsigned:1;
\tfield:unsigned long args[3];\toffset:16;\tsize:24;\tsigned:0;
\tfield:const char * name;\toffset:40;\tsize:8;\tsigned:0;
\tfield:__data_loc char[] cmd;\toffset:48;\tsize:4;\tsigned:1;
\tfield:__rel_loc char[] more;\toffset:52;\tsize:4;\tsigned:1;
\tfield:struct timespec64 ts;\toffset:56;\tsize:16;\tsigned:0;
"""
    event = parse_event(text)
    kinds = {name: field.kind for name, field in event.fields.items()}
    assert kinds == {
        "common_type": "integer",
        "common_pid": "integer",
        "rwbs": "text",
        "args": "array",
        "name": "integer",
        "cmd": "data_loc",
        "more": "rel_loc",
        "ts": "array",
    }
    assert (event.number, event.size, event.fields["common_pid"].signed) == (77, 72, False)
    with pytest.raises(FormatError):
        parse_event(text.replace("offset:0;\tsize:2;", "offset:0;\tsize:4;"))


def test_dynamic_texts_are_found_by_either_kind_of_reference(raw: Path) -> None:
    folder = raw / "tracefs"
    for path in folder.glob("*.raw"):
        path.unlink()
    for path in (folder / "formats").glob("*"):
        path.unlink()
    common = "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    reference = "\tfield:{} char[] said;\toffset:4;\tsize:4;\tsigned:0;\n"
    (folder / "formats" / "x.data").write_text(f"name: data\nID: 7\nformat:\n{common}{reference.format('__data_loc')}")
    (folder / "formats" / "x.rel").write_text(f"name: rel\nID: 8\nformat:\n{common}{reference.format('__rel_loc')}")
    begin = struct.unpack("<Q", (folder / "windows.bin").read_bytes()[:8])[0]
    records = [
        struct.pack("<HHI", 7, 0, 6 << 16 | 8) + b"hello\0\0\0",
        struct.pack("<HHI", 8, 0, 6 << 16 | 0) + b"again\0\0\0",
        struct.pack("<HHI", 7, 0, 60000 << 16 | 8) + b"over",  # reaches beyond the record
        struct.pack("<HHI", 7, 0, 4 << 16 | 60000) + b"away",
        struct.pack("<HHI", 7, 0, 4 << 16 | 8) + b"lone",
    ]
    data = b"".join(struct.pack("<I", len(record) // 4) + record for record in records)
    (folder / "cpu3.raw").write_bytes((struct.pack("<QQ", begin, len(data)) + data).ljust(4096, b"\0"))
    trace = read_trace(raw)
    assert trace.get("x", "data").text("said").tolist() == [b"hello", b"over", b"", b"lone"]
    assert trace.get("x", "rel").text("said").tolist() == [b"again"]
    codes, values = trace.get("x", "data").categories("said")
    assert values[codes].tolist() == [b"hello", b"over", b"", b"lone"]


def test_an_allowance_is_spent_by_bytes_or_by_cpu_time_whichever_is_dearer() -> None:
    second = 1_000_000_000
    allowance = Allowance(1_000_000, 0.01, 0)
    assert allowance.seconds == allowance.burst == 2.0
    allowance.charge(1_500_000, 0)
    assert allowance.seconds == pytest.approx(0.5)
    allowance.charge(0, second * 5 // 1000)  # a second's worth of 0.5 % of a core
    assert allowance.seconds == pytest.approx(-0.5)
    allowance.refill(second)
    assert allowance.seconds == pytest.approx(0.5)
    allowance.refill(100 * second)
    assert allowance.seconds == allowance.burst
    unlimited = Allowance(1_000_000, None, 0)
    unlimited.charge(1000, 10 * second)
    assert unlimited.seconds == pytest.approx(1.999)
