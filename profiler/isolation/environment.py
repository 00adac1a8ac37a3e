"""What every kind of isolation offers: it turns a run into one that can be captured on this host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprof.profiler.agent.spec import RunSpec
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.isolation.spec import ISOLATIONS, IsolationSpec
from edgeprof.profiler.storage.spec import Place

Say = Callable[[str], None]


@dataclass
class Launch:
    """A run as this host's agent captures it.

    Attributes:
        run: the spec for the host's agent.
        facts: what was found and done, for the manifest; may grow until the run is over.
        after: called with the capture directory once the run has ended, to bring in what came from inside.
    """

    run: RunSpec
    facts: dict[str, Any] = field(default_factory=dict)
    after: Callable[[Path], None] = lambda path: None


@contextmanager
def launched(spec: IsolationSpec, run: RunSpec, place: Place, data: Path | None, say: Say) -> Iterator[Launch]:
    """Prepare the isolation that ``spec`` asks for; what it made is removed on leaving.

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

        with in_machine(spec, run, place, data, say) as launch:
            yield launch
    else:
        raise EdgeprofError(f"there is no isolation {spec.kind!r}; there are: {', '.join(ISOLATIONS)}")
