"""perf_stat: what perf writes becomes counters, and what it could not count is null with a reason."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.collectors.base import Context, FrameWriter, Roots
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.perf_stat import parse as perf
from edgeprof.collectors.perf_stat.capture import PerfStat

DATA = Path(__file__).parents[1] / "data" / "perf"
FACTS = RunFacts(start_ns=5_000_000_000, end_ns=None, main_pid=1)


def captured(tmp_path: Path, source: Path | bytes, name: str, **moments: int) -> Path:
    folder = tmp_path / "perf_stat"
    folder.mkdir()
    (folder / name).write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    if moments:
        writer = FrameWriter(str(folder / "clock.frames"))
        for moment, time_ns in moments.items():
            writer.frame(time_ns, writer.source(moment), b"")
        writer.close()
    return tmp_path


def rows(raw: Path, event: str) -> list[dict[str, object]]:
    table = perf.parse(raw, FACTS).tables["counters"]
    return [row for row in table.to_pylist() if row["event"] == event]


def line(event: str, value: str, running: float = 100.0, time: float = 1.0) -> bytes:
    record = {"interval": time, "counter-value": value, "unit": "", "event": event, "pcnt-running": running}
    return json.dumps(record).encode() + b"\n"


@pytest.mark.parametrize(
    ("capture", "name", "intervals"),
    [("perf-6.1.json", "stat.json", 4), ("perf-6.1.csv", "stat.csv", 4), ("perf-5.10.csv", "stat.csv", 4)],
)
def test_every_interval_of_a_real_capture_is_read(tmp_path: Path, capture: str, name: str, intervals: int) -> None:
    raw = captured(tmp_path, DATA / capture, name)
    faults = rows(raw, "page-faults")
    assert len(faults) == intervals
    assert sum(row["value"] for row in faults) >= 3 * 50 * 256  # three children touched 50 MiB of 4 KiB pages each
    assert all(row["running"] == 1.0 for row in faults)
    assert sum(row["interval"] for row in faults) == pytest.approx(faults[-1]["time_ns"] / 1e9 - 5, abs=1e-6)


def test_what_the_processor_does_not_support_is_null_with_a_reason(tmp_path: Path) -> None:
    cycles = rows(captured(tmp_path, DATA / "perf-6.1.json", "stat.json"), "cycles")
    assert cycles
    assert {(row["value"], row["running"], row["reason"]) for row in cycles} == {(None, None, perf.NOT_SUPPORTED)}


def test_what_was_not_counted_says_whether_the_run_was_idle_or_no_counter_was_free(tmp_path: Path) -> None:
    idle = line("task-clock", "<not counted>") + line("cycles", "<not counted>")
    busy = line("task-clock", "900.0", time=2.0) + line("cycles", "<not counted>", time=2.0)
    assert [row["reason"] for row in rows(captured(tmp_path, idle + busy, "stat.json"), "cycles")] == [
        perf.NOT_RUN,
        perf.NO_COUNTER,
    ]


def test_an_event_counted_in_user_mode_only_that_cannot_happen_there_is_not_zero(tmp_path: Path) -> None:
    raw = captured(tmp_path, line("context-switches:u", "0.0") + line("page-faults:u", "71.0"), "stat.json")
    assert rows(raw, "context-switches")[0]["value"] is None
    assert rows(raw, "context-switches")[0]["reason"] == perf.USER_ONLY
    assert rows(raw, "page-faults")[0]["value"] == 71.0
    assert any("only user mode" in note for note in perf.parse(raw, FACTS).notes)


def test_two_processor_types_are_added_by_what_each_really_counted(tmp_path: Path) -> None:
    # A published `perf stat -p` of a hybrid processor: 6.08 s of task clock, nearly all on the large cores.
    # perf scales the small cores' 0.2 % up as if the run had lived there; adding both would double the cycles.
    text = line("cpu_core/cycles/", "7454455037", 99.53) + line("cpu_atom/cycles/", "7477925853", 0.20)
    (row,) = rows(captured(tmp_path, text, "stat.json"), "cycles")
    assert row["value"] == pytest.approx(7454455037, rel=0.01)
    assert row["running"] == pytest.approx(0.9973)


@pytest.mark.parametrize(
    "name", ["cycles", "armv8_cortex_a72/cycles/", "cpu_core/cycles/u", "cpu_atom/cycles:u/", "cycles:u"]
)
def test_an_event_bears_one_name_whatever_unit_and_modifier_perf_adds(tmp_path: Path, name: str) -> None:
    (row,) = rows(captured(tmp_path, line(name, "12"), "stat.json"), "cycles")
    assert row["value"] == 12.0


def test_types_that_together_counted_only_part_of_the_time_are_scaled_to_all_of_it() -> None:
    value, running = perf.combined([(1000.0, 0.25), (2000.0, 0.25)])
    assert running == 0.5
    assert value == pytest.approx(1500.0)


def test_a_decimal_comma_in_csv_is_a_decimal_point(tmp_path: Path) -> None:
    raw = captured(tmp_path, b"     1,001105922;1,11;msec;task-clock;1111898;66,55;0,001;CPUs utilized\n", "stat.csv")
    (row,) = rows(raw, "task-clock")
    assert (row["value"], row["running"]) == (1.11, pytest.approx(0.6655))


def test_a_cut_last_line_costs_only_that_line(tmp_path: Path) -> None:
    whole = (DATA / "perf-6.1.json").read_bytes()
    cut = captured(tmp_path, whole[:-40], "stat.json")
    parsed = perf.parse(cut, FACTS)
    assert parsed.tables["counters"].num_rows == len(perf.json_counts(whole)[0]) - 1
    assert any("1 line(s)" in note for note in parsed.notes)


def test_times_are_bounded_by_what_the_agent_saw_at_both_ends(tmp_path: Path) -> None:
    second = 1_000_000_000
    raw = captured(
        tmp_path,
        line("task-clock", "5", time=1.0) + line("task-clock", "5", time=1.5),
        "stat.json",
        spawned=10 * second,
        acknowledged=10 * second + 20_000_000,
        interrupted=int(11.513 * second),  # perf's clock started at 10.013 s or later
        exited=int(11.517 * second),  # and at 10.017 s or earlier
    )
    parsed = perf.parse(raw, FACTS)
    ends = parsed.tables["counters"].column("time_ns").to_pylist()
    assert ends == [11_015_000_000, 11_515_000_000]
    assert "perf_stat: counter times are known to ±2.0 ms" in parsed.notes


def test_a_killed_capture_without_an_end_still_has_times(tmp_path: Path) -> None:
    raw = captured(tmp_path, line("task-clock", "5"), "stat.json", spawned=10**10, acknowledged=10**10 + 20_000_000)
    parsed = perf.parse(raw, FACTS)
    assert parsed.tables["counters"].column("time_ns").to_pylist() == [11_010_000_000]
    assert "perf_stat: counter times are known to ±10.0 ms" in parsed.notes


def test_no_capture_is_an_empty_table_and_a_note(tmp_path: Path) -> None:
    parsed = perf.parse(tmp_path, FACTS)
    assert parsed.tables["counters"].num_rows == 0
    assert parsed.notes == ["perf_stat: perf wrote no counts"]


@given(st.binary(max_size=300), st.integers(0, 7000))
def test_damaged_output_never_breaks_the_reader(noise: bytes, at: int) -> None:
    whole = (DATA / "perf-6.1.json").read_bytes()
    for counts, _ in (perf.json_counts(whole[:at] + noise + whole[at:]), perf.csv_counts(noise)):
        assert all(math.isfinite(count.time) for count in counts)
        assert all(count.value is None or math.isfinite(count.value) for count in counts)


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"interval": 1e999}', b'{"interval": ' + b"9" * 9000 + b"}", b"null"]
)
def test_hostile_json_is_counted_as_damage(text: bytes) -> None:
    assert perf.json_counts(text)[0] == []


# --- probe -----------------------------------------------------------------------------------------------------------


def proc(tmp_path: Path, paranoid: str | None, capabilities: str) -> Roots:
    root = tmp_path / "proc"
    (root / "self").mkdir(parents=True)
    (root / "self/status").write_text(f"Name:\tx\nCapEff:\t{capabilities}\n")
    if paranoid is not None:
        (root / "sys/kernel").mkdir(parents=True)
        (root / "sys/kernel/perf_event_paranoid").write_text(paranoid + "\n")
    return Roots(proc=str(root))


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "perf"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


USAGE = "echo ' Usage: perf stat\n  --interval-print <n>\n' >&2; exit 129\n"


def test_a_missing_perf_says_how_to_get_it(tmp_path: Path) -> None:
    probe = PerfStat(Context(str(tmp_path), options={"perf": "/nowhere/perf"})).probe()
    assert not probe.available
    assert "not installed" in probe.reason
    assert "apt-get install linux-perf" in probe.remedy


def test_paranoia_keeps_ordinary_users_out_and_says_what_to_set(tmp_path: Path) -> None:
    context = Context(str(tmp_path), proc(tmp_path, "4", "0"), options={"perf": script(tmp_path, USAGE)})
    probe = PerfStat(context).probe()
    assert not probe.available
    assert "perf_event_paranoid is 4" in probe.reason
    assert "perf_event_paranoid=2" in probe.remedy


@pytest.mark.parametrize("capability", [21, 38])
def test_paranoia_does_not_matter_to_who_holds_the_capability(tmp_path: Path, capability: int) -> None:
    roots = proc(tmp_path, "4", f"{1 << capability:016x}")
    assert PerfStat(Context(str(tmp_path), roots, options={"perf": script(tmp_path, USAGE)})).probe().available


def test_a_wrapper_without_a_perf_for_this_kernel_is_a_reason_in_its_own_words(tmp_path: Path) -> None:
    said = "echo 'WARNING: perf not found for kernel 5.15.0-122' >&2; exit 2\n"
    context = Context(str(tmp_path), proc(tmp_path, "2", "0"), options={"perf": script(tmp_path, said)})
    probe = PerfStat(context).probe()
    assert not probe.available
    assert "WARNING: perf not found for kernel 5.15.0-122" in probe.reason
    assert "linux-tools-" in probe.remedy


def test_a_kernel_without_perf_events_is_a_reason(tmp_path: Path) -> None:
    context = Context(str(tmp_path), proc(tmp_path, None, "0"), options={"perf": script(tmp_path, USAGE)})
    assert PerfStat(context).probe().reason == "this kernel has no perf events"


def test_a_perf_that_ends_at_once_is_an_error_in_its_own_words_and_stops_cleanly(tmp_path: Path) -> None:
    program = script(
        tmp_path, "case $2 in -h) " + USAGE.strip() + ";; esac\necho Error: >&2\necho 'no such event' >&2; exit 1\n"
    )
    collector = PerfStat(Context(str(tmp_path), options={"perf": program}, pid=1))
    assert collector.probe().available
    with pytest.raises(OSError, match="perf ended at once: no such event"):
        collector.start()
    status = collector.stop()
    assert status.records == 0
    assert status.lost is None
