"""The real blktrace, run anew in a guest, is read as blkparse reads it there."""

from __future__ import annotations

import pytest

from edgeprof.collectors.block.requests import pair
from tests.guest.compare_blkparse import as_blkparse_prints, blkparse_lines, blkparse_times, our_times, recording_of
from tests.guest.machine import NoGuest
from tests.guest.record_blktrace import record


@pytest.mark.guest
@pytest.mark.timeout(240)
def test_a_fresh_trace_reads_as_blkparse_prints_it() -> None:
    try:
        files = record()
    except NoGuest as reason:
        pytest.skip(str(reason))
    recording = recording_of(files)
    assert recording.notes == []
    assert as_blkparse_prints(recording) == blkparse_lines(files["blkparse.txt"])
    expected, found = blkparse_times(files["deltas.txt"]), our_times(recording)
    shared = expected["C"].keys() & found["C"].keys()
    assert len(expected["C"]) - len(shared) == files["blkparse.txt"].count(b" G WFS ")
    assert {time: found["C"][time] for time in shared} == {time: expected["C"][time] for time in shared}
    requests = pair(recording.actions())
    assert (requests.has_queued & requests.has_issued & requests.has_completed).all()
    before, after = (float(line) for line in files["uptime"].split())
    assert before - 0.01 <= recording.rows["time"].min() / 1e9 <= recording.rows["time"].max() / 1e9 <= after + 0.01
