"""Places for runs and journals, and a machine that is as before whatever a test did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprof.profiler.agent.undo import clean
from tests.helpers import Places
from tests.integration.docker_daemon import docker_host

__all__ = ["docker_host"]


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    """A folder of runs and a folder of undo journals of the test's own; what a failed test left is ended."""
    found = Places(tmp_path)
    yield found
    if found.state.is_dir():
        clean(str(found.state), kill=True)
