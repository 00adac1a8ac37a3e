"""Drives the collectors: probes, starts, samples and stops each, and lets none of them stop the run."""

import errno
import time
from typing import Any, Callable, Dict, List, Optional

from edgeprof.collectors import registry
from edgeprof.collectors.base import Collector, Context, Probe, Status


class Unusable(Collector):
    """Stands for a collector that could not even be made."""

    def __init__(self, context: Context, name: str, error: Exception) -> None:
        super().__init__(context)
        self.name = name
        self._error = error

    def probe(self) -> Probe:
        return Probe(
            False,
            "it cannot be loaded: {!r}".format(self._error),
            "reinstall edgeprof; where that does not help, report it as a bug",
        )

    def stop(self) -> Status:
        return Status(0, 0)


def make(name: str, context: Context) -> Collector:
    """The collector of a name; one that cannot be loaded or made becomes one whose probe says why."""
    try:
        return registry.load(name)(context)
    except Exception as error:  # a collector's bug must not cost the run
        return Unusable(context, name, error)


class Driven:
    """One collector under way, with its CPU time and what went wrong.

    A collector that raises is stopped for the rest of the run; its reason goes into the manifest.

    Attributes:
        active: whether it captures now.
        samples: whether it has anything to copy at a tick.
    """

    def __init__(self, collector: Collector, clock: Callable[[], int] = time.thread_time_ns) -> None:
        self.collector = collector
        self.name = collector.name
        self._clock = clock
        self._cpu_ns = 0
        self._due_ns = 0
        self._interval_ns = int((collector.interval or 0.0) * 1e9)
        self.samples = type(collector).sample is not Collector.sample
        self.active = False
        self.started = False
        self.stopped = False
        self._failed_start = False
        self.reason = ""
        self.remedy = ""
        self.details: Dict[str, Any] = {}
        self.status: Optional[Status] = None
        self._notes: List[str] = []

    def probe(self) -> bool:
        """Ask whether it can run here."""
        try:
            answer = self.collector.probe()
        except Exception as error:  # a collector's bug must not cost the run
            self.reason = "its probe failed: {!r}".format(error)
            return False
        self.reason, self.remedy, self.details = answer.reason, answer.remedy, dict(answer.details)
        self.active = answer.available
        return answer.available

    def start(self) -> None:
        """Start it, if its probe was good."""
        if self.active:
            self.started = True
            self._guard(self.collector.start, doing="could not start")
            self._failed_start = not self.active

    def environment(self) -> Dict[str, str]:
        """What it adds to the workload's environment."""
        variables: Dict[str, str] = {}
        if self.active:
            self._guard(lambda: variables.update(self.collector.environment()))
        return variables

    def sample(self, now_ns: int, drain_only: bool = False) -> None:
        """Sample it, if it is due; with ``drain_only``, only if a kernel buffer behind it would overflow otherwise."""
        if now_ns < self._due_ns or now_ns < self.collector.rests_until or not (self.active and self.samples):
            return
        if drain_only and not self.collector.drains:
            return
        self._due_ns = now_ns + self._interval_ns - 1000000 if self._interval_ns else 0
        self._guard(self.collector.sample, now_ns)

    def last(self, now_ns: int) -> None:
        """Take its last sample, due or not."""
        if self.active and self.samples:
            self._guard(self.collector.last, now_ns)

    def stop(self) -> None:
        """Stop it if it was ever started, whatever happened since; only once."""
        if not self.started or self.stopped:
            return
        self.stopped = True
        self._guard(self._stop)
        self.active = False

    def _stop(self) -> None:
        self.status = self.collector.stop()

    def _guard(self, call: Callable[..., None], *arguments: Any, doing: str = "stopped early") -> None:
        before = self._clock()
        try:
            call(*arguments)
        except OSError as error:
            self.active = False
            if error.errno == errno.ENOSPC:
                self._fail("{}: the disk that holds the capture is full".format(doing))
            else:
                self._fail("{}: {}{}".format(doing, error.strerror or error, _where(error)))
        except Exception as error:  # a collector's bug must not cost the run
            self.active = False
            self._fail("{} by a bug in edgeprof: {!r}".format(doing, error))
        finally:
            self._cpu_ns += self._clock() - before

    def _fail(self, sentence: str) -> None:
        if sentence not in self._notes:
            self._notes.append(sentence)

    def report(self) -> Dict[str, Any]:
        """Its entry in the manifest."""
        status = self.status
        available = self.started and not self._failed_start and (status is not None or not self._notes)
        reason = self.reason or ("; ".join(self._notes) if not available else "")
        return {
            "name": self.name,
            "available": available,
            "reason": reason,
            "remedy": self.remedy,
            "mode": status.mode if status else None,
            "records": status.records if status else None,
            "bytes": status.bytes if status else None,
            "lost": status.lost if status else None,
            "cpu_seconds": self._cpu_ns / 1e9,
            "notes": [*self._notes, *(status.notes if status else ())],
            "details": dict(self.details, **(status.details if status else {})),
        }


def _where(error: OSError) -> str:
    return " ({})".format(error.filename) if error.filename else ""


def start_all(driven: List[Driven]) -> None:
    """Probe and start all."""
    for item in driven:
        if item.probe():
            item.start()
