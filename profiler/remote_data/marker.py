"""Names of the files that tell a local mirror from a folder of this machine."""

from __future__ import annotations

RUN_MARKER = ".remote.json"
"""In the mirror of a run that is at an address: where, and which files it has there."""
FOLDER_MARKER = ".remote-folder.json"
"""In the mirror of a folder of runs: where it is."""
