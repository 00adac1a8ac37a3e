"""Every workload in Keras's three frameworks, ONNX Runtime and LiteRT: it learns, and its answers are the right ones.

All workloads of a framework run in one process, since importing the libraries takes longer than the steps; two such
processes run at a time.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeprof.workloads.catalog import WORKLOADS
from edgeprof.workloads.data.make import make
from edgeprof.workloads.data.spec import KINDS, DataSpec
from edgeprof.workloads.errors import MissingFramework
from edgeprof.workloads.models import export
from edgeprof.workloads.spec import WorkloadSpec
from tests.helpers import ROOT

pytestmark = pytest.mark.timeout(900)  # the first test waits for all of the processes

NEEDED = {
    "jax": ("jax", "keras"),
    "litert": ("ai_edge_litert", "tensorflow", "keras"),
    "tensorflow": ("tensorflow", "keras"),
    "onnxruntime": ("onnxruntime", "torch", "transformers", "onnxscript"),
    "keras-pytorch": ("torch", "keras"),
}
"""What a framework's test imports; the longest first."""
EXTRA = {"onnxruntime": "onnx,torch", "keras-pytorch": "torch,tensorflow", "litert": "litert,tensorflow"}
FAST = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    "OMP_NUM_THREADS": "1",
}
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet50": 25_583_592,
    "mobilenetv2": 3_504_872,
    "pilotnet": 252_219,
    "vit-tiny": 5_717_416,
    "distilbert": 66_955_010,
}
"""Of torchvision's, Keras's, timm's and Hugging Face's models with 1000 classes (2 for text)."""


def lacks(framework: str) -> str:
    """Why a framework cannot be tested here; empty: it can."""
    missing = [name for name in NEEDED[framework] if importlib.util.find_spec(name) is None]
    extra = EXTRA.get(framework, framework)
    return f"not installed: {', '.join(missing)}; pip install 'edgeprof[{extra}]'" if missing else ""


@dataclass
class Session:
    """What the processes said, by framework."""

    folder: Path
    said: dict[str, subprocess.CompletedProcess[str]]

    def of(self, framework: str) -> dict[str, dict[str, Any]]:
        """By workload."""
        if reason := lacks(framework):
            pytest.skip(reason)
        done = self.said[framework]
        assert done.returncode == 0, done.stderr[-3000:]
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"workload"')]
        return {line.pop("workload"): line for line in lines}

    def environment(self) -> dict[str, str]:
        return {**os.environ, **FAST, "PYTHONPATH": str(ROOT), export.VARIABLE: str(self.folder / "models")}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("frameworks")
    for kind in KINDS:
        make(DataSpec(kind, bytes=200_000), folder, lambda line: None).rename(folder / kind)
    session = Session(folder, {})
    program = str(ROOT / "tests" / "integration" / "framework_workloads.py")

    def run(framework: str) -> None:
        session.said[framework] = subprocess.run(
            [sys.executable, program, framework, str(folder), str(folder)],
            env=session.environment(),
            capture_output=True,
            text=True,
            timeout=600,
        )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, [name for name in NEEDED if not lacks(name)]))
    return session


@pytest.mark.parametrize("framework", ["tensorflow", "jax", "keras-pytorch"])
def test_keras_models_learn(session: Session, framework: str) -> None:
    found = session.of(framework)
    name = framework.removeprefix("keras-")
    assert set(found) - {"base"} == {entry.name for entry in WORKLOADS.values() if name in entry.keras}
    phases = {"forward", "backward", "optimizer"} if framework == "keras-pytorch" else {"train"}
    for workload, said in found.items():
        if workload != "base":
            assert min(said["losses"][1:]) < said["losses"][0], workload
            assert said["finite"], workload
            assert said["answer"][0] == 2, workload
            assert said["changed"], f"the checkpoint of {workload} holds the weights of before the training"
            assert all(0 < error < 0.1 for error in said.get("half", ())), workload
            assert set(said["phases"]) == {"import", "build", "compile", *phases}


def test_the_frameworks_train_the_same_model(session: Session) -> None:
    sizes = {
        name: {workload: said.get("parameters") for workload, said in session.of(name).items() if workload != "base"}
        for name in ("tensorflow", "jax", "keras-pytorch")
    }
    assert sizes["tensorflow"] == sizes["jax"] == sizes["keras-pytorch"]


@pytest.mark.parametrize("framework", ["jax", "keras-pytorch"])
def test_tensorflow_is_in_no_other_framework_s_memory(session: Session, framework: str) -> None:
    for workload, said in session.of(framework).items():
        assert "tensorflow" not in said.get("modules", ()), workload


def test_keras_models_are_as_large_as_the_published_ones(session: Session) -> None:
    sizes = session.of("keras-pytorch")["base"]["parameters"]
    assert {name: sizes[name] for name in PUBLISHED} == PUBLISHED
    for name, size in sizes.items():  # PyTorch's LSTM has two biases where Keras's has one
        assert size == pytest.approx(WORKLOADS[name].parameters, rel=0.01), name


@pytest.mark.parametrize("framework", ["onnxruntime", "litert"])
def test_exported_models_answer_as_the_original(session: Session, framework: str) -> None:
    found = session.of(framework)
    assert set(found) == {entry.name for entry in WORKLOADS.values() if framework in entry.infer}
    for workload, said in found.items():
        assert said["size"] > 1e-3, f"{workload} answers nothing"
        assert said["error"]["float32"] < 1e-4, workload
        assert said["error"].get("float16", 0) < 1e-2, workload
        assert said["cosine"].get("int8", 1) > 0.95, workload
    assert sum("int8" in said["cosine"] for said in found.values()) >= 3


@pytest.mark.parametrize("framework", ["onnxruntime", "litert"])
def test_an_exported_model_runs_without_what_it_was_made_with(session: Session, framework: str) -> None:
    session.of(framework)
    spec = inference(framework, session.folder / "images", steps=2, warmup=1, threads=1)
    code = (
        "import sys; from edgeprof.workloads.__main__ import main; code = main(sys.argv[1:]);"
        "print(sorted({'torch', 'tensorflow', 'keras', 'jax', 'transformers'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, spec.to_json()], env=session.environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    outcome, modules = done.stdout.splitlines()
    assert modules == "[]"
    assert json.loads(outcome)["steps"] == 2
    assert json.loads(outcome)["parameters"] == (32_642 if framework == "onnxruntime" else 21_914)


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a CUDA device")
@pytest.mark.parametrize("framework", ["jax", "onnxruntime"])
def test_a_missing_cuda_device_is_one_sentence(session: Session, framework: str) -> None:
    session.of(framework)
    spec = inference(framework, session.folder / "images", unit="cuda")
    done = subprocess.run(
        [sys.executable, "-m", "edgeprof.workloads", spec.to_json()],
        env=session.environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert "CUDA" in sentence
    assert "--unit cpu" in sentence


def test_a_model_is_exported_where_none_is_kept(session: Session) -> None:
    if reason := lacks("litert"):
        pytest.skip(reason)
    spec = inference("litert", session.folder / "trajectories", "trajectory-gru", steps=1)
    models = session.folder / "others"
    environment = {**session.environment(), export.VARIABLE: str(models)}
    done = subprocess.run(
        [sys.executable, "-m", "edgeprof.workloads", spec.to_json()],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (kept,) = models.iterdir()
    assert {path.name for path in kept.iterdir()} == {"model.tflite", "facts.json"}


def test_a_kept_model_is_found_where_nothing_could_export_it(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from edgeprof.workloads.data.describe import describe

    session.of("litert")
    dataset = describe(session.folder / "images")
    spec, entry = inference("litert", dataset.path), WORKLOADS["resnet18"]
    models = tmp_path / "models"
    (made,) = (session.folder / "models").glob("litert-resnet18-tiny-b2-float32-*")
    shutil.copytree(made, models / f"{made.name.rpartition('-')[0]}-elsewhere")
    monkeypatch.setenv(export.VARIABLE, str(models))
    assert export.find(spec, entry, dataset) is None
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    found = export.find(spec, entry, dataset)
    assert found is not None
    assert found.parameters == 21_914
    (found.path.parent / "facts.json").write_text("{")
    with pytest.raises(MissingFramework, match=r"TensorFlow.*edgeprof\[tensorflow\]"):
        export.ready(spec, entry, dataset)


def inference(framework: str, data: Path, workload: str = "resnet18", **settings: Any) -> WorkloadSpec:
    return WorkloadSpec(
        workload, framework=framework, lifecycle="infer", size="tiny", batch=2, data=str(data), **settings
    )
