"""Who else used the devices: bytes by owner, and the commands behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprof.dashboards.report.downsample import Floats
from edgeprof.dashboards.report.figures.base import BYTES, Absent, DataTable, Outcome, Picture, absent, bars_in_parts
from edgeprof.dashboards.report.text import clean, label
from edgeprof.dashboards.report.theme import OWNER_NAMES, OWNERS
from edgeprof.profiler.units import count, human

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

KEY, TITLE = "owners", "Who used the devices"
DEVICES, COMMANDS = 6, 20


def build(data: RunData) -> Outcome:
    """A bar for each device and direction, in parts by owner."""
    if not data.has("block_io"):
        return absent(data, KEY, TITLE, "block_io")
    owners = data.text("block_io", "owner")
    if not (owners.codes >= 0).any():
        return Absent(KEY, TITLE, "the capture does not tell who asked for the requests")
    size = np.nan_to_num(data.number("block_io", "bytes"))
    devices, operations = data.text("block_io", "device"), data.text("block_io", "op")
    bars: dict[str, Floats] = {}
    for device in devices.present()[:DEVICES]:
        for operation in ("read", "write"):
            mine = devices.is_(device) & operations.is_(operation)
            parts = np.array([size[mine & owners.is_(owner)].sum() for owner in OWNERS])
            if parts.sum() > 0:
                bars[f"{label(device)}, {operation}"] = parts
    if not bars:
        return Absent(KEY, TITLE, "no bytes moved on a block device")
    total = np.sum(list(bars.values()), axis=0)
    shares = (
        f"{OWNER_NAMES[owner]} {human(float(part / total.sum()), 'share')}"
        for owner, part in zip(OWNERS, total, strict=False)
        if part
    )
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(bars),
        caption=f"Bytes moved on each device by whose requests they were: {', '.join(shares)}. "
        "What other processes did on the same device may have slowed the run.",
        label="Bars of bytes by owner for each device and direction.",
        limits=["A kernel thread writes back pages that any program dirtied, the run among them."]
        if total[list(OWNERS).index("kernel")]
        else [],
        table=_table(data, size),
    )


def _figure(bars: dict[str, Floats]) -> Any:
    names = list(bars)[::-1]
    values = np.array([bars[name] for name in names])
    parts = [
        (OWNER_NAMES[owner], values[:, number], colour)
        for number, (owner, colour) in enumerate(OWNERS.items())
        if values[:, number].any()
    ]
    return bars_in_parts(names, parts, "bytes", BYTES, left=90)


def _table(data: RunData, size: Floats) -> DataTable:
    """The commands that moved most."""
    owners, commands = data.text("block_io", "owner"), data.text("block_io", "comm")
    read = data.text("block_io", "op").is_("read")
    keys = (owners.codes + 1) * (len(commands.names) + 1) + commands.codes + 1
    found, which = np.unique(keys, return_inverse=True)
    reads = np.bincount(which, size * read, len(found))
    writes = np.bincount(which, size * data.text("block_io", "op").is_("write"), len(found))
    number = np.bincount(which, minlength=len(found))
    rows = []
    for i in np.argsort(-(reads + writes), kind="stable")[:COMMANDS]:
        owner, command = divmod(int(found[i]), len(commands.names) + 1)
        whose = owners.names[owner - 1] if owner else "other"
        rows.append(
            [
                clean(commands.names[command - 1]) if command else "unknown",
                OWNER_NAMES.get(whose, whose),
                count(int(number[i])),
                human(float(reads[i]), "bytes"),
                human(float(writes[i]), "bytes"),
            ]
        )
    note = f"The {COMMANDS} commands that moved most, of {len(found)}." if len(found) > COMMANDS else ""
    return DataTable(("Command", "Whose", "Requests", "Read", "Written"), rows, note)
