"""Runs in a guest: gives mq-kmlib's predictor models, good and bad ones, while its disk works."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edgeprof.kmodule import abi, device
from edgeprof.kmodule.abi import Loss, Schedule
from edgeprof.kmodule.errors import DeviceRefused

SWAP_SECONDS = 3.0
PATIENCE = 60.0
"""Seconds to wait for requests."""


def refused(opened: device.Device, predictor: device.Predictor, file: bytes) -> int:
    """The errno that a model is refused with; 0: it was taken."""
    try:
        opened.load(predictor, file)
    except DeviceRefused as refusal:
        return refusal.number
    return 0


def swap(opened: device.Device, predictor: device.Predictor, files: list[bytes]) -> int:
    """Load and unload models for a while; how often."""
    swaps, ends = 0, time.monotonic() + SWAP_SECONDS
    while time.monotonic() < ends:
        opened.load(predictor, files[swaps % len(files)])
        if swaps % 3 == 0:
            opened.unload(predictor)
        swaps += 1
    return swaps


def wait_until(enough: Callable[[], bool]) -> None:
    """Until there is enough, or the patience ends: whoever looks at the result decides."""
    ends = time.monotonic() + PATIENCE
    while not enough() and time.monotonic() < ends:
        time.sleep(0.2)


def main() -> None:
    statistics = Path(sys.argv[1])

    def counter(name: str) -> int:
        return int(re.findall(rf"^read_model_{name} (\d+)$", statistics.read_text(), re.MULTILINE)[0])

    def wait_for_predictions(count: int) -> None:
        begun = counter("predictions")
        wait_until(lambda: counter("predictions") > begun + count)

    folder = Path("/models")
    good, wild, wide, untaught = (
        (folder / f"{name}.kml").read_bytes() for name in ("good", "wild", "wide", "untaught")
    )
    with device.Device() as opened:
        predictor = opened.find("mq-kmlib")
        seen: dict[str, object] = {
            "shape": [predictor.inputs, predictor.outputs],
            "wide": refused(opened, predictor, wide),
            "damaged": refused(opened, predictor, good[:-1] + bytes([good[-1] ^ 1])),
            "swaps": swap(opened, predictor, [good, wild]),
        }
        opened.load(predictor, wild)
        wait_for_predictions(500)
        Path("wild.statistics").write_text(statistics.read_text())
        opened.load(predictor, untaught)
        wait_for_predictions(300)
        seen["untaught"] = counter("error_of_65536")
        settings = abi.Training(
            loss=Loss.MSE, schedule=Schedule.CONSTANT, batch=8, rate=abi.fixed(0.003), decay_every=1
        )
        opened.train(predictor, settings, publish_every=8)
        wait_until(lambda: opened.statistics(predictor)["trained"] > 10000)
        wait_for_predictions(300)
        opened.stop(predictor)
        seen["counters"] = opened.statistics(predictor)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
