"""A run's reservation of the machine: a lock that ends with its holder, in a file that others may tamper with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeprof.profiler.agent.remote_protocol import Refused
from edgeprof.profiler.agent.reserve import PATIENCE, RESERVED, Holder, Reservation, holder, lock_file
from tests.helpers import ROOT, wait_until

HOLD = """
import sys
from edgeprof.profiler.agent.reserve import Reservation
held = Reservation(sys.argv[1], sys.argv[2], float(sys.argv[3]))
"""


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPROF_BOARD_LOCKS", str(tmp_path))
    return tmp_path / "edgeprof.lock"


@contextmanager
def other(code: str = "print(1, flush=True); sys.stdin.read()", wait: str = "0") -> Iterator[subprocess.Popen[str]]:
    """Another process that reserves the machine, then runs ``code``."""
    argv = [sys.executable, "-c", HOLD + code, "other@desk", "its-job", wait]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, text=True, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def reserved(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"


def test_it_ends_with_its_holder_however_that_ends(lock: Path) -> None:
    assert holder() == Holder(False)
    with other() as process:
        reserved(process)
        found = holder()
        assert (found.held, found.owner, found.job) == (True, "other@desk", "its-job")
        with pytest.raises(Refused, match=r"other@desk has it since .* for its-job") as caught:
            Reservation("me", "mine")
        assert caught.value.exit_code == RESERVED
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        assert "other@desk" in lock.read_text()  # its text is still there, and says nothing
        assert holder() == Holder(False)
    mine = Reservation("me", "mine")
    assert holder().owner == "me"
    mine.release()
    assert holder() == Holder(False)
    assert lock.read_bytes() == b""


def test_programs_that_the_holder_starts_do_not_inherit_it(lock: Path) -> None:
    mine = Reservation("me", "mine")
    with subprocess.Popen(["sleep", "50"], close_fds=False) as process:
        try:
            mine.release()
            assert holder() == Holder(False)
        finally:
            process.kill()


def test_it_waits_as_long_as_it_is_told_and_no_longer(lock: Path) -> None:
    with other("print(1, flush=True); import time; time.sleep(0.9)") as process:
        reserved(process)
        used, began = time.process_time(), time.monotonic()
        with pytest.raises(Refused):
            Reservation("me", "mine", wait=PATIENCE + 0.1)
        assert time.monotonic() - began > PATIENCE
        mine = Reservation("me", "mine", wait=30.0)
        assert time.process_time() - used < 0.2  # asleep, not asking again and again
        mine.release()


def test_it_leaves_the_callers_own_alarm_as_it_was(lock: Path) -> None:
    before = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[1]
    with other() as process:
        reserved(process)
        with pytest.raises(Refused):
            Reservation("me", "mine")
    assert (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[1]) == before


def test_the_same_file_for_all_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPROF_BOARD_LOCKS", raising=False)
    assert lock_file() in ("/run/lock/edgeprof.lock", "/tmp/edgeprof.lock")


@pytest.mark.root
def test_users_share_it_whatever_their_umask(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o1777)
        monkeypatch.setenv("EDGEPROF_BOARD_LOCKS", name)
        old = os.umask(0o077)
        try:
            mine = Reservation("me", "mine")
        finally:
            os.umask(old)
        assert (folder / "edgeprof.lock").stat().st_mode & 0o777 == 0o666
        mine.release()
        answers, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgid(65534)
                os.setuid(65534)
                Reservation("nobody", "its-job")
                os.write(write_end, b"1")
                signal.pause()
            finally:
                os._exit(1)
        os.close(write_end)
        try:
            assert os.read(answers, 1) == b"1"
            assert holder().owner == "nobody"
            with pytest.raises(Refused):
                Reservation("me", "mine")
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(answers)
        assert holder() == Holder(False)


def test_what_another_user_puts_in_its_place_is_refused_and_untouched(lock: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for tamper in (lock.symlink_to, lock.hardlink_to):
        tamper(victim)
        for attempt in (lambda: Reservation("me", "mine"), holder):
            with pytest.raises(Refused, match="remove it"):
                attempt()
        lock.unlink()
        assert victim.read_text() == "precious"
    for make in (lock.mkdir, lambda: os.mkfifo(lock)):
        make()
        with pytest.raises(Refused, match="remove it"):
            Reservation("me", "mine")
        lock.rmdir() if lock.is_dir() else lock.unlink()


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff\xfe", b"[" * 5000, b"[]", b'{"owner": 5, "job": [], "since": null}', b'{"owner": "' + b"x" * 9000],
)
def test_a_holder_whose_text_says_nothing_is_a_holder_all_the_same(lock: Path, text: bytes) -> None:
    mine = Reservation("me", "mine")
    lock.write_bytes(text)
    assert holder() == Holder(True)
    with pytest.raises(Refused, match="it is not known who has it"):
        Reservation("other", "other")
    mine.release()


def test_what_a_holder_says_of_himself_is_cleaned(lock: Path) -> None:
    mine = Reservation("me", "mine")
    lock.write_text(json.dumps({"owner": "\x1b[2Jme\n" + "x" * 1000, "job": "j", "since": "s"}))
    found = holder()
    assert found.owner is not None
    assert found.owner.startswith("?[2Jme?x")
    assert len(found.owner) == 200
    mine.release()


def test_who_waits_at_a_file_that_is_removed_meanwhile_waits_at_the_new_one(lock: Path) -> None:
    first = Reservation("first", "first")
    with other("print(1, flush=True)", wait="1.5") as waiting:
        wait_until(lambda: f"-> FLOCK  ADVISORY  WRITE {waiting.pid} " in Path("/proc/locks").read_text(), "its wait")
        lock.unlink()
        second = Reservation("second", "second")
        first.release()  # now the other one has the old file's lock, which is worth nothing
        output, errors = waiting.communicate(timeout=20)
    assert output == ""
    assert "second has it" in errors
    assert holder().owner == "second"
    second.release()
