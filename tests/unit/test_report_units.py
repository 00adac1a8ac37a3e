"""Figures of the report read as a person writes them."""

from __future__ import annotations

import math

import pytest

from edgeprof.profiler.units import human, request_size


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.2e9, "bytes", "1.2 GB"),
        (0, "bytes", "0 B"),
        (999, "bytes", "999 B"),
        (110e6, "bytes/s", "110 MB/s"),
        (0.0034, "s", "3.4 ms"),
        (12.0, "s", "12 s"),
        (245.0, "s", "4 min 05 s"),
        (7380.0, "s", "2 h 03 min"),
        (3.2e-8, "s", "32 ns"),
        (4e-10, "s", "0.4 ns"),
        (1500.0, "ns", "1.5 µs"),
        (0.312, "share", "31.2 %"),
        (12345, "count", "12\u202f345"),
        (4.2e6, "count", "4.2 M"),
        (213.4, "samples/s", "213 samples/s"),
        (0.029, "J/sample", "29 mJ/sample"),
        (1.35e9, "Hz", "1.35 GHz"),
        (61.25, "°C", "61.2 °C"),
        (-0.5, "s", "-500 ms"),
        (0.0009999999, "s", "1 ms"),
        (999.97e6, "bytes", "1 GB"),
    ],
)
def test_values_have_three_digits_and_a_unit(value: float, unit: str, text: str) -> None:
    assert human(value, unit) == text


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_was_not_measured_is_not_zero(value: float | None) -> None:
    assert human(value, "bytes") == "not measured"


@pytest.mark.parametrize(("size", "text"), [(512, "512 B"), (4096, "4 KiB"), (1 << 20, "1 MiB"), (1 << 31, "2 GiB")])
def test_request_sizes_have_binary_prefixes(size: int, text: str) -> None:
    assert request_size(size) == text
