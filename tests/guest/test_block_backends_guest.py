"""On another kernel, where the real blktrace works: all back ends give equal tables for the same load."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.guest.machine import NoGuest
from tests.guest.record_backends import record, tables_of

SAME = ["dev", "device", "sector", "bytes", "op", "flags", "pid", "comm", "error", "owner"]


@pytest.mark.guest
@pytest.mark.timeout(240)
@pytest.mark.parametrize("other", ["blktrace", "blk"])
def test_back_ends_give_equal_tables(other: str, tmp_path: Path) -> None:
    try:
        files = record(f"tracefs,{other}")
    except NoGuest as reason:
        pytest.skip(str(reason))
    facts = json.loads(files["facts.json"])
    assert facts["exit_code"] == 0
    assert {name: status["details"]["backend"] for name, status in facts["statuses"].items()} == {
        "tracefs": "tracefs",
        other: other,
    }
    assert [status["lost"] for status in facts["statuses"].values()] == [0, 0]
    found = {}
    for name, table in tables_of(files, tmp_path).items():
        rows = table.to_pandas(types_mapper=pd.ArrowDtype)
        rows = rows[rows["owner"] == "run"].dropna(subset=["queued_ns", "completed_ns"])
        found[name] = rows.sort_values(["op", "sector", "queued_ns"], ignore_index=True)
    first, second = found["tracefs"], found[other]
    assert int((first["op"] != "flush").sum()) == 600
    assert set(first["op"]) == {"read", "write", "flush"}
    pd.testing.assert_frame_equal(first[SAME].astype("string"), second[SAME].astype("string"))
    for column in ("queued_ns", "inserted_ns", "issued_ns", "completed_ns"):
        assert first[column].isna().equals(second[column].isna())
        known = first[column].notna()
        apart = (first[column] - second[column])[known].abs().to_numpy(dtype=np.int64)
        assert np.median(apart) < 20_000  # of one clock, taken one after the other
