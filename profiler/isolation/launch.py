"""What every kind of isolation makes of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprof.profiler.agent.spec import RunSpec


@dataclass
class Launch:
    """A run as this host's agent captures it.

    Attributes:
        run: the spec for the host's agent.
        facts: what was found and done, for the manifest; may grow until the run is over.  ``notes``, if there are
            any, are sentences for the user.
        after: called with the capture directory once the run has ended, to bring in what came from inside.
        data: where this host finds the data set that the workload reads, if that is another copy of it.
    """

    run: RunSpec
    facts: dict[str, Any] = field(default_factory=dict)
    after: Callable[[Path], None] = lambda path: None
    data: Path | None = None
