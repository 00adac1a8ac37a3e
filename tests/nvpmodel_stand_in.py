"""A program that stands for nvpmodel, which no machine but a Jetson has: it behaves as tests/data/nvpmodel shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data" / "nvpmodel"

_SCRIPT = """#!/bin/sh
cd '{folder}' || exit 1
echo "$*" >> calls
name() {{ case $1 in 0) echo MAXN;; 1) echo 10W;; 2) echo 15W;; 3) echo 25W;; esac; }}
if [ "$1" = -q ]; then
    [ -e silent ] && exit 1
    printf 'NVPM WARN: fan mode is not set!\\nNV Power Mode: %s\\n%s\\n' "$(name "$(cat mode)")" "$(cat mode)"
    exit 0
fi
[ "$1" = -m ] || exit 1
[ -e hold ] && {{ : > changing; sleep "$(cat hold)"; }}
if grep -qx "$2" reboot; then
    cat '{data}/reboot.txt'
    read -r answer || {{ echo 'NVPM ERROR: bad input!'; exit 234; }}
    case $answer in yes|YES) : > rebooted;; esac
    exit 234
fi
[ -e lie ] || echo "$2" > mode
exit 0
"""


@dataclass(frozen=True)
class StandIn:
    """The tool, its configuration and what it was asked, in one folder."""

    folder: Path

    @property
    def program(self) -> str:
        """Where the tool is."""
        return str(self.folder / "nvpmodel")

    @property
    def etc(self) -> str:
        """What stands for /etc."""
        return str(self.folder / "etc")

    @property
    def mode(self) -> int:
        """The mode that is set; the setter is somebody else's choice."""
        return int((self.folder / "mode").read_text())

    @property
    def calls(self) -> list[str]:
        """The arguments of each call that was to set a mode."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if line.startswith("-m")]

    def put(self, name: str, text: object = "") -> None:
        """Change how it behaves: ``mode``, ``reboot`` (numbers that need one), ``hold`` (s), ``lie``, ``silent``."""
        (self.folder / name).write_text(f"{text}\n")


def make(folder: Path, mode: int = 2, reboot: str = "1") -> StandIn:
    """Make the tool, with ``mode`` set, of which the modes in ``reboot`` need a reboot."""
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/nvpmodel.conf").write_text((DATA / "nvpmodel.conf").read_text())
    found = StandIn(folder)
    program = Path(found.program)
    program.write_text(_SCRIPT.format(folder=folder, data=DATA))
    program.chmod(0o755)
    for name, text in (("mode", mode), ("reboot", reboot), ("calls", "")):
        found.put(name, text)
    return found
