"""The golden vectors: real arithmetic gives the references still, and this machine's libkml.so the very bits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.data.kml import make_golden as golden

CASES = golden.unpack(golden.FILE.read_bytes())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_library_gives_the_expected_bits(case: golden.Case) -> None:
    expected, after = golden.answer(case)
    assert (expected == case.expected).all()
    assert after == case.after


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_expected_bits_are_within_the_stated_error(case: golden.Case) -> None:
    assert case.expected.shape == case.reference.shape
    assert case.error <= case.bound


def test_the_references_are_what_real_arithmetic_gives() -> None:
    made = list(golden.cases())
    assert [(case.name, case.bound) for case in made] == [(case.name, case.bound) for case in CASES]
    for ours, kept in zip(made, CASES, strict=True):
        assert (ours.inputs == kept.inputs).all() and ours.model == kept.model and ours.training == kept.training
        # NumPy's functions differ by a unit in the last place from release to release: that moves a rounding.
        assert np.abs(ours.reference.astype(np.int64) - kept.reference).max() <= 1, ours.name


def test_every_kind_and_function_is_there() -> None:
    assert {case.function for case in CASES if case.kind == golden.FUNCTION} == {int(name) for name in golden.Function}
    assert {case.kind for case in CASES} == {
        *(golden.FUNCTION, golden.INFERENCE, golden.TRAINING_FIXED, golden.TRAINING_FLOAT),
    }


def test_trainings_moved_far_more_than_their_error() -> None:
    for case in CASES:
        if case.kind in (golden.TRAINING_FIXED, golden.TRAINING_FLOAT):
            start = golden.Model.load(case.model).parameters.astype(np.int64)
            assert np.abs(case.reference - start).max() > 50 * case.bound, case.name


def test_packing_gives_back_what_was_unpacked() -> None:
    assert golden.pack(CASES) == golden.FILE.read_bytes()


def test_a_wrong_bit_would_be_seen() -> None:
    case = CASES[0]
    inputs = case.inputs.copy()
    inputs[0] += 65536
    assert (golden.answer(dataclasses.replace(case, inputs=inputs))[0] != case.expected).any()
