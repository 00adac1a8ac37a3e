"""Driving collectors: none of them, whatever it does, stops the run, and each says what became of it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from edgeprof.collectors.base import Collector, Context, Probe, Status
from edgeprof.profiler.agent.drive import Driven, make, start_all


class Clock:
    """CPU time that a collector spends by calling it."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


class Fake(Collector):
    """A collector that does what the test says; ``calls`` tells what was asked of it."""

    name = "fake"

    def __init__(self, **does: Callable[..., Any]) -> None:
        super().__init__(Context(""))
        self.does = does
        self.calls: list[str] = []

    def _do(self, name: str, default: Any, *arguments: Any) -> Any:
        self.calls.append(name)
        return self.does[name](*arguments) if name in self.does else default

    def probe(self) -> Probe:
        found: Probe = self._do("probe", Probe(True, details={"path": "/x"}))
        return found

    def environment(self) -> dict[str, str]:
        found: dict[str, str] = self._do("environment", {"NAME": "value"})
        return found

    def start(self) -> None:
        self._do("start", None)

    def sample(self, now_ns: int) -> None:
        self._do("sample", None, now_ns)

    def stop(self) -> Status:
        status: Status = self._do("stop", Status(3, 40, notes=("a note",), details={"more": 1}))
        return status


def fail(error: Exception) -> Callable[..., Any]:
    """What raises."""

    def raising(*arguments: Any) -> Any:
        raise error

    return raising


def run(collector: Fake, samples: int = 2, clock: Clock | None = None) -> dict[str, Any]:
    """A whole run of one collector; its entry in the manifest."""
    driven = Driven(collector, clock or Clock())
    start_all([driven])
    driven.environment()
    for tick in range(samples):
        driven.sample(tick * 10**8)
    driven.last(samples * 10**8)
    driven.stop()
    driven.stop()
    return driven.report()


def test_the_life_of_a_good_collector() -> None:
    collector = Fake()
    entry = run(collector)
    assert collector.calls == ["probe", "start", "environment", "sample", "sample", "sample", "stop"]
    assert entry == {
        "name": "fake",
        "available": True,
        "reason": "",
        "remedy": "",
        "mode": "full",
        "records": 3,
        "bytes": 40,
        "lost": 0,
        "cpu_seconds": 0.0,
        "notes": ["a note"],
        "details": {"path": "/x", "more": 1},
    }


def test_one_that_cannot_run_here_is_only_asked() -> None:
    collector = Fake(probe=lambda: Probe(False, "no such thing", "get one"))
    entry = run(collector)
    assert collector.calls == ["probe"]
    assert (entry["available"], entry["reason"], entry["remedy"]) == (False, "no such thing", "get one")
    assert (entry["records"], entry["bytes"], entry["lost"], entry["mode"]) == (None, None, None, None)


@pytest.mark.parametrize(
    ("method", "error", "available", "sentence", "calls"),
    [
        ("probe", KeyError("x"), False, "its probe failed: KeyError('x')", 1),
        (
            "start",
            OSError(errno.EACCES, "Permission denied", "/x"),
            False,
            "could not start: Permission denied (/x)",
            3,
        ),
        ("start", ValueError("bad"), False, "could not start by a bug in edgeprof: ValueError('bad')", 3),
        ("start", OSError(errno.ENOSPC, "full"), False, "could not start: the disk that holds the capture is full", 3),
        ("environment", TypeError("bad"), True, "stopped early by a bug in edgeprof: TypeError('bad')", 4),
        ("sample", OSError(errno.ENODEV, "No such device"), True, "stopped early: No such device", 5),
        ("sample", OSError(errno.ENOSPC, "full"), True, "stopped early: the disk that holds the capture is full", 5),
        ("sample", IndexError("bad"), True, "stopped early by a bug in edgeprof: IndexError('bad')", 5),
        ("stop", RuntimeError("bad"), False, "stopped early by a bug in edgeprof: RuntimeError('bad')", 7),
    ],
)
def test_what_goes_wrong_is_said_and_ends_only_that_collector(
    method: str, error: Exception, available: bool, sentence: str, calls: int
) -> None:
    collector = Fake(**{method: fail(error)})
    entry = run(collector)
    assert entry["available"] is available
    assert sentence in ([entry["reason"]] if not available else entry["notes"])
    assert len(collector.calls) == calls
    assert collector.calls.count("stop") == (method != "probe")


def test_a_collector_is_sampled_at_its_own_interval() -> None:
    collector = Fake()
    collector.interval = 1.0
    driven = Driven(collector, Clock())
    start_all([driven])
    for tick in range(25):
        driven.sample(tick * 10**8)
    assert collector.calls.count("sample") == 3  # at 0, 1 and 2 s
    driven.last(25 * 10**8)
    assert collector.calls.count("sample") == 4


def test_between_samples_only_those_with_a_kernel_buffer_are_called() -> None:
    plain, draining = Fake(), Fake()
    draining.drains = True
    driven = [Driven(plain, Clock()), Driven(draining, Clock())]
    start_all(driven)
    for item in driven:
        item.sample(0, drain_only=True)
    assert "sample" not in plain.calls
    assert "sample" in draining.calls


def test_cpu_time_is_measured_also_where_it_ends_in_an_error() -> None:
    clock = Clock()

    def cost(*arguments: object) -> None:
        clock.ns += 5_000_000

    def cost_and_fail(*arguments: object) -> None:
        cost()
        raise OSError(errno.EIO, "Input/output error")

    assert run(Fake(sample=cost), clock=clock)["cpu_seconds"] == pytest.approx(0.015)
    clock.ns = 0
    assert run(Fake(sample=cost_and_fail), clock=clock)["cpu_seconds"] == pytest.approx(0.005)


@pytest.mark.parametrize("fault", ["import", "constructor"])
def test_a_collector_that_cannot_be_made_is_unavailable_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def load(name: str) -> Callable[[Context], Collector]:
        if fault == "import":
            raise ModuleNotFoundError("No module named 'edgeprof.collectors.fake'")
        return fail(OSError(errno.EMFILE, "Too many open files"))

    monkeypatch.setattr("edgeprof.profiler.agent.drive.registry.load", load)
    driven = Driven(make("fake", Context("")))
    start_all([driven])
    driven.sample(0)
    driven.last(1)
    driven.stop()
    entry = driven.report()
    assert (entry["name"], entry["available"]) == ("fake", False)
    assert entry["reason"].startswith("it cannot be loaded: ")
    assert entry["remedy"]
