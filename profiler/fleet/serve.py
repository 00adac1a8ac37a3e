"""The proxies of boards in a process of their own, at a scheduler that others started."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from edgeprof.profiler.fleet.cluster import BOARD, CONNECT, LOOPBACK, dask_at_work, proxy_options
from edgeprof.profiler.fleet.errors import WrongFleet
from edgeprof.profiler.fleet.shelf import Shelf


def serve(shelf: Shelf, scheduler: str, ready: Callable[[], None]) -> None:
    """Be the proxies of all boards of a shelf until SIGINT, SIGTERM or the scheduler's end.

    What still runs then is ended by the kernel with this process, and is run again by its matrix.

    Raises:
        NoDask
        WrongFleet: there is no scheduler, or it has one of the boards already.
    """
    with dask_at_work() as dask:

        async def all_of_them() -> None:
            await _look(dask, shelf, scheduler)
            workers = [
                dask.Worker(scheduler, dashboard=False, dashboard_address=LOOPBACK, **proxy_options(board))
                for board in shelf.boards
            ]
            await asyncio.gather(*workers)
            loop, asked = asyncio.get_running_loop(), asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, asked.set)
            ready()
            ends = [asyncio.ensure_future(worker.finished()) for worker in workers]
            waits = asyncio.ensure_future(asked.wait())
            await asyncio.wait([waits, *ends], return_when=asyncio.FIRST_COMPLETED)
            waits.cancel()
            await asyncio.gather(*(worker.close(timeout=2, executor_wait=False) for worker in workers))

        asyncio.run(all_of_them())


async def _look(dask: Any, shelf: Shelf, scheduler: str) -> None:
    try:
        async with dask.Client(scheduler, asynchronous=True, set_as_default=False, timeout=CONNECT) as client:
            workers = (await client.scheduler.identity())["workers"].values()
    except (OSError, dask.TimeoutError, ValueError) as error:
        raise WrongFleet(
            f"no Dask scheduler answers at {scheduler} ({error or 'no answer'}); start one with"
            " `dask scheduler --host 127.0.0.1`"
        ) from None
    served = {name for worker in workers for name in worker.get("resources") or {}}
    for board in shelf.boards:
        if BOARD + board.name in served:
            raise WrongFleet(f"the scheduler at {scheduler} has a proxy of {board.name} already; end that one first")
