"""What Keras, ONNX Runtime and LiteRT are asked for and cannot do; where exported models are kept."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeprof.workloads import backends
from edgeprof.workloads.backends.quiet import quiet
from edgeprof.workloads.catalog import WORKLOADS
from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.errors import MissingFramework, WorkloadError, WrongSpec
from edgeprof.workloads.models import export
from edgeprof.workloads.spec import WorkloadSpec

DATASET = DataSet(Path("nowhere"), "images", "folder", 8, 0, 0, None, 4, (), None, None, ())


def asked(**settings: Any) -> WorkloadSpec:
    return WorkloadSpec(**{"workload": "resnet18", "lifecycle": "infer", **settings})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"framework": "onnxruntime", "precision": "bfloat16"}, "ONNX Runtime runs float32, float16, int8 here"),
        ({"framework": "onnxruntime", "precision": "int8", "workload": "trajectory-gru"}, "use trajectory-lstm"),
        ({"framework": "litert", "unit": "cuda"}, "--unit cpu"),
        ({"framework": "tensorflow", "precision": "int8"}, "--framework onnxruntime or litert"),
        ({"framework": "jax", "precision": "float16", "workload": "vit-tiny"}, "--precision bfloat16"),
        ({"framework": "pytorch", "keras": True, "compile": True}, "leave out --compile"),
        ({"framework": "litert", "lifecycle": "train"}, "litert cannot train resnet18"),
        ({"framework": "onnxruntime", "lifecycle": "train"}, "onnxruntime cannot train resnet18"),
        ({"framework": "litert", "workload": "gpt2-small"}, "litert cannot infer with gpt2-small"),
        ({"framework": "tensorflow", "workload": "yolos-tiny"}, "tensorflow cannot infer with yolos-tiny"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_imported(settings: dict[str, Any], sentence: str) -> None:
    spec = asked(**settings)
    with pytest.raises(WrongSpec, match=sentence):
        backends.load(spec, WORKLOADS[spec.workload], DATASET).prepare()


@pytest.mark.parametrize(
    ("framework", "module", "sentence"),
    [
        ("tensorflow", "tensorflow", r"TensorFlow is not installed here.*edgeprof\[tensorflow\]"),
        ("jax", "keras", r"Keras is not installed here.*edgeprof\[jax\]"),
        ("onnxruntime", "onnxruntime", r"ONNX Runtime is not installed here.*edgeprof\[onnx\]"),
        ("litert", "ai_edge_litert", r"LiteRT is not installed here.*edgeprof\[litert\]"),
    ],
)
def test_a_missing_framework_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, framework: str, module: str, sentence: str
) -> None:
    from edgeprof.workloads import frameworks

    monkeypatch.setattr(frameworks, "find_spec", lambda name: None if name == module else object())
    spec = asked(framework=framework)
    with pytest.raises(MissingFramework, match=sentence):
        backends.load(spec, WORKLOADS["resnet18"], DATASET).prepare()


def test_a_model_s_folder_is_named_for_all_that_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = asked(framework="litert")

    def name(changed: WorkloadSpec = spec, dataset: DataSet = DATASET, workload: str = "resnet18") -> str:
        return "-".join(export._name(changed, WORKLOADS[workload], dataset))

    names = {
        name(),
        name(replace(spec, size="tiny")),
        name(replace(spec, batch=3)),
        name(replace(spec, precision="int8")),
        name(replace(spec, seed=1)),
        name(replace(spec, framework="onnxruntime")),
        name(workload="resnet50"),
        name(dataset=replace(DATASET, classes=2000)),
    }
    assert len(names) == 8
    assert name(replace(spec, threads=2, data="elsewhere", format="lmdb", access="sequential")) in names
    monkeypatch.setattr(export, "version", lambda distribution: "99")
    assert name() not in names


def test_an_export_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(export.VARIABLE, str(tmp_path / "models"))
    monkeypatch.setattr(export, "find_spec", lambda name: object())
    with pytest.raises(WorkloadError, match=r"there is no folder .*nowhere"):
        export.ready(asked(framework="litert", data="nowhere"), WORKLOADS["resnet18"], DATASET)


def test_the_folder_of_models_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(export.VARIABLE, "/somewhere")
    assert export.cache_folder() == Path("/somewhere")
    monkeypatch.delenv(export.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert export.cache_folder() == Path("/cache/edgeprof/models")


def test_libraries_are_kept_quiet_unless_they_fail(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        os.write(2, b"chatter\n")
    assert capfd.readouterr().err == ""

    @quiet()
    def fail() -> None:
        os.write(2, b"the reason\n")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert capfd.readouterr().err == "the reason\n"
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "later\n"
