"""The Python client does with a real kml.ko, in a guest, all that it offers."""

from __future__ import annotations

import errno
import json
from typing import Any

import numpy as np
import pytest

from edgeprof.kmodule import build
from edgeprof.kmodule.abi import LayerType
from edgeprof.kmodule.errors import ToolMissing
from edgeprof.kmodule.library import exp, to_fixed
from edgeprof.kmodule.model import Feature
from edgeprof.kmodule.model_file import FloatLayer, network_file
from tests.guest.machine import Guest, NoGuest, build_tree, debian_kernel
from tests.source_tree import ROOT

pytestmark = [pytest.mark.guest, pytest.mark.timeout(240)]

CLIENT = ROOT / "tests/guest/kml_client_in_guest.py"
MODEL = network_file(
    "sum", [Feature("x"), Feature("y")], [FloatLayer(LayerType.LINEAR, np.array([[2.0, 0.5]]), np.array([0.25]))]
)


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What the client saw."""
    try:
        kernel = debian_kernel()
        module = build.module(build_tree(kernel)).read_bytes()
        files = {"kml.ko": module, "client.py": CLIENT.read_bytes(), "model.kml": MODEL}
        guest = Guest(kernel, files=files, python=True)
        left = guest.run("PYTHONPATH=/project python3 /client.py /kml.ko /model.kml >seen.json", timeout=100)
    except (NoGuest, ToolMissing) as reason:
        pytest.skip(str(reason))
    return json.loads(left["seen.json"])  # type: ignore[no-any-return]


def test_a_model_goes_in_predicts_and_comes_out(seen: dict[str, Any]) -> None:
    predicting = seen["predicting"]
    assert predicting["outputs"] == to_fixed([2 * 1 + 0.5 * 2 + 0.25, 2 * -3 + 0.5 * 0.5 + 0.25]).tolist()
    assert predicting["saved"] and predicting["found"] and predicting["listed"] == ["linear"]
    counters = predicting["counters"]
    assert (counters["loads"], counters["refused"], counters["predictions"]) == (1, 1, 2)


def test_each_refusal_has_its_errno(seen: dict[str, Any]) -> None:
    predicting = seen["predicting"]
    for what, number in (
        ("without", errno.ENODATA),
        ("damaged", errno.EINVAL),
        ("unloaded", errno.ENODATA),
        ("second", errno.EBUSY),  # a file has one predictor
        ("twice", errno.EEXIST),
    ):
        assert predicting[what].startswith(f"{number} "), what


def test_samples_come_out_of_the_mapped_ring(seen: dict[str, Any]) -> None:
    collecting = seen["collecting"]
    assert collecting["collected"] == [8, 2]
    assert collecting["words"] == ["KMLR", 8, 8, 2]
    assert collecting["records"] == [[number, 3 * number, 3 * number + 1, 3 * number + 2] for number in range(8)]
    assert collecting["room"] == 1


def test_the_kernel_learns_what_it_is_offered(seen: dict[str, Any]) -> None:
    training = seen["training"]
    assert (training["accepted"], training["trained"]) == (1000, 1000)
    assert training["outputs"] == pytest.approx([0.25, -2.0], abs=0.02)


def test_the_kernel_computes_as_the_library_does(seen: dict[str, Any]) -> None:
    assert seen["exp"] == exp(to_fixed([0.0, 1.0])).tolist()


def test_the_module_stays_while_it_is_used_and_goes_afterwards(seen: dict[str, Any]) -> None:
    assert seen["busy"].startswith("unloading the module kml failed: rmmod: ")
    assert seen["loaded"] is False
