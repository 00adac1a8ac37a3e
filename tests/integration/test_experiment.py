"""A run's data set: made apart from edgeprof, kept, and copied to a file system that is made for the run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeprof.profiler import experiment
from edgeprof.profiler.agent.capture import Outcome
from edgeprof.profiler.agent.spec import RunSpec
from edgeprof.profiler.data_sets import copied, made
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.isolation.launch import Launch
from edgeprof.profiler.run import open_run
from edgeprof.profiler.storage.spec import Place
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


def test_a_maker_that_was_killed_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\necho 'making a data set: 3 of 64 MB' >&2\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(killed))
    with pytest.raises(EdgeprofError, match=r"its maker ended with code -9 \(making a data set: 3 of 64 MB\)"):
        made(DataSpec("text"), tmp_path, lambda line: None)


def test_roles_that_read_the_same_data_set_share_its_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROF_DATA_CACHE", str(tmp_path / "cache"))
    new = tmp_path / "new"
    new.mkdir()
    spec, told = DataSpec("trajectories", "numpy", 300_000), []
    copies = [experiment._made(spec, new, Place(folder=new), told.append) for _ in range(2)]
    assert copies[0] == copies[1] == next(new.iterdir())
    assert sum("copying" in line for line in told) == 1


def test_a_run_that_never_began_leaves_nothing_and_its_own_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = tmp_path / "capture"
    capture.mkdir()
    content: dict[str, Any] = {"run": {}, "notes": []}

    def after(path: Path) -> None:
        path.rmdir()
        raise EdgeprofError("the engine refused")

    @contextmanager
    def launched(spec: Any, run: RunSpec, *others: Any) -> Iterator[Launch]:
        yield Launch(run, {"kind": "container"}, after)

    monkeypatch.setattr(experiment, "launched", launched)
    monkeypatch.setattr(
        experiment, "_capture", lambda run, say, version, beside: Outcome(str(capture), 121, None, content)
    )
    with pytest.raises(EdgeprofError, match="the engine refused"):
        experiment.perform(experiment.Experiment(RunSpec(command=["true"])), lambda line: None, "")


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
