"""Which runs are in progress: those whose agent lives here, or whose files grow on another machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeprof.profiler.live.follow import Follower
from edgeprof.profiler.live.progress import QUIET, Watch, in_progress
from tests.live_run import LiveRun, partial


def names(watch: Watch) -> list[str]:
    return [path.name for path in watch.runs()]


def test_runs_come_and_go(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    assert names(watch) == []
    first = LiveRun(tmp_path / "20261121T100000Z-a-1")
    second = LiveRun(tmp_path / "20261121T100001Z-b-2")
    assert names(watch) == ["20261121T100001Z-b-2", "20261121T100000Z-a-1"]
    first.end()
    assert names(watch) == ["20261121T100001Z-b-2"]
    second.end()
    assert names(watch) == []


def test_a_run_whose_agent_is_gone_is_not_in_progress(tmp_path: Path) -> None:
    manifest = partial()
    manifest["processes"]["agent_start"] -= 1  # another process had this id before
    assert not in_progress(LiveRun(tmp_path / "run", manifest).path)
    assert in_progress(LiveRun(tmp_path / "other").path)


def test_of_another_machine_the_files_tell(tmp_path: Path) -> None:
    manifest = partial()
    manifest["processes"]["boot_id"] = "another machine's"
    run = LiveRun(tmp_path / "run", manifest)
    assert not in_progress(run.path)
    run.cgroup_v2(0.0)
    assert in_progress(run.path)
    file = run.path / "raw" / "cgroup" / "samples.frames"
    long_ago = file.stat().st_mtime - 2 * QUIET
    os.utime(file, (long_ago, long_ago))
    assert not in_progress(run.path)


@pytest.mark.parametrize("content", ["", "[1]", '{"processes": 5}', '{"processes": {"agent": "x"}}'])
def test_what_is_no_manifest_is_no_run_in_progress(tmp_path: Path, content: str) -> None:
    run = LiveRun(tmp_path / "run")
    (run.path / "manifest.partial.json").write_text(content)
    assert not in_progress(run.path)


def test_a_pipe_in_place_of_a_manifest_keeps_nobody_waiting(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    (run.path / "manifest.partial.json").unlink()
    os.mkfifo(run.path / "manifest.partial.json")
    assert not in_progress(run.path)
    follower = Follower(run.path)
    follower.look()
    assert follower.info == {}


def test_a_folder_that_is_not_there_or_a_link_has_none(tmp_path: Path) -> None:
    assert Watch(tmp_path / "nothing").runs() == []
    LiveRun(tmp_path / "elsewhere" / "run")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "run").symlink_to(tmp_path / "elsewhere" / "run")
    assert Watch(tmp_path / "folder").runs() == []
