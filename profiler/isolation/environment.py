"""What every kind of isolation offers: it turns a run into one that can be captured on this host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprof.profiler.agent.spec import RunSpec
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.isolation.launch import Launch
from edgeprof.profiler.isolation.spec import ISOLATIONS, IsolationSpec
from edgeprof.profiler.storage.spec import Place, StorageSpec

Say = Callable[[str], None]


@contextmanager
def launched(
    spec: IsolationSpec,
    run: RunSpec,
    place: Place,
    data: Path | None,
    say: Say,
    storage: StorageSpec = StorageSpec(),
) -> Iterator[Launch]:
    """Prepare the isolation that ``spec`` asks for; what it made is removed on leaving.

    Args:
        spec: what is asked for.
        run: the capture, as if it were bare.
        place: where the storage was prepared.
        data: folder of the data; None: the run has none.
        say: told what takes long, and what the user should know.
        storage: what was asked of the storage, for an isolation with disks of its own.

    Raises:
        EdgeprofError: it cannot be had here; nothing was changed, or it was put back.
    """
    if spec.kind == "bare":
        yield Launch(run)
    elif spec.kind == "container":
        from edgeprof.profiler.isolation.container import in_container

        with in_container(spec, run, place, data, say) as launch:
            yield launch
    elif spec.kind == "vm":
        from edgeprof.profiler.isolation.vm import in_machine

        with in_machine(spec, run, place, data, say, storage) as launch:
            yield launch
    else:
        raise EdgeprofError(f"there is no isolation {spec.kind!r}; there are: {', '.join(ISOLATIONS)}")
