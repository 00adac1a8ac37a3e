"""The binding of libkml.so declares what the C headers declare, and brings numbers over unharmed."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgeprof.kmodule import abi, build, latency, library, model, readahead, ring, stream
from edgeprof.kmodule.errors import NotANumber, WrongShape
from edgeprof.kmodule.library import to_fixed, to_float

HEADERS = build.SOURCES / "include" / "kml"
NOT_IN_THE_LIBRARY = {"predictor.h"}
"""Only the module has what these declare."""
NOT_BOUND = {"request.h", "tensor.h", "service.h", "dispatch.h", "guard.h"}
"""Of no use from Python: arguments of ioctls are checked by the module, NumPy multiplies matrices, the scheduler's rule
is simulated in C."""

STRUCTURES = {
    "kml_file_header": abi.FileHeader,
    "kml_file_feature": abi.FileFeature,
    "kml_file_layer": abi.FileLayer,
    "kml_file_node": abi.FileNode,
    "kml_training": abi.Training,
    "kml_ring_writer_words": abi.RingWriterWords,
    "kml_create": abi.Create,
    "kml_shape": abi.Shape,
    "kml_transfer": abi.Transfer,
    "kml_infer_call": abi.InferCall,
    "kml_collect_call": abi.CollectCall,
    "kml_train_call": abi.TrainCall,
    "kml_math_call": abi.MathCall,
    "kml_statistics": abi.Statistics,
    "kml_layer": model.LayerInMemory,
    "kml_feature": model.FeatureInMemory,
    "kml_model": model.ModelInMemory,
    "kml_running": stream.Running,
    "kml_fading": stream.Fading,
    "kml_range": stream.Range,
    "kml_drift": stream.Drift,
    "kml_regression": stream.Regression,
    "kml_sampler": stream.Sampler,
    "kml_adapter": stream.Adapter,
    "kml_readahead_window": readahead.Window,
    "kml_ring_reader": ring.RingReader,
}

CONSTANTS = {
    **{f"KML_{name.name}": int(name) for name in abi.Request},
    **{f"KML_{name.name}": int(name) for name in (*abi.ModelKind, *abi.LayerType, *abi.Loss, *abi.RingMode)},
    **{f"KML_NUMBER_{name.name}": int(name) for name in abi.Number},
    **{f"KML_RATE_{name.name}": int(name) for name in abi.Schedule},
    **{f"KML_CONSUMER_{name.name}": int(name) for name in abi.Consumer},
    **{f"KML_FUNCTION_{name.name}": int(name) for name in abi.Function},
    **{f"KML_MAP_{name.name}": int(name) for name in abi.Map},
    **{f"KML_{name.name}": int(name) for name in stream.Action},
    "KML_COLLECT_WAIT": abi.COLLECT_WAIT,
    "KML_COLLECT_SAMPLED": abi.COLLECT_SAMPLED,
    "KML_FX_MAX": abi.FX_MAX,
    "KML_FX_MIN": abi.FX_MIN,
    "KML_FX_ONE": abi.ONE,
    "KML_WEIGHT_MAX": abi.WEIGHT_MAX,
    "KML_NAME_BYTES": abi.NAME_BYTES,
    "KML_MAX_NODES": abi.MAX_NODES,
    "KML_FILE_MAX_BYTES": abi.FILE_MAX_BYTES,
    "KML_REGRESSION_MAX_INPUTS": abi.REGRESSION_MAX_INPUTS,
    "KML_DEVICE_VERSION": abi.DEVICE_VERSION,
    "KML_LATENCY_VERSION": latency.VERSION,
    "KML_LATENCY_FEATURES": len(latency.FEATURES),
    "sizeof(struct kml_latency_arrival)": latency.ARRIVAL.itemsize,
    **{
        f"offsetof(struct kml_latency_arrival, {name})": place[1]
        for name, place in (latency.ARRIVAL.fields or {}).items()
    },
    **{f"KML_LATENCY_OF_{name.name}": int(name) for name in latency.Operation},
    "KML_READAHEAD_VERSION": readahead.VERSION,
    "KML_READAHEAD_STREAMS": readahead.STREAMS,
    "KML_READAHEAD_CHOICES": len(readahead.CHOICES_KIB),
    "KML_READAHEAD_LEAST_KIB": readahead.CHOICES_KIB[0],
    "KML_READAHEAD_MOST_KIB": readahead.CHOICES_KIB[-1],
    "KML_READAHEAD_FEATURES": len(readahead.FEATURES),
    "KML_MAP_OFFSET(3, KML_MAP_READER)": abi.map_offset(3, abi.Map.READER),
}


def declared(header: Path) -> set[str]:
    """Functions that a header declares and does not define."""
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
    text = re.sub(r"static inline[^{]*\{.*?\n\}", "", text, flags=re.S)
    return set(re.findall(r"\b(kml_\w+)\([^;{}]*\);", text))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What the C compiler makes of the headers: sizes, offsets and constants."""
    lines = ["#include <stddef.h>", "#include <stdio.h>"]
    lines += [
        f'#include "kml/{path.name}"' for path in sorted(HEADERS.glob("*.h")) if path.name not in NOT_IN_THE_LIBRARY
    ]
    lines += ["int main(void)", "{"]
    for name, structure in STRUCTURES.items():
        lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
        for field, *_ in structure._fields_:
            inner = field.lstrip("_")
            lines.append(f'printf("{name}.{inner} %zu\\n", offsetof(struct {name}, {inner}));')
    lines += [f'printf("{name.replace(" ", "")} %lld\\n", (long long)({name}));' for name in CONSTANTS]
    source = tmp_path_factory.mktemp("layout") / "layout.c"
    source.write_text("\n".join([*lines, "}"]))
    done = subprocess.run([build.program(source)], capture_output=True, text=True, check=True)
    return {name: int(value) for name, value in (line.split() for line in done.stdout.splitlines())}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_lies_in_memory_as_the_compiler_lays_it_out(name: str, told: dict[str, int]) -> None:
    structure = STRUCTURES[name]
    found = {name: ctypes.sizeof(structure)}
    found |= {f"{name}.{field.lstrip('_')}": getattr(structure, field).offset for field, *_ in structure._fields_}
    assert found == {key: told[key] for key in found}


def test_constants_are_those_of_the_headers(told: dict[str, int]) -> None:
    assert {name: told[name.replace(" ", "")] for name in CONSTANTS} == CONSTANTS


def test_each_public_function_is_bound_and_no_other() -> None:
    headers = [path for path in HEADERS.glob("*.h") if path.name not in NOT_IN_THE_LIBRARY | NOT_BOUND]
    assert set().union(*(declared(header) for header in headers)) == set(library.SIGNATURES)


def test_real_numbers_are_rounded_to_the_nearest_halves_upwards() -> None:
    step = 1 / 65536
    assert to_fixed([0.0, 1.0, -1.0, 0.5 * step, -0.5 * step, 1.49 * step, -1.51 * step]).tolist() == [
        *(0, 65536, -65536),
        *(1, 0, 1, -2),
    ]


def test_real_numbers_beyond_the_range_saturate() -> None:
    assert to_fixed([1e9, 32768.0, -1e9]).tolist() == [abi.FX_MAX, abi.FX_MAX, abi.FX_MIN]
    assert [abi.fixed(value) for value in (1e9, -1e9, 1.5)] == [abi.FX_MAX, abi.FX_MIN, 98304]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(wrong: float) -> None:
    with pytest.raises(NotANumber, match="the array holds NaN"):
        to_fixed([0.0, wrong])


@pytest.mark.parametrize(
    ("ours", "real", "values"),
    [
        (library.exp, np.exp, np.linspace(-11, 10, 500)),
        (library.log, np.log, np.geomspace(0.001, 32000, 500)),
        (library.sqrt, np.sqrt, np.linspace(0, 32000, 500)),
        (library.sigmoid, lambda x: 1 / (1 + np.exp(-x)), np.linspace(-12, 12, 500)),
        (library.tanh, np.tanh, np.linspace(-6, 6, 500)),
    ],
)
def test_functions_are_those_of_mathematics(ours, real, values) -> None:  # type: ignore[no-untyped-def]
    inputs = to_fixed(values)
    assert np.abs(to_float(ours(inputs)) - real(to_float(inputs))).max() < 2 / 65536


def test_softmax_adds_up_to_one_in_each_row() -> None:
    shares = to_float(library.softmax(to_fixed(np.random.default_rng(0).normal(0, 3, (20, 5)))))
    assert np.abs(shares.sum(axis=1) - 1).max() <= 5 / 65536


def test_products_and_quotients_saturate() -> None:
    large, small = to_fixed([30000.0, -30000.0]), to_fixed([2.0, 2.0])
    assert library.multiply(large, small).tolist() == [abi.FX_MAX, abi.FX_MIN]
    assert library.divide(large, to_fixed([0.0, 0.5])).tolist() == [abi.FX_MAX, abi.FX_MIN]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_rows_lie_one_behind_the_other(count: int) -> None:
    values = np.zeros((9, 5), dtype=np.int32)[::-3][:count]
    contiguous = library.rows(values, 5, "the input")
    assert list(library.addresses(contiguous)) == [contiguous.ctypes.data + 20 * row for row in range(count)]


def test_an_array_that_fits_is_not_copied() -> None:
    values = np.zeros((7, 5), dtype=np.int32)
    assert library.rows(values, 5, "the input") is values
    assert np.shares_memory(library.rows(values[:, :3], 3, "the input"), values) is False


@pytest.mark.parametrize("values", [np.zeros((7, 4), dtype=np.int32), np.zeros((7, 5)), np.zeros(7, dtype=np.int32)])
def test_an_array_of_another_shape_or_type_is_refused(values: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(WrongShape, match="the input is"):
        library.rows(values, 5, "the input")
