"""Where edgeprof keeps what it makes for runs."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Where made data sets and the images of file systems are kept; ``EDGEPROF_DATA_CACHE`` overrides it."""
    chosen = os.environ.get("EDGEPROF_DATA_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeprof" / "data"
