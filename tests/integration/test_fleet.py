"""A matrix over boards with networks and processes of their own, reached over SSH: lost, held, and given back."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from edgeprof.profiler.matrix.state import read_state
from edgeprof.profiler.run import open_run
from tests.helpers import QUICK, ROOT, Places, processes_with, wait_until
from tests.namespaces import missing_namespaces, namespace
from tests.ssh_server import Shelf, SshBoard, missing_sshd, shelf

pytest.importorskip("yaml", reason="needs PyYAML: pip install 'edgeprof[matrix]'")
pytest.importorskip("distributed", reason="needs Dask: pip install 'edgeprof[fleet]'")

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(missing_namespaces() is not None, reason=missing_namespaces() or ""),
    pytest.mark.skipif(missing_sshd() is not None, reason=missing_sshd() or ""),
]

PATIENT = 90.0
"""Seconds for what takes a few where the machine has nothing else to do."""


LONG = "echo > FOLDER/begun-{word}; exec sleep 77"
"""A workload that has to be ended."""


@pytest.fixture(scope="module")
def boards() -> Iterator[Shelf]:
    """Two boards, east and west."""
    with ExitStack() as stack:
        places = [stack.enter_context(namespace(number)) for number in range(2)]
        found = stack.enter_context(shelf())
        for name, (address, enter) in zip(("east", "west"), places, strict=True):
            found.add(name, address=address, prefix=enter)
        yield found


class Fleet:
    """A matrix in a test's own places, and the boards that it runs over."""

    def __init__(self, places: Places, boards: Shelf, script: str, axes: str, more: str = "repeats: 1") -> None:
        self.places, self.boards = places, boards
        self.mark = f"fleet-test-{places.base.name}"
        self.spec, self.shelf = places.base / "m.yaml", places.base / "boards.yaml"
        command = json.dumps(["sh", "-c", script.replace("FOLDER", shlex.quote(str(places.base)))])
        self.spec.write_text(f"command: {command}\nfixed: {{collect: '{QUICK}'}}\naxes: {axes}\n{more}\n")
        self.folder = places.base / "edgeprof-matrix" / "m"
        self.limits = ""
        for board in boards.boards.values():
            if board.process is None:
                board.start()

    def environment(self) -> dict[str, str]:
        return self.places.environment(TEST_MARK=self.mark, **self.boards.environment())

    def start(self, *words: str) -> subprocess.Popen[str]:
        """``edgeprof matrix run`` over both boards."""
        return self.places.start(
            "matrix", "run", str(self.spec), *(words or self.with_boards()), env=self.environment()
        )

    def with_boards(self) -> tuple[str, str]:
        entries = "".join(
            f"  {name}: {{kind: pi, address: '{board.url}'}}\n" for name, board in self.boards.boards.items()
        )
        self.shelf.write_text(f"{self.limits}\nboards:\n{entries}")
        return "--boards", str(self.shelf)

    def ended(self) -> dict[str, list[str]]:
        """The boards of the runs that have ended, by the cell's level of ``board``."""
        with suppress(Exception):  # it is not begun
            progress = read_state(self.folder)
            found = defaultdict(list)
            for (cell, _), end in progress.ended.items():
                found[progress.cells[cell].get("board", "")].append(end.board)
            return found
        return {}

    def begun(self) -> list[str]:
        """The words of the workloads that have begun with `LONG`."""
        return sorted(path.name.partition("-")[2] for path in self.places.base.glob("begun-*"))

    def nothing_is_left(self) -> None:
        wait_until(lambda: not processes_with(self.mark), "the end of the desk's processes", PATIENT)
        for board in self.boards.boards.values():
            wait_until(lambda: not _runs(board), f"the end of what ran on {board.name}", PATIENT)  # noqa: B023
        assert self.places.journals() == []


def _runs(board: SshBoard) -> list[int]:
    """Processes on a board, besides its server's."""
    return board.processes()


def test_a_board_dies_the_rest_completes_and_the_resume_fills_the_gap(places: Places, boards: Shelf) -> None:
    fleet = Fleet(
        places, boards, "sleep 0.3; echo {word}", "{word: [1, 2], board: [east, west, pi]}", "repeats: 2\nseed: 2"
    )
    process = fleet.start(*fleet.with_boards(), "--json")
    wait_until(lambda: fleet.ended().get("east"), "the first run on east", PATIENT)
    boards.boards["east"].end_all()
    out, err = process.communicate(timeout=PATIENT * 2)
    assert process.returncode == 3, err
    told = json.loads(out)
    assert "east" in told["lost"]
    assert "east" in told["stopped"]
    assert told["left"] > 0
    found = fleet.ended()
    assert len(found["west"]) == 4
    assert len(found["pi"]) == 4
    assert told["left"] == 4 - len(found["east"])
    assert "Traceback" not in err

    boards.boards["east"].start()
    again = fleet.start()
    out, err = again.communicate(timeout=PATIENT)
    assert again.returncode == 0, err
    assert "12 runs" not in out, "only what was left is run"
    progress = read_state(fleet.folder)
    assert len(progress.ended) == 12
    on: dict[str, set[str]] = defaultdict(set)
    for (cell, _), end in progress.ended.items():
        assert not end.failed
        on[cell].add(end.board)
        manifest: dict[str, Any] = open_run(fleet.folder / "runs" / end.run).manifest
        assert manifest["remote"]["board"] == end.board
        assert manifest["factors"]["matrix"]["cell"] == cell
    for cell, several in on.items():
        wanted = progress.cells[cell]["board"]
        assert len(several) == 1, "repeats stay on one board"
        assert wanted == "pi" or several == {wanted}

    report = places.edgeprof("matrix", "report", str(fleet.spec), env=fleet.environment())
    assert report.returncode == 0, report.stderr
    assert "<html" in Path(places.base, report.stdout.strip()).read_text()
    fleet.nothing_is_left()


def test_kill_9_of_the_matrix_leaves_nothing_on_desk_and_boards(places: Places, boards: Shelf) -> None:
    fleet = Fleet(places, boards, LONG, "{word: [1, 2]}")
    process = fleet.start()
    wait_until(lambda: len(fleet.begun()) == 2, "a workload on each board", PATIENT)
    process.kill()
    process.communicate()
    fleet.nothing_is_left()
    assert len(read_state(fleet.folder).open) == 2


def test_ctrl_c_ends_the_runs_of_all_boards(places: Places, boards: Shelf) -> None:
    fleet = Fleet(places, boards, LONG, "{word: [1, 2, 3]}")
    process = fleet.start()
    wait_until(lambda: len(fleet.begun()) == 2, "a workload on each board", PATIENT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENT)
    assert process.returncode == 130, err
    assert "it was interrupted; 3 runs are left" in err
    assert "Traceback" not in err
    fleet.nothing_is_left()
    assert (read_state(fleet.folder).ended, read_state(fleet.folder).open) == ({}, {})


def test_a_board_that_somebody_else_has_is_waited_for_and_told(places: Places, boards: Shelf) -> None:
    fleet = Fleet(places, boards, "true", "{board: [east]}")
    entry = places.edgeprof("board", "add", "east", boards.boards["east"].url, env=fleet.environment())
    assert entry.returncode == 0, entry.stderr
    other = places.start(
        "run",
        "--board",
        "east",
        "--no-report",
        "--",
        "sh",
        "-c",
        f"echo > {shlex.quote(str(places.base))}/begun-other; exec sleep 77",
        env=fleet.environment(),
    )
    wait_until(lambda: fleet.begun() == ["other"], "the other's run", PATIENT)
    fleet.limits = "wait: 1s"
    process = fleet.start()
    _, err = process.communicate(timeout=PATIENT)
    assert process.returncode == 3, err
    assert "reserved" in err
    assert "east is set aside" in err
    fleet.limits = "wait: 10m"
    process = fleet.start("--quiet", "--json", *fleet.with_boards())
    wait_until(lambda: read_state(fleet.folder).open, "its run", PATIENT)
    other.send_signal(signal.SIGINT)
    other.communicate(timeout=PATIENT)
    out, err = process.communicate(timeout=PATIENT)
    assert (process.returncode, json.loads(out)["done"]) == (0, 1), err
    fleet.nothing_is_left()


def test_a_run_that_was_cut_off_waits_for_the_workload_that_goes_on_without_it(places: Places, boards: Shelf) -> None:
    script = "echo $$ >> FOLDER/begun; until [ -e FOLDER/go ]; do sleep 0.1; done"
    fleet = Fleet(places, boards, script, "{board: [east]}")
    out, go = places.base / "out", places.base / "go"
    ssh = places.base / "ssh"  # while the cable is out only `board check` gets through, and puts it back
    ssh.write_text(
        f"#!/bin/sh\nif [ -e '{out}' ]; then\n"
        f"  if tr '\\0' ' ' < /proc/$PPID/cmdline | grep -q ' board check '; then rm '{out}'\n"
        f"  else echo 'ssh: connect to host east port 22: No route to host' >&2; exit 255; fi\nfi\n"
        f"exec '{boards.program}' \"$@\"\n"
    )
    ssh.chmod(0o755)
    environment = {**fleet.environment(), "EDGEPROF_SSH": str(ssh)}
    process = places.start("matrix", "run", str(fleet.spec), *fleet.with_boards(), env=environment)
    wait_until((places.base / "begun").exists, "the workload", PATIENT)
    out.touch()
    try:
        for _ in range(10):  # longer than it takes to make a connection: one may be half made
            boards.boards["east"].cut()
            time.sleep(0.5)
        wait_until(lambda: len(_jobs(boards.boards["east"])) == 2, "the second run on the board", PATIENT)
        assert len((places.base / "begun").read_text().split()) == 1, "the second waits for the first"
    finally:
        go.touch()
    _, err = process.communicate(timeout=PATIENT)
    assert process.returncode == 0, err
    (end,) = read_state(fleet.folder).ended.values()
    assert (end.failed, end.board) == ("", "east")
    assert "east was lost and is there again; the run is begun anew once the board is free" in err
    assert len((places.base / "begun").read_text().split()) == 2
    fleet.nothing_is_left()


def _jobs(board: SshBoard) -> list[Path]:
    return list(board.home.glob("jobs/*/state.json"))


def test_boards_are_served_at_a_scheduler_of_the_users(places: Places, boards: Shelf) -> None:
    fleet = Fleet(places, boards, "echo > FOLDER/begun-{word}; exec sleep {word}", "{word: [0.1, 77]}")
    described = places.base / "scheduler.json"
    words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *words, "--scheduler-file", str(described)],
        cwd=places.base,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        wait_until(
            lambda: described.exists() and described.read_text().rstrip().endswith("}"), "the scheduler", PATIENT
        )
        address = json.loads(described.read_text())["address"]
        none = fleet.start("--scheduler", address)
        _, err = none.communicate(timeout=PATIENT)
        assert none.returncode == 120
        assert "has no boards; start their proxies with" in err
        environment = {**fleet.environment(), "TEST_MARK": f"proxies-{fleet.mark}"}
        proxies = places.start("board", "serve", "--scheduler", address, *fleet.with_boards(), env=environment)
        assert proxies.stderr is not None
        assert f"serving east, west at {address}" in proxies.stderr.readline()

        killed = fleet.start("--scheduler", address)
        wait_until(lambda: "77" in fleet.begun(), "the long workload", PATIENT)
        wait_until(lambda: sum(map(len, fleet.ended().values())) == 1, "the end of the short one", PATIENT)
        killed.kill()
        killed.communicate()
        for board in boards.boards.values():
            wait_until(lambda: not board.processes(), f"the end of what ran on {board.name}", PATIENT)  # noqa: B023
        fleet.spec.write_text(fleet.spec.read_text().replace("0.1, 77", "0.1, 0.2"))
        again = fleet.start("--scheduler", address, "--json")
        out, err = again.communicate(timeout=PATIENT)
        assert (again.returncode, json.loads(out)["done"]) == (0, 1), err
        proxies.send_signal(signal.SIGINT)
        _, err = proxies.communicate(timeout=PATIENT)
        assert proxies.returncode == 0, err
        assert "Traceback" not in err
    finally:
        scheduler.terminate()
        scheduler.wait(20)


def test_what_no_board_serves_is_told_before_anything_is_run(places: Places, boards: Shelf) -> None:
    fleet = Fleet(places, boards, "touch FOLDER/ran", "{board: [orin-nx]}")
    planned = places.edgeprof("matrix", "plan", str(fleet.spec), *fleet.with_boards(), env=fleet.environment())
    assert planned.returncode == 0, planned.stderr
    assert "1 cells stay open: no board is called 'orin-nx' or is of that kind" in planned.stdout
    process = fleet.start()
    _, err = process.communicate(timeout=PATIENT)
    assert process.returncode == 120
    assert "none of the boards can run what is left: no board is called 'orin-nx'" in err
    assert "Traceback" not in err
    assert not (places.base / "ran").exists()
