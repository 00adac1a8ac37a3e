"""Instruments PyTorch's DataLoader: waiting for input in the main process, fetching in its workers."""

import functools
import sys
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from edgeprof.collectors.phases import recorder
    from edgeprof.collectors.phases.tracker import State, Tracker, failed, timed
else:  # loaded by path, in a Python that may not have edgeprof
    import _edgeprof_recorder as recorder
    from _edgeprof_tracker import State, Tracker, failed, timed


def install_dataloader(state: State, module: Any) -> None:
    """Record waiting for batches as ``load``; starting and joining of worker processes as ``workers``."""
    loader = module.DataLoader
    loader.__iter__ = _loader_iter(state, loader.__iter__)
    base = module._BaseDataLoaderIter
    base.__next__ = _loader_next(state, base.__next__)
    several = module._MultiProcessingDataLoaderIter
    several._shutdown_workers = timed(state, "workers", several._shutdown_workers)


def _loader_iter(state: State, original: Callable[..., Any]) -> Callable[..., Any]:

    @functools.wraps(original)
    def __iter__(self: Any) -> Any:  # noqa: N807
        tracker = state.tracker
        workers = getattr(self, "num_workers", 0)
        name = "workers" if workers else "load"
        tracker.begin(name)
        try:
            iterator = original(self)
        finally:
            tracker.end(name)
        try:
            size = getattr(self, "batch_size", None) or getattr(
                getattr(self, "batch_sampler", None), "batch_size", None
            )
            iterator._edgeprof_loader = {"batch_size": size, "workers": workers}
        except Exception as error:
            failed("reading a DataLoader", error)
        return iterator

    return __iter__


def _loader_next(state: State, original: Callable[..., Any]) -> Callable[..., Any]:

    @functools.wraps(original)
    def __next__(self: Any) -> Any:  # noqa: N807
        tracker = state.tracker
        tracker.load_begins()
        outer = tracker.enter(self)
        try:
            batch = original(self)
        finally:
            tracker.leave(outer)
            tracker.end("load")
        try:
            tracker.batch_loaded(batch, getattr(self, "_edgeprof_loader", None))
        except Exception as error:
            failed("reading a batch", error)
        return batch

    return __next__


def install_fetch(state: State, module: Any) -> None:
    """Record a worker's reading and transforming of a batch as ``fetch``."""
    for name in ("_MapDatasetFetcher", "_IterableDatasetFetcher"):
        fetcher = getattr(module, name)
        fetcher.fetch = _fetch(state, fetcher.fetch)


def _fetch(state: State, original: Callable[..., Any]) -> Callable[..., Any]:

    @functools.wraps(original)
    def fetch(self: Any, *arguments: Any, **named: Any) -> Any:
        tracker = state.tracker
        if not tracker.worker and not _become_worker(tracker):
            return original(self, *arguments, **named)  # in the main process this is part of "load"
        tracker.begin("fetch")
        outer = tracker.enter(self)
        try:
            return original(self, *arguments, **named)
        finally:
            tracker.leave(outer)
            tracker.end("fetch")

    return fetch


def _become_worker(tracker: Tracker) -> bool:
    """Whether this process is a DataLoader's worker; says so in the records at the first time."""
    data = sys.modules.get("torch.utils.data")
    information = data.get_worker_info() if data is not None else None
    if information is None:
        return False
    tracker.worker = True
    tracker.record(recorder.ROLE, "worker", float(information.id))
    return True
