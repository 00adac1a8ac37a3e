"""Builds the /sys tree of a board from its text file in tests/data/boards."""

from __future__ import annotations

from pathlib import Path

from edgeprof.collectors.base import Roots

BOARDS = Path(__file__).parent / "data" / "boards"


def plant(board: str, folder: Path) -> Roots:
    """Make the tree of a board below ``folder``; a folder stands for a file whose reading fails."""
    sys = folder / "sys"
    sys.mkdir(parents=True)
    for line in (BOARDS / f"{board}.tree").read_text().splitlines():
        if line.startswith("#"):
            continue
        if line.endswith("/"):
            (sys / line).mkdir(parents=True)
            continue
        path, sign, text = line.partition(" -> " if " -> " in line else " = ")
        target = sys / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if "->" in sign:
            target.symlink_to(sys / text)
        elif text == "!error":
            target.mkdir()
        else:
            target.write_text(text + "\n")
    return Roots(sys=str(sys), proc=str(folder / "proc"))
