"""A run's data set: made apart from edgeprof, kept, and copied to a file system that is made for the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprof.profiler.data_sets import copied, made
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.run import open_run
from edgeprof.workloads.data.spec import DataSpec
from tests.helpers import Places


def test_a_data_set_is_made_once_and_what_is_wrong_is_a_sentence(tmp_path: Path) -> None:
    spec, told = DataSpec("trajectories", "numpy", 300_000), []
    path = made(spec, tmp_path, told.append)
    assert json.loads((path / "dataset.json").read_text())["kind"] == "trajectories"
    assert told
    told.clear()
    assert made(spec, tmp_path, told.append) == path
    assert told == [], "it is there already"
    with pytest.raises(EdgeprofError, match="no format 'clay'"):
        made(DataSpec("text", "clay"), tmp_path, told.append)


def test_what_does_not_fit_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(EdgeprofError, match="could not be copied to the new file system"):
        copied(tmp_path / "none", tmp_path, lambda line: None)


@pytest.mark.root
def test_a_new_file_system_gets_a_copy_of_the_data_set_that_is_kept(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("EDGEPROF_DATA_CACHE", str(cache))
    words = "trajectory-gru --framework onnxruntime --lifecycle infer --size tiny --steps 2 --data-size 300K"
    options = ["--collect", "procfs,block,phases", "--no-report", "--file-system", "ext4", "--cache", "cold"]
    done = places.edgeprof("run", *words.split(), *options)
    assert done.returncode == 0, done.stderr
    run = open_run(places.only())
    data = Path(run.manifest["setup"]["data"])
    assert data.name in {path.name for path in cache.iterdir()}
    assert not data.exists(), "the copy has gone with its file system"
    assert run.manifest["factors"]["storage"]["file_system"] == "ext4"
    read = run.table("block_io").query("owner == 'run' and op == 'read'")
    assert read["device"].astype(str).str.startswith("loop").any(), "the data came from the new file system"
