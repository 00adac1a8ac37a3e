"""A command's streams are bounded in size and time, whatever is at the other end."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edgeprof.profiler.board.channel import Channel
from edgeprof.profiler.board.errors import ConnectionCut, NoAnswer, Nonsense, told
from edgeprof.profiler.board.ssh import remote_line


@contextmanager
def channel(script: str) -> Iterator[Channel]:
    process = subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    with Channel("pi", "asking", process) as found:
        yield found
    assert process.returncode is not None


def test_lines_come_as_they_are_and_then_none() -> None:
    with channel("echo one; echo; printf 'two\\n'") as found:
        assert [found.line(), found.line(), found.line(), found.line()] == [b"one", b"", b"two", None]
        assert found.end() == 0


def test_bytes_after_a_line_are_counted() -> None:
    with channel("echo head; printf 12345; echo tail") as found:
        assert found.line() == b"head"
        assert b"".join(found.exactly(5)) == b"12345"
        assert found.line() == b"tail"


def test_what_is_written_arrives() -> None:
    data = os.urandom(3 << 20)
    with channel("wc -c") as found:
        found.write(data)
        found.close_input()
        assert found.line() == b"%d" % len(data)


def test_noise_before_the_mark_is_dropped() -> None:
    with channel("echo Welcome; echo; echo mark; echo answer") as found:
        assert found.skip_to(b"mark")
        assert found.line() == b"answer"


@pytest.mark.parametrize("noise", ["exec yes", "exec cat /dev/zero", "while :; do echo; sleep 0.1; done"])
def test_endless_noise_ends(noise: str) -> None:
    with channel(noise) as found, pytest.raises((Nonsense, NoAnswer)):
        found.skip_to(b"mark", seconds=1)


def test_without_the_mark_there_is_none() -> None:
    with channel("echo no such thing >&2; exit 255") as found:
        assert not found.skip_to(b"mark")
        assert found.end() == 255
        assert found.complaint() == "no such thing\n"


def test_a_line_without_end_is_refused() -> None:
    with channel("cat /dev/zero") as found, pytest.raises(Nonsense, match="more than 1048576 bytes"):
        found.line()


def test_silence_is_told() -> None:
    began = time.monotonic()
    with channel("exec sleep 60") as found, pytest.raises(NoAnswer, match="no answer to asking within"):
        found.line(0.2)
    assert time.monotonic() - began < 5


def test_a_line_that_comes_in_drops_is_told() -> None:
    with channel("while :; do printf x; sleep 0.05; done") as found, pytest.raises(NoAnswer):
        found.line(0.3)


def test_one_that_reads_nothing_is_told() -> None:
    with channel("exec sleep 60") as found, pytest.raises(NoAnswer):
        found.write(bytes(1 << 20), seconds=-63.7)  # 64 s are granted to a megabyte


def test_endless_complaints_disturb_nothing_and_are_not_kept() -> None:
    with channel("cat /dev/zero >&2 & sleep 0.2; echo answer; kill $!") as found:
        assert found.line() == b"answer"
        assert len(found.complaint()) <= 16 << 10


def test_a_cut_in_a_line_or_in_bytes_is_told() -> None:
    with channel("printf half; exit 255") as found, pytest.raises(ConnectionCut, match="ended during asking"):
        found.line()
    with channel("printf half; exit 255") as found, pytest.raises(ConnectionCut):
        list(found.exactly(5))


def test_a_command_that_fails_in_the_middle_is_told_with_its_words() -> None:
    with (
        channel("printf half; echo 'No module named x' >&2; exit 1") as found,
        pytest.raises(Nonsense, match="named x"),
    ):
        found.line()


def test_a_command_that_does_not_stop_to_answer_is_left() -> None:
    with channel("exec yes") as found, pytest.raises(Nonsense, match="does not stop"):
        found.end()


WORDS = ["a b", "'", '"', "$(touch /tmp/x)", "`id`", "a\nb", "*", "", "\\", "!x", "-n", ";", os.fsdecode(b"\xff\xfe")]


@pytest.mark.parametrize("shell", [name for name in ("sh", "bash", "dash", "csh", "fish") if shutil.which(name)])
def test_words_arrive_as_they_are_through_the_shells_that_there_are(shell: str) -> None:
    words = [word for word in WORDS if shell not in ("csh", "fish") or word not in ("a\nb", "!x", "\\")]  # not sent so
    line = remote_line('for word in "$@"; do printf "%s\\0" "$word"; done', words)
    answer = subprocess.run([shell, "-c", line], capture_output=True, check=True).stdout
    assert answer == b"".join(os.fsencode(word) + b"\0" for word in words)


def test_a_boards_words_cannot_steer_the_terminal() -> None:
    shown = told("a\x1b[2Jb\r\nc" + "x" * 10_000)
    assert shown.isprintable()
    assert shown.startswith("a\\x1b[2Jb c")
    assert len(shown) < 500
