"""Runs in a guest: the Python client at each request of /dev/kml; prints what it saw as one line of JSON."""

from __future__ import annotations

import json
import struct
import sys
from array import array
from pathlib import Path

from edgeprof.kmodule import abi, device
from edgeprof.kmodule.abi import ONE, Consumer, Function, Loss, RingMode, Schedule
from edgeprof.kmodule.errors import DeviceRefused, ModuleRefused

WORDS = struct.Struct("<IIIIQQQ")
"""struct kml_ring_writer_words"""


def numbers(*values: float) -> array[int]:
    return array("i", [abi.fixed(value) for value in values])


def refusal(call: object) -> str:
    """What a request is refused with."""
    try:
        call()  # type: ignore[operator]
    except DeviceRefused as refused:
        return f"{refused.number} {refused}"
    except ModuleRefused as refused:
        return str(refused)
    return "not refused"


def predicting(model: bytes) -> dict[str, object]:
    """A model goes in, predicts, comes out, is taken away."""
    with device.Device() as opened:
        predictor = opened.create("linear", 2, 1, consumer=Consumer.USER, slots=8)
        seen: dict[str, object] = {"without": refusal(lambda: opened.infer(predictor, numbers(1, 2)))}
        opened.load(predictor, model)
        seen["outputs"] = opened.infer(predictor, numbers(1, 2, -3, 0.5))[0].tolist()
        seen["damaged"] = refusal(lambda: opened.load(predictor, model[:-1] + bytes([model[-1] ^ 1])))
        seen["saved"] = opened.save(predictor) == model
        seen["listed"] = [item.name for item in opened.predictors()]
        seen["found"] = opened.find("linear") == predictor
        seen["counters"] = opened.statistics(predictor)
        opened.unload(predictor)
        seen["unloaded"] = refusal(lambda: opened.save(predictor))
        seen["second"] = refusal(lambda: opened.create("second", 2, 1, consumer=Consumer.USER))
        with device.Device() as another:
            seen["twice"] = refusal(lambda: another.create("linear", 2, 1, consumer=Consumer.USER))
        return seen


def collecting() -> dict[str, object]:
    """Samples come out of the mapped ring; what found no room is counted."""
    with device.Device() as opened:
        predictor = opened.create("samples", 2, 1, consumer=Consumer.USER, slots=8)
        collected = opened.collect(predictor, numbers(*range(30)))
        areas = opened.map(predictor, 0)
        magic, slots, size, _, head, dropped, _ = WORDS.unpack_from(areas.writer)
        records = [struct.unpack_from("<Qiii", areas.records, index * size) for index in range(head)]
        areas.reader[:8] = struct.pack("<Q", head)
        return {
            "collected": [collected.accepted, collected.dropped],
            "words": [magic.to_bytes(4, "little").decode(), slots, head, dropped],
            "records": [[number, *(value / ONE for value in values)] for number, *values in records],
            "room": opened.collect(predictor, numbers(1, 2, 3)).accepted,
        }


def training(model: bytes) -> dict[str, object]:
    """The kernel learns y = x0 - x1 from samples that it is offered."""
    with device.Device() as opened:
        predictor = opened.create("learner", 2, 1, consumer=Consumer.KERNEL_FIXED, mode=RingMode.BLOCKING, slots=64)
        opened.load(predictor, model)
        settings = abi.Training(loss=Loss.MSE, schedule=Schedule.CONSTANT, batch=1, rate=abi.fixed(0.05), decay_every=1)
        opened.train(predictor, settings, publish_every=10)
        samples = [value for i in range(1000) for x, y in [(i % 7 / 3 - 1, i % 5 / 2 - 1)] for value in (x, y, x - y)]
        collected = opened.collect(predictor, numbers(*samples), wait=True)
        opened.stop(predictor)
        counters = opened.statistics(predictor)
        return {
            "accepted": collected.accepted,
            "trained": counters["trained"],
            "outputs": [value / ONE for value in opened.infer(predictor, numbers(0.5, 0.25, -1, 1))[0]],
        }


def main() -> None:
    module, model = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    device.insert(module)
    seen: dict[str, object] = {"predicting": predicting(model), "collecting": collecting(), "training": training(model)}
    with device.Device() as opened:
        seen["exp"] = opened.compute(Function.EXP, numbers(0, 1)).tolist()
        seen["busy"] = refusal(device.remove)
    device.remove()
    seen["loaded"] = device.is_loaded()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
