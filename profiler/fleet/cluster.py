"""The fleet's cluster: a Dask scheduler and one worker a board, the board's proxy, all at the desk.

A worker has a resource of its board's own name: what is for one board is done by its proxy and by no other, however
idle the others are.  Without ``--scheduler`` all of it lives in this very process and speaks through memory: a Dask
scheduler does what anybody says who reaches its port, so there is none.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeprof import __version__
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.fleet.errors import NoDask, WrongFleet
from edgeprof.profiler.fleet.proxy import Runner, event_of, look, perform, stop
from edgeprof.profiler.fleet.shelf import Shelf
from edgeprof.profiler.matrix.child import Stops
from edgeprof.profiler.matrix.executor import Event, Gone
from edgeprof.profiler.matrix.one_run import Job
from edgeprof.profiler.matrix.placement import Board

BOARD, KIND = "board:", "kind:"
"""What the names of resources begin with."""

SETTINGS: dict[str, Any] = {
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.worker-ttl": None,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "10s",
    "distributed.admin.tick.limit": "1h",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.host-cpu": False,
    "distributed.admin.system-monitor.gil.enabled": False,
}
"""A proxy waits for its child and does nothing else: it needs no statistics of itself, and no pages on a port."""

LOOPBACK = "127.0.0.1:0"
"""Where the pages are that Dask serves in any case; there is nothing on them."""
_TICK = 0.25
_LOOKED = 2.0
CONNECT = 10.0
"""Seconds to reach a scheduler."""


class DaskBoards:
    """Does runs on the proxies of a scheduler; an `edgeprof.profiler.matrix.executor.Executor`.

    Args:
        client: of the scheduler.
        proxies: address of each board's worker.
        boards: those there are.
        runner: what a proxy does with a run.
        watched: whether proxies may go while the matrix runs: they live in other processes.
    """

    def __init__(
        self, client: Any, proxies: Mapping[str, str], boards: Sequence[Board], runner: Runner, watched: bool
    ) -> None:
        self.boards = boards
        self._client, self._proxies, self._runner, self._watched = client, proxies, runner, watched
        self._topic = f"edgeprof-{uuid.uuid4().hex}"
        self._count = self._asked = 0
        self._happened: queue.SimpleQueue[tuple[str, Mapping[str, Any] | str]] = queue.SimpleQueue()
        self._running: dict[str, tuple[Job, Any]] = {}
        self._looked = time.monotonic()
        client.subscribe_topic(self._topic, self._hear)

    def begin(self, jobs: Sequence[Job]) -> None:
        """Start runs, each on the board that it names."""
        for job in jobs:
            self._count += 1
            number = f"{self._topic}-{self._count}"
            future = self._client.submit(
                perform,
                number,
                self._topic,
                job,
                self._runner,
                key=number,
                pure=False,
                workers=[self._proxies[job.board]],
                resources={BOARD + job.board: 1},
            )
            self._running[number] = job, future
            future.add_done_callback(self._done)

    def wait(self, stops: Stops, tick: Callable[[], None]) -> Sequence[Event]:
        """What has happened since the last call."""
        found: list[Event] = []
        while not found:
            while stops.count > self._asked:
                self._asked += 1
                self._stop()
            try:
                item = self._happened.get(timeout=_TICK)
            except queue.Empty:
                found += self._missing()
                tick()
                continue
            found += self._events(*item)
            while not self._happened.empty():
                found += self._events(*self._happened.get())
            tick()
        return found

    def close(self) -> None:
        """End what still runs, where the matrix itself failed."""
        if self._running:
            self._stop()

    def _events(self, number: str, content: Mapping[str, Any] | str) -> list[Event]:
        if number not in self._running:
            return []
        job, _ = self._running[number]
        if isinstance(content, str):
            del self._running[number]
            return [Gone(job.board, content)]
        try:
            event = event_of(content)
        except (KeyError, TypeError, ValueError) as error:
            del self._running[number]
            return [Gone(job.board, f"its proxy told nonsense: {error!r}")]
        if content["event"] == "over":
            del self._running[number]
        return [event]

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Called by the client's event loop."""
        self._happened.put((str(event[1].get("number", "")), event[1]))

    def _done(self, future: Any) -> None:
        """Called by a thread of the client's when a task has ended; a good one has told of itself already."""
        if future.status == "error":
            self._happened.put((future.key, f"its proxy failed: {future.exception()!r}"))
        elif future.status != "finished":
            self._happened.put((future.key, "its proxy is gone"))

    def _missing(self) -> list[Event]:
        """Boards whose proxies are gone: their tasks would wait for them for ever."""
        now = time.monotonic()
        if not self._watched or now - self._looked < _LOOKED:
            return []
        self._looked = now
        import distributed

        try:
            there = set(self._client.nthreads()) if self._client.status == "running" else set()
        except (OSError, distributed.TimeoutError):  # up to Python 3.10 another one than the built-in
            there = set()
        found: list[Event] = []
        for number, (job, future) in list(self._running.items()):
            if self._proxies[job.board] not in there:
                del self._running[number]
                future.cancel()
                found.append(Gone(job.board, "its proxy is gone; start it again with `edgeprof board serve`"))
        return found

    def _stop(self) -> None:
        by_proxy = {self._proxies[job.board] for job, _ in self._running.values()}
        numbers = list(self._running)
        threading.Thread(  # it must not hold up the others where one does not answer
            target=self._client.run,
            args=(stop, numbers),
            kwargs={"workers": sorted(by_proxy), "on_error": "ignore"},
            daemon=True,
        ).start()


@contextmanager
def fleet_here(shelf: Shelf, runner: Runner) -> Iterator[DaskBoards]:
    """A cluster in this process, with the proxies of all boards.

    Raises:
        NoDask
    """
    with dask_at_work() as dask:
        options = {"protocol": "inproc", "dashboard": False, "dashboard_address": LOOPBACK}
        workers = {
            board.name: {"cls": dask.Worker, "options": {**options, **proxy_options(board)}} for board in shelf.boards
        }
        with (
            dask.SpecCluster(
                scheduler={"cls": dask.Scheduler, "options": options}, workers=workers, silence_logs=logging.CRITICAL
            ) as cluster,
            dask.Client(cluster, set_as_default=False) as client,
        ):
            client.wait_for_workers(len(workers), timeout=60)
            proxies = {board: at for at, board, _ in _proxies(client)}
            boards = DaskBoards(client, proxies, shelf.boards, runner, watched=False)
            try:
                yield boards
            finally:
                boards.close()


@contextmanager
def fleet_at(address: str, runner: Callable[[Shelf], Runner], folder: Path) -> Iterator[tuple[Shelf, DaskBoards]]:
    """The proxies that others have started, at a scheduler; ``folder`` is where their runs have to leave captures.

    Raises:
        NoDask
        WrongFleet: there is no scheduler, or no proxy that can be used.
    """
    with dask_at_work() as dask:
        try:
            client = dask.Client(address, timeout=CONNECT, set_as_default=False)
        except (OSError, dask.TimeoutError, ValueError) as error:
            raise WrongFleet(
                f"no Dask scheduler answers at {address} ({error or 'no answer'}); start one with"
                " `dask scheduler --host 127.0.0.1`, and its proxies with `edgeprof board serve`"
            ) from None
        with client:
            found = _proxies(client)
            if not found:
                raise WrongFleet(
                    f"the scheduler at {address} has no boards; start their proxies with"
                    f" `edgeprof board serve NAME --kind KIND --scheduler {address}`"
                )
            _refuse_unfit(client, {at: board for at, board, _ in found}, folder)
            proxies = {board: at for at, board, _ in reversed(found)}
            shelf = Shelf(
                tuple(Board(board, kind) for board, kind in {board: kind for _, board, kind in found}.items())
            )
            boards = DaskBoards(client, proxies, shelf.boards, runner(shelf), watched=True)
            try:
                yield shelf, boards
            finally:
                boards.close()


def proxy_options(board: Board) -> dict[str, Any]:
    """Of a worker that is a board's proxy: one thread, the resource of the board's name, and that of its kind."""
    return {
        "name": f"{BOARD}{board.name}",
        "nthreads": 1,
        "memory_limit": 0,
        "resources": {BOARD + board.name: 1, KIND + board.kind: 1},
    }


def _proxies(client: Any) -> list[tuple[str, str, str]]:
    """Address, board and kind of each proxy that a scheduler has."""
    found = []
    for address, worker in sorted(client.scheduler_info(n_workers=-1)["workers"].items()):
        names = [str(name) for name in worker.get("resources") or {}]
        boards = [name[len(BOARD) :] for name in names if name.startswith(BOARD)]
        kinds = [name[len(KIND) :] for name in names if name.startswith(KIND)]
        if len(boards) == 1:
            found.append((address, boards[0], kinds[0] if kinds else boards[0]))
    return found


def _refuse_unfit(client: Any, boards: Mapping[str, str], folder: Path) -> None:
    mark = f".seen-{uuid.uuid4().hex}"
    (folder / mark).touch()
    try:
        answers = client.run(look, str(folder.resolve()), mark, workers=list(boards), on_error="return")
    finally:
        (folder / mark).unlink()
    for address, answer in answers.items():
        board = boards[address]
        if not isinstance(answer, dict):
            raise WrongFleet(f"the proxy of {board} does not answer ({answer}); start it again")
        if answer["version"] != __version__:
            raise WrongFleet(
                f"the proxy of {board} is of edgeprof {answer['version']}, and this is {__version__}; start it again"
            )
        if not answer["sees"]:
            raise WrongFleet(
                f"the proxy of {board} does not see {folder.resolve()}; run the matrix on its machine, or in a folder"
                " that both share"
            )


@contextmanager
def dask_at_work() -> Iterator[Any]:
    """Dask's distributed as proxies need it; what it may say of itself is not for the user.  Raises NoDask."""
    try:
        import dask
        import distributed
    except ImportError:
        raise NoDask from None
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with dask.config.set(SETTINGS):
            yield distributed
    except (OSError, distributed.TimeoutError) as error:
        raise EdgeprofError(f"the fleet's scheduler failed: {error!r}; start the matrix again: it goes on") from error
    finally:
        logger.setLevel(before)
