"""Examples of request latency: what was known at each request's arrival, and nothing that came later."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from edgeprof.profiler.run import Run
from edgeprof.profiler.training_sets.errors import Unusable
from edgeprof.profiler.training_sets.latency import RunExamples, examples_of
from edgeprof.profiler.training_sets.schema import FEATURES
from tests.guest.record_backends import tables_in
from tests.source_tree import ROOT
from tests.training_runs import START_NS, block_io, ns, request, write_run

CAPTURES = ROOT / "tests" / "data" / "block" / "backends-6.1"


def examples(folder: Path, requests: Any, **options: Any) -> RunExamples:
    """The examples of a run of these requests."""
    return examples_of(Run(write_run(folder, requests, **options)), "run")


def rows(folder: Path, requests: Any, **options: Any) -> list[dict[str, Any]]:
    """The same as rows."""
    found: list[dict[str, Any]] = examples(folder, requests, **options).table.to_pylist()
    return found


def ms(row: dict[str, Any], name: str) -> float | None:
    """A time of a row in milliseconds."""
    return None if row[name] is None else round(row[name] * 1e3, 6)


FOUR = [
    request(0, 10, sector=0, bytes=4096),
    request(2, 4, "write", sector=8, bytes=8192),
    request(5, 6, sector=100, bytes=4096),
    request(104, 105, sector=24, bytes=512),
]


class TestKnownAnswers:
    def test_the_queue_counts_what_came_before_and_has_not_completed(self, tmp_path: Path) -> None:
        found = rows(tmp_path / "run", FOUR)
        assert [row["queue"] for row in found] == [0, 1, 1, 0]
        assert [row["queue_1"] for row in found] == [None, 0, 1, 1]
        assert [row["queue_2"] for row in found] == [None, None, 0, 1]
        assert [row["queue_3"] for row in found] == [None, None, None, 0]

    def test_the_distance_is_from_the_end_of_the_last_request(self, tmp_path: Path) -> None:
        assert [row["sector_distance"] for row in rows(tmp_path / "run", FOUR)] == [None, 0, 76, -84]

    def test_last_latencies_are_of_completed_requests_in_the_order_of_their_completion(self, tmp_path: Path) -> None:
        found = rows(tmp_path / "run", FOUR)
        assert [ms(row, "read_latency_1") for row in found] == [None, None, None, 10]
        assert ms(found[3], "read_latency_2") == 1
        assert found[3]["read_latency_3"] is None
        assert [ms(row, "write_latency_1") for row in found] == [None, None, 2, 2]

    def test_writes_are_remembered(self, tmp_path: Path) -> None:
        found = rows(tmp_path / "run", FOUR)
        assert [ms(row, "since_write") for row in found] == [None, None, 3, 102]
        assert [row["written_100ms"] for row in found] == [None, None, None, 8192]

    def test_bytes_ahead_are_of_requests_that_have_not_completed(self, tmp_path: Path) -> None:
        assert [row["ahead"] for row in rows(tmp_path / "run", FOUR)] == [0, 4096, 4096, 0]

    def test_bytes_that_merges_added_are_not_missed_once_the_device_was_idle(self, tmp_path: Path) -> None:
        merged = request(0, 4, inserted=0, inserted_sector=0, inserted_bytes=4096, bytes=65536)
        found = rows(tmp_path / "run", [merged, request(2, 6), request(5, 7), request(8, 10), request(9, 11)])
        assert [row["ahead"] for row in found] == [0, 4096, 0, 0, 4096]

    def test_what_the_request_itself_is(self, tmp_path: Path) -> None:
        kinds = [
            request(0, 1, flags="RA"),
            request(2, 3, "write", flags="W", bytes=512),
            request(4, 5, "write", flags="WS"),
            request(6, 7, "flush", flags="FF", sector=None, bytes=0),
        ]
        found = rows(tmp_path / "run", kinds)
        assert [row["op"] for row in found] == ["read", "write", "write", "flush"]
        assert [row["synchronous"] for row in found] == [True, False, True, True]
        assert [row["bytes"] for row in found] == [4096, 512, 4096, 0]
        assert {row["device_class"] for row in found} == {"nvme"}
        assert found[3]["sector_distance"] is None
        assert [ms(row, "latency") for row in found] == [1, 1, 1, 1]

    def test_requests_that_come_at_the_same_time_know_nothing_of_each_other(self, tmp_path: Path) -> None:
        found = rows(tmp_path / "run", [request(1, 2), request(1, 3), request(2, 4)])
        assert [row["queue"] for row in found] == [0, 0, 2]  # what completes at this very moment still counts

    def test_devices_know_nothing_of_each_other(self, tmp_path: Path) -> None:
        other = {"dev": 8 << 20, "device": "sda"}
        found = rows(tmp_path / "run", [request(0, 9), request(1, 2, **other), request(3, 4)])
        assert [(row["device"], row["queue"]) for row in found] == [("nvme0n1", 0), ("sda", 0), ("nvme0n1", 1)]


class TestMoment:
    def test_insertion_counts_where_the_length_then_is_known(self, tmp_path: Path) -> None:
        merged = request(5, 9, inserted=1, sector=8, bytes=65536, inserted_sector=16, inserted_bytes=4096)
        found = rows(tmp_path / "run", [merged])
        assert (found[0]["moment"], found[0]["time_ns"], found[0]["bytes"]) == ("insert", ns(1), 4096)
        assert ms(found[0], "latency") == 8

    def test_without_that_length_the_issue_counts(self, tmp_path: Path) -> None:
        found = rows(tmp_path / "run", [request(5, 9, inserted=1, bytes=65536)])
        assert (found[0]["moment"], found[0]["time_ns"], found[0]["bytes"]) == ("issue", ns(5), 65536)

    def test_a_table_of_before_that_column_was_there_is_read(self, tmp_path: Path) -> None:
        table = block_io([request(5, 9, inserted=1)]).drop_columns(["inserted_sector", "inserted_bytes"])
        assert rows(tmp_path / "run", table)[0]["moment"] == "issue"


class TestNoLeakage:
    """Whatever happens at a request's moment or later, its features stay."""

    @pytest.mark.parametrize("capture", ["tracefs-blk/tracefs", "tracefs-blk/blk", "tracefs-blktrace/blktrace"])
    def test_of_real_captures(self, tmp_path: Path, capture: str) -> None:
        pair, backend = capture.split("/")
        self.check(tmp_path, tables_in(CAPTURES / pair)[backend])

    @pytest.mark.parametrize("seed", range(3))
    def test_of_made_requests(self, tmp_path: Path, seed: int) -> None:
        self.check(tmp_path, block_io(made(random.Random(seed), 300)))

    def check(self, place: Path, table: pa.Table) -> None:
        draw = random.Random(7)
        original = examples(place / "original", table).table
        assert original.num_rows >= 0.9 * table.num_rows
        for number in range(25):
            position = draw.randrange(original.num_rows)
            row = original.slice(position, 1).to_pylist()[0]
            later = other_future(table, row["time_ns"], row["device"], draw)
            changed = examples(place / str(number), later).table.to_pylist()
            same = [item for item in changed if (item["time_ns"], item["device"]) == (row["time_ns"], row["device"])]
            features = [{name: item[name] for name in FEATURES} for item in same]
            assert {name: row[name] for name in FEATURES} in features
            assert len(changed) != original.num_rows or changed != original.to_pylist()

    def test_the_past_does_change_them(self, tmp_path: Path) -> None:
        before = rows(tmp_path / "before", FOUR)[3]
        after = rows(tmp_path / "after", [request(0, 11), FOUR[1], FOUR[3]])[2]
        assert {name for name in FEATURES if before[name] != after[name]} >= {
            "queue_2",
            "read_latency_1",
            "sector_distance",
        }


def made(draw: random.Random, count: int) -> list[dict[str, Any]]:
    """Requests of a busy disk, some of them merged after their insertion."""
    found = []
    for _ in range(count):
        inserted = draw.uniform(0, 400)
        issued = inserted + draw.expovariate(1)
        size = draw.choice([4096, 8192, 65536])
        at_insertion = {"inserted": inserted, "inserted_sector": draw.randrange(10**6), "inserted_bytes": size}
        found.append(
            request(
                issued,
                issued + draw.expovariate(0.2),
                draw.choice(["read", "write"]),
                sector=at_insertion["inserted_sector"],
                bytes=size * draw.choice([1, 4]),
                **(at_insertion if draw.random() < 0.7 else {}),
            )
        )
    return sorted(found, key=lambda row: row["queued_ns"])


TIMES = ("queued_ns", "inserted_ns", "issued_ns", "completed_ns")


def other_future(table: pa.Table, now: int, device: str, draw: random.Random) -> pa.Table:
    """The same past and another future: requests come later or not at all and are others, completions move or fail."""
    kept = []
    for row in table.to_pylist():
        by_insertion = row["inserted_ns"] is not None and row["inserted_bytes"] is not None
        moment = row["inserted_ns"] if by_insertion else row["issued_ns"]
        ours = moment == now and row["device"] == device
        if moment is None:
            kept.append(row)
            continue
        if moment >= now and not ours:
            if draw.random() < 0.5:
                continue
            shift = draw.randrange(10**9)
            row |= {name: row[name] + shift for name in TIMES if row[name] is not None}
            row |= {"sector": draw.randrange(10**6), "bytes": 512 * draw.randrange(1, 99), "op": "write"}
        else:
            for name in ("issued_ns", "completed_ns"):
                if row[name] is not None and row[name] >= now and row[name] != moment:
                    row[name] = now + draw.randrange(1, 10**9)
            if row["completed_ns"] is not None and row["completed_ns"] >= now and not ours and draw.random() < 0.3:
                row |= {"completed_ns": None, "error": None}
            if by_insertion and row["issued_ns"] is not None and row["issued_ns"] >= now:
                row |= {"bytes": row["bytes"] * 3, "sector": 0}
                if row["completed_ns"] is not None:
                    row["completed_ns"] = max(row["completed_ns"], row["issued_ns"])
        kept.append(row)
    return pa.Table.from_pylist(kept, schema=table.schema)


class TestWindows:
    def test_what_was_in_flight_across_a_pause_is_not_counted_after_it(self, tmp_path: Path) -> None:
        requests = [request(1, None), request(2, 3), request(60, 61), request(62, 63)]
        found = rows(tmp_path / "run", requests, windows=[(0, 10), (50, 100)])
        assert [(row["time_ns"], row["queue"]) for row in found] == [(ns(2), 1), (ns(60), 0), (ns(62), 0)]

    def test_history_begins_anew_with_each_window(self, tmp_path: Path) -> None:
        requests = [request(1, 2, "write"), request(60, 61)]
        last = rows(tmp_path / "run", requests, windows=[(0, 10), (50, 100)])[-1]
        for name in ("queue_1", "sector_distance", "write_latency_1", "since_write", "written_100ms"):
            assert last[name] is None

    def test_requests_are_left_out_while_others_from_before_the_window_are_in_flight(self, tmp_path: Path) -> None:
        stranger = request(None, 55)
        requests = [request(52, 53), stranger, request(56, 57)]
        found = examples(tmp_path / "run", requests, windows=[(50, 100)])
        assert found.table["time_ns"].to_pylist() == [ns(56)]
        assert found.dropped == {"no_arrival": 1, "unsettled": 1}

    def test_a_completion_after_a_pause_unsettles_the_next_window(self, tmp_path: Path) -> None:
        requests = [request(1, 58), request(55, 56), request(59, 60)]
        found = examples(tmp_path / "run", requests, windows=[(0, 10), (50, 100)])
        assert found.table["time_ns"].to_pylist() == [ns(59)]
        assert found.dropped == {"unsettled": 1, "no_completion": 1}

    def test_another_device_is_not_unsettled(self, tmp_path: Path) -> None:
        requests = [request(None, 55, dev=8 << 20, device="sda"), request(52, 53)]
        assert len(rows(tmp_path / "run", requests, windows=[(50, 100)])) == 1

    def test_an_arrival_outside_all_windows_gives_no_example(self, tmp_path: Path) -> None:
        found = examples(tmp_path / "run", [request(20, 21), request(60, 61)], windows=[(0, 10), (50, None)])
        assert (found.table.num_rows, found.dropped) == (1, {"outside": 1})

    def test_windows_that_are_not_known_make_the_run_unusable(self, tmp_path: Path) -> None:
        with pytest.raises(Unusable, match="in windows of time"):
            examples(tmp_path / "run", FOUR, block={"mode": "sampled"})

    @pytest.mark.parametrize(("lost", "words"), [(12, "12 records"), (None, "an unknown number of records")])
    def test_lost_records_make_the_run_unusable(self, tmp_path: Path, lost: int | None, words: str) -> None:
        with pytest.raises(Unusable, match=words):
            examples(tmp_path / "run", FOUR, block={"lost": lost})


class TestWhatGivesNoExample:
    def test_each_request_is_an_example_or_has_a_reason(self, tmp_path: Path) -> None:
        requests = [
            *FOUR,
            request(110, None),
            request(111, 112, error=5),
            request(113, 112),
            request(114, 115, bytes=-4),
        ]
        found = examples(tmp_path / "run", requests)
        assert found.dropped == {"no_completion": 1, "failed": 1, "damaged": 2}
        assert found.table.num_rows + sum(found.dropped.values()) == len(requests)

    def test_a_completion_before_its_arrival_does_not_stay_in_the_queue(self, tmp_path: Path) -> None:
        assert rows(tmp_path / "run", [request(2, 1), request(3, 4)])[0]["queue"] == 0

    def test_a_run_without_the_table(self, tmp_path: Path) -> None:
        (write_run(tmp_path / "run", FOUR) / "tables" / "block_io.parquet").unlink()
        with pytest.raises(Unusable, match="no table block_io"):
            examples_of(Run(tmp_path / "run"), "run")

    @pytest.mark.parametrize("keep", [0, 4, 500])
    def test_a_cut_table(self, tmp_path: Path, keep: int) -> None:
        path = write_run(tmp_path / "run", FOUR) / "tables" / "block_io.parquet"
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(Unusable, match="damaged"):
            examples_of(Run(tmp_path / "run"), "run")

    def test_a_table_of_other_types(self, tmp_path: Path) -> None:
        table = block_io(FOUR)
        odd = table.set_column(table.schema.get_field_index("sector"), "sector", pa.array([["x"]] * 4))
        with pytest.raises(Unusable, match="damaged"):
            examples(tmp_path / "run", odd)

    def test_a_table_without_a_column(self, tmp_path: Path) -> None:
        with pytest.raises(Unusable, match="no column owner"):
            examples(tmp_path / "run", block_io(FOUR).drop_columns(["owner"]))

    def test_impossible_numbers_are_unknown(self, tmp_path: Path) -> None:
        wild = [request(0, 1, sector=1 << 62), request(2, 3, bytes=-(1 << 63)), request(4, 5, issued_ns=(1 << 63) - 1)]
        found = examples(tmp_path / "run", [*wild, request(6, 7, sector=8)])
        assert found.dropped == {"no_arrival": 1, "damaged": 1}
        assert [row["sector_distance"] for row in found.table.to_pylist()] == [
            None,
            8,
        ]

    def test_an_empty_table(self, tmp_path: Path) -> None:
        found = examples(tmp_path / "run", block_io(FOUR).slice(0, 0))
        assert (found.table.num_rows, found.dropped, found.cuts) == (0, {}, None)


class TestSplitByTime:
    def test_the_parts_follow_one_another(self, tmp_path: Path) -> None:
        found = rows(tmp_path / "run", [request(number, number + 0.5) for number in range(100)])
        split = [row["split_time"] for row in found]
        assert split == ["train"] * 70 + ["validation"] * 15 + ["test"] * 15

    def test_a_latency_that_became_known_after_its_part_is_in_no_part(self, tmp_path: Path) -> None:
        requests = [request(number, 75 if number == 3 else number + 0.5) for number in range(100)]
        split = [row["split_time"] for row in rows(tmp_path / "run", requests)]
        assert [number for number, part in enumerate(split) if part is None] == [3]


def test_a_real_capture_agrees_with_a_count_by_hand(tmp_path: Path) -> None:
    table = tables_in(CAPTURES / "tracefs-blktrace")["tracefs"]
    found = rows(tmp_path / "run", table)
    assert len(found) > 100
    every = table.to_pylist()
    insertions = [row["moment"] for row in found].count("insert")
    assert insertions > 100
    for row in found[:: max(1, len(found) // 40)]:
        in_flight = [
            other
            for other in every
            if other["dev"] is not None
            and other["device"] == row["device"]
            and (moment := arrival(other)) is not None
            and moment < row["time_ns"]
            and (other["completed_ns"] is None or other["completed_ns"] >= row["time_ns"])
        ]
        assert row["queue"] == len(in_flight)


def arrival(row: dict[str, Any]) -> int | None:
    """The moment of prediction of a row of block_io."""
    known = row["inserted_ns"] is not None and row["inserted_bytes"] is not None
    moment: int | None = row["inserted_ns"] if known else row["issued_ns"]
    return moment


def test_the_run_starts_when_the_requests_do_not(tmp_path: Path) -> None:
    late = request(150, 151)
    assert rows(tmp_path / "run", [late])[0]["written_100ms"] == 0
    assert late["issued_ns"] == START_NS + 150_000_000
