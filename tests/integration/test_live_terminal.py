"""`edgeprof run` in a terminal: its line is there while the workload runs, and the terminal is left as it was."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from tests.helpers import QUICK, Places, children_of, end, processes_with, wait_until
from tests.terminal import Terminal, terminal

PRINTS = """
import itertools, os, sys, time
until = time.monotonic() + float(sys.argv[1])
for number in itertools.count():
    print("line", number, "x" * 60)
    if number % 100 == 99:
        sys.stdout.flush()
        time.sleep(0.02)
        if time.monotonic() > until:
            break
"""


def run(places: Places, *workload: str) -> list[str]:
    return places.command("run", "--collect", QUICK, "--no-ingest", "--", *workload)


def settings(places: Places, **more: str) -> dict[str, str]:
    return places.environment(TERM="xterm-256color", **more)


def is_shown(screen: Terminal) -> bool:
    return screen.reserved and screen.last.startswith("0:0") and "memory" in screen.last


def is_as_before(screen: Terminal) -> bool:
    return not screen.reserved and "memory" not in "".join(screen.rows)


def test_a_workload_that_prints_much_loses_nothing_and_its_line_comes_and_goes(places: Places) -> None:
    argv = run(places, sys.executable, "-S", "-c", PRINTS, "7")
    with terminal(argv, settings(places)) as screen:
        screen.wait_for(lambda: is_shown(screen), "the line")
        screen.resize(30, 120)
        screen.wait_for(lambda: is_shown(screen), "the line after a resize")
        assert screen.wait() == 0
        assert is_as_before(screen)
        numbers = [int(row.split()[1]) for row in screen.scrolled if row.startswith("line ")]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 1000
    overhead = places.manifest()["overhead"]
    assert 0 < overhead["helper_cpu_seconds"] < 1  # what draws the line counts as edgeprof's own


def test_ctrl_c_leaves_the_terminal_as_it_was(places: Places) -> None:
    with terminal(run(places, "sleep", "60"), settings(places, NO_COLOR="1")) as screen:
        screen.wait_for(lambda: is_shown(screen), "the line")
        screen.type(b"\x03")
        assert screen.wait() == 130
        assert is_as_before(screen)
        assert b"\x1b[2m" not in screen.written
    assert places.journals() == []


def test_the_terminal_is_left_as_it_was_when_edgeprof_is_killed(places: Places) -> None:
    word = f"EDGEPROF_TEST_LINE={places.base.name}{os.getpid()}"
    try:
        with terminal(run(places, "env", word, "sleep", "60"), settings(places)) as screen:
            screen.wait_for(lambda: is_shown(screen), "the line")
            os.kill(screen.pid, signal.SIGKILL)
            screen.wait_for(lambda: is_as_before(screen), "the terminal as it was")
    finally:
        end(processes_with(word))


def test_the_terminal_is_left_as_it_was_when_what_draws_is_killed(places: Places) -> None:
    with terminal(run(places, "sleep", "60"), settings(places)) as screen:
        screen.wait_for(lambda: is_shown(screen), "the line")
        (drawer,) = [pid for pid in children_of(screen.pid) if "sleep" not in Path(f"/proc/{pid}/comm").read_text()]
        os.kill(drawer, signal.SIGKILL)
        screen.type(b"\x03")
        assert screen.wait() == 130
        assert not screen.reserved


def test_a_shell_that_stops_it_gets_the_whole_screen(places: Places) -> None:
    shell = ["bash", "--norc", "--noprofile", "-i"]
    with terminal(shell, settings(places, PS1="$ ", HISTFILE="/dev/null")) as screen:
        screen.type((" ".join(run(places, "sleep", "9")) + "\n").encode())
        screen.wait_for(lambda: is_shown(screen), "the line")
        screen.type(b"\x1a")
        screen.wait_for(lambda: is_as_before(screen), "the whole screen for the shell")
        screen.type(b"fg\n")
        screen.wait_for(lambda: screen.reserved, "the line again")
        screen.wait_for(lambda: not screen.reserved, "the end of the run")
        screen.type(b"exit\n")
        assert screen.wait() == 0


def test_without_a_terminal_only_the_asked_for_lines_are_printed(places: Places) -> None:
    done = places.edgeprof("run", "--live", "--collect", QUICK, "--no-ingest", "--", "sleep", "5.5")
    assert "\x1b" not in done.stderr
    assert any(line.startswith("edgeprof: 0:0") and "memory" in line for line in done.stderr.splitlines())
    assert "http://127.0.0.1:8050/live" in done.stderr
    assert done.stdout == ""


def test_a_short_run_pays_nothing_for_the_line(places: Places) -> None:
    with terminal(run(places, "sleep", "1"), settings(places)) as screen:
        assert screen.wait() == 0
        assert not screen.reserved
    assert places.manifest()["overhead"]["helper_cpu_seconds"] == 0


def test_what_a_run_is_followed_by_agrees_with_what_is_ingested(places: Places) -> None:
    from edgeprof.profiler.ingest import ingest
    from edgeprof.profiler.live.follow import Follower

    script = "import edgeprof, time\nfor _ in range(31):\n  time.sleep(0.05)\n  edgeprof.step()"
    running = places.start(
        "run", "--collect", "default,-block,-perf_stat", "--no-ingest", "--", sys.executable, "-c", script
    )
    path = wait_until(lambda: places.directories(), "the capture directory")[0]
    wait_until(lambda: (path / "manifest.partial.json").exists(), "the manifest")
    follower = Follower(path)
    while running.poll() is None:
        follower.look()
        time.sleep(0.2)
    running.communicate()
    follower.look()
    assert follower.ended
    assert follower.problem is None
    metrics = ingest(path).metrics
    assert follower.steps == metrics["steps"]["value"] == 30  # nobody knows when the first began
    told = follower.histories()
    assert abs(told["step_time"].values[-1] / metrics["step_time_p50"]["value"] - 1) < 0.3
    assert max(told["memory"].values) <= metrics["cgroup_memory_peak"]["value"]
