"""`python -m edgeprof.workloads`: what it prints and which code it ends with where it cannot run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeprof.workloads.__main__ import main
from edgeprof.workloads.data.make import make
from edgeprof.workloads.data.spec import DataSpec
from edgeprof.workloads.lifecycle import Lifecycle


def spec(**settings: Any) -> str:
    return json.dumps({"workload": "pilotnet", **settings})


@pytest.fixture(scope="module")
def steering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set of camera frames and angles."""
    return make(DataSpec("steering", bytes=1 << 16), tmp_path_factory.mktemp("data"), lambda line: None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give one argument"),
        (["{"], "is not JSON"),
        (["{}"], "needs a 'workload'"),
        ([spec(colour="red")], "unknown field 'colour'"),
        ([spec(steps=-1)], "steps must not be below 0"),
        ([spec(lifecycle="infer", scenario="multi", arrival=0)], "arrival must be above 0"),
        ([spec(workers=2, prefetch=0)], "prefetch must be above 0"),
        ([spec(framework="caffe")], "there is no framework 'caffe'"),
        ([json.dumps({"workload": "alexnet"})], "there is no workload 'alexnet'"),
        ([spec()], "names no data set"),
        ([spec(data="nowhere")], "there is no folder nowhere"),
    ],
)
def test_what_cannot_run_is_one_sentence_and_code_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("edgeprof workload: ")
    assert sentence in printed.err
    assert printed.err.count("\n") == 1


def test_an_empty_folder_is_no_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([spec(data=str(tmp_path))]) == 2
    assert "holds neither images nor .txt files" in capsys.readouterr().err


def test_data_of_another_kind_is_refused(steering: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([json.dumps({"workload": "resnet18", "data": str(steering)})]) == 2
    assert "resnet18 learns from images" in capsys.readouterr().err


def test_too_little_data_is_refused(steering: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([spec(data=str(steering), batch=100_000)]) == 2
    assert "fewer than one batch of 100000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device", "weights.bin"), 1, "weights.bin: No space left on device"),
        (MemoryError(), 1, "ran out of memory"),
        (RuntimeError("a\nb"), 1, "unexpected RuntimeError: a b; EDGEPROF_DEBUG=1 shows where"),
    ],
)
def test_what_happens_on_the_way_is_one_sentence(
    error: BaseException,
    code: int,
    sentence: str,
    steering: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(self: Lifecycle) -> None:
        raise error

    monkeypatch.setattr(Lifecycle, "run", fail)
    monkeypatch.delenv("EDGEPROF_DEBUG", raising=False)
    assert main([spec(data=str(steering), batch=1)]) == code
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == bool(sentence)
