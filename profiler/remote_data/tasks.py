"""The same work on each of many runs: here, one after another, or on Dask workers, one task a run.

Tasks are given texts (paths or addresses) and give back small results; what a run raises is told of that run and
does not stop the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from edgeprof.profiler.errors import EdgeprofError

T = TypeVar("T")
Work = Callable[[str], T]

WAIT_SECONDS = 20
"""For the scheduler to answer, and for its first worker."""
LOOK_SECONDS = 30
"""How often to see whether a run that takes long has still a worker."""
_EMPTY_LOOKS = 3
"""After how many of them without any worker nobody is waited for any more: one that died is soon started again."""
_AHEAD = 3
"""Tasks a worker thread has at most, running and waiting: what was computed and not yet taken is bounded so."""
INSTALL = "pip install 'edgeprof[fleet]'"


class DaskError(EdgeprofError):
    """A scheduler that cannot be used."""


@dataclass(frozen=True)
class Done(Generic[T]):
    """What became of one item: its result, or a sentence on why there is none."""

    item: str
    result: T | None
    problem: str | None = None


@dataclass(frozen=True)
class Where:
    """Where work is done: on a Dask scheduler's workers, in so many processes of this machine, or right here."""

    scheduler: str | None = None
    workers: int | None = None


HERE = Where()


def each(work: Work[T], items: Sequence[str], where: Where = HERE) -> Iterator[Done[T]]:
    """Do ``work`` on each item; results come in the items' order, as soon as each and all before it are there.

    Args:
        work: a function of a module (Dask's workers import it), or a `functools.partial` of one; it must not change
            anything that another item's depends on, since a worker that died has its tasks done again elsewhere.
        items: what it is called with.
        where: one of `Where`.

    Raises:
        DaskError: the scheduler cannot be reached, has no workers or loses all of them, or the package is missing.
    """
    if where.scheduler is None and where.workers is None:
        for item in items:
            yield _guarded(work, item)
        return
    with _client(where) as (client, workers, threads):
        yield from _spread(client, workers, threads, work, items)


def _guarded(work: Work[T], item: str) -> Done[T]:
    """Run on the worker, so that no traceback and no exception class has to travel."""
    try:
        return Done(item, work(item))
    except EdgeprofError as error:
        return Done(item, None, str(error))
    except Exception as error:  # one damaged run must not cost the others
        return Done(item, None, f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")


def _spread(client: Any, workers: list[str], threads: int, work: Work[T], items: Sequence[str]) -> Iterator[Done[T]]:
    waiting: deque[tuple[str, Any]] = deque()
    rest = iter(items)
    try:
        while True:
            for item in rest:
                task = client.submit(_guarded, work, item, pure=False, workers=workers or None)
                waiting.append((item, task))
                if len(waiting) >= threads * _AHEAD:
                    break
            if not waiting:
                return
            item, task = waiting.popleft()
            yield _gathered(client, workers, item, task)
            task.release()
    finally:
        for _, task in waiting:
            task.cancel()


def _gathered(client: Any, workers: list[str], item: str, task: Any) -> Done[Any]:
    import distributed

    empty = 0
    try:
        while True:
            try:
                result = task.result(timeout=LOOK_SECONDS)
                break
            except distributed.TimeoutError:  # up to Python 3.10 another one than the built-in
                there = _workers(client)
            if workers and not set(workers) & set(there):
                return Done(item, None, "the workers that could read it have left; start others, and do it again")
            empty = 0 if there else empty + 1
            if empty >= _EMPTY_LOOKS:
                raise DaskError("all workers have left the scheduler; start others, and do it again")
    except DaskError:
        raise
    except ModuleNotFoundError as error:
        raise DaskError(
            f"a worker has no package {error.name}; install the same edgeprof, with the same packages, on all workers"
        ) from None
    except Exception as error:  # the worker died, or the scheduler went: Dask has many kinds
        if "Killed" in type(error).__name__:
            return Done(item, None, "the workers that read it died, perhaps for want of memory")
        return Done(item, None, f"Dask could not run it ({type(error).__name__}: {' '.join(str(error).split())[:200]})")
    return result if isinstance(result, Done) else Done(item, None, "the worker's answer was of another edgeprof")


@contextmanager
def _client(where: Where) -> Iterator[tuple[Any, list[str], int]]:
    """A client, and what `_usable` tells of its workers."""
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise DaskError(
            f"work on several processes needs the package {error.name}; install it with `{INSTALL}`"
        ) from None
    dask: Any = distributed
    with _quiet():
        if where.scheduler is None:
            with (
                dask.LocalCluster(
                    n_workers=where.workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=50,
                ) as cluster,
                dask.Client(cluster) as client,
            ):
                yield client, *_usable(client, "this machine")
            return
        try:
            client = dask.Client(where.scheduler, timeout=WAIT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            why = " ".join(str(error).split())[:200]
            raise DaskError(
                f"the scheduler {where.scheduler} cannot be reached ({why}); start one with `dask scheduler`, and give"
                " its address, like tcp://127.0.0.1:8786"
            ) from None
        with client:
            yield client, *_usable(client, where.scheduler)


def _usable(client: Any, name: str) -> tuple[list[str], int]:
    """The workers to keep to (none: any will do, also such as come later), and how many threads there are.

    A worker that holds a resource stands for a board, and is kept free for it.
    """
    import distributed

    try:
        client.wait_for_workers(1, timeout=WAIT_SECONDS)
    except distributed.TimeoutError:
        raise DaskError(f"the scheduler {name} has no workers; start some with `dask worker {name}`") from None
    known = _workers(client)
    free = {address: about for address, about in known.items() if not about.get("resources")}
    if not free:
        raise DaskError(f"all workers of {name} stand for boards; start others beside them with `dask worker {name}`")
    threads = sum(int(about["nthreads"]) for about in free.values())
    return ([] if len(free) == len(known) else list(free)), threads


def _workers(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own words on lost connections and slow workers are not for the user of a command."""
    import logging

    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
