"""Runs the notebooks of this folder over a folder of runs: ``python docs/notebooks/execute.py RUNS [NOTEBOOK...]``.

What they print is written into them, with figures as data (``application/vnd.plotly.v1+json``), which keeps them small.
Files that a notebook makes go to a folder that is removed.  Needs nbclient and ipykernel.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def execute(notebook: Path, runs: Path) -> nbformat.NotebookNode:
    """A notebook after all its cells have run; raises nbclient's CellExecutionError where one fails."""
    node = nbformat.read(notebook, as_version=4)
    environment = {**os.environ, "EDGEPROF_RUNS": str(runs.resolve()), "PLOTLY_RENDERER": "plotly_mimetype"}
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            node, timeout=120, kernel_name="python3", resources={"metadata": {"path": folder}}, record_timing=False
        )
        client.execute(env=environment)
    node.metadata.pop("language_info", None)  # the version of this Python is nobody's business
    return node


def main() -> None:
    """Execute and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("notebooks", type=Path, nargs="*", default=sorted(Path(__file__).parent.glob("*.ipynb")))
    options = parser.parse_args()
    for notebook in options.notebooks:
        nbformat.write(execute(notebook, options.runs), notebook)


if __name__ == "__main__":
    main()
