"""The list of workloads, which frameworks run them, and what a framework that is not here says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from edgeprof.cli.workloads import command
from edgeprof.workloads import backends, frameworks
from edgeprof.workloads.backends.base import samples_in
from edgeprof.workloads.catalog import WORKLOADS, Workload
from edgeprof.workloads.data.spec import KINDS
from edgeprof.workloads.errors import MissingFramework, WrongSpec
from edgeprof.workloads.spec import FRAMEWORKS, WorkloadSpec
from tests.source_tree import ROOT

NAMES = [
    *("resnet18", "resnet50", "mobilenetv2", "pilotnet"),
    *("trajectory-lstm", "trajectory-gru", "text-lstm"),
    *("vit-tiny", "distilbert", "gpt2-small"),
    *("yolos-tiny", "segformer-b0"),
]
"""The fixed list: matrices and scripts rely on these names."""


def test_names_are_the_fixed_list() -> None:
    assert list(WORKLOADS) == NAMES
    assert all(entry.name == name for name, entry in WORKLOADS.items())


@pytest.mark.parametrize("entry", WORKLOADS.values(), ids=NAMES)
def test_entries_are_whole(entry: Workload) -> None:
    assert entry.kind in ("cnn", "rnn", "transformer", "driving")
    assert entry.data in KINDS
    assert entry.task and entry.source and entry.parameters > 0 and entry.batch > 0
    assert "pytorch" in entry.train and set(entry.train) <= set(entry.infer) <= set(FRAMEWORKS)
    assert bool(entry.image) == bool(entry.tiny_image) == (entry.data not in ("text", "trajectories"))
    assert bool(entry.length) == bool(entry.vocabulary) == (entry.data == "text")
    assert bool(entry.features) == bool(entry.horizon) == (entry.data == "trajectories")


def test_the_page_has_their_kind_size_and_data() -> None:
    page = (ROOT / "docs/workloads.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (\w+) \| ([\d,]+) \| (\w+) \|", page, re.MULTILINE)
    assert rows == [(item.name, item.kind, f"{item.parameters:,}", item.data) for item in WORKLOADS.values()]


def test_a_head_grows_with_the_data_and_never_shrinks() -> None:
    entry = WORKLOADS["resnet18"]
    assert [entry.classes_of("base", of_data) for of_data in (None, 10, 2000)] == [1000, 1000, 2000]
    assert [entry.classes_of("tiny", of_data) for of_data in (None, 10, 2000)] == [10, 10, 2000]


def test_the_batch_is_the_specs_or_one_request_or_the_workloads() -> None:
    entry = WORKLOADS["resnet18"]

    def size(**settings: Any) -> int:
        return samples_in(WorkloadSpec("resnet18", **settings), entry)

    assert size() == 32
    assert size(size="tiny") == 4
    assert size(batch=7, lifecycle="infer", scenario="single") == 7
    assert size(lifecycle="infer", scenario="multi") == 1
    assert size(lifecycle="infer", scenario="offline") == 32


class TestFrameworks:
    def test_there_is_one_entry_for_each(self) -> None:
        assert set(frameworks.FRAMEWORK) == set(FRAMEWORKS)

    def test_extras_exist(self) -> None:
        text = (ROOT / "pyproject.toml").read_text()
        assert all(f"\n{entry.extra} = [" in text for entry in frameworks.FRAMEWORK.values())

    def test_a_missing_one_says_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frameworks, "find_spec", lambda name: None if name == "keras" else object())
        assert frameworks.missing("pytorch") is None
        assert (
            str(frameworks.missing("jax"))
            == "Keras is not installed here; install it with: pip install 'edgeprof[jax]'"
        )

    def test_the_backend_refuses_before_it_imports(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frameworks, "find_spec", lambda name: None)
        backend = backends.load(WorkloadSpec("pilotnet"), WORKLOADS["pilotnet"], None)  # type: ignore[arg-type]
        with pytest.raises(MissingFramework, match=r"PyTorch is not installed here; .*edgeprof\[torch\]"):
            backend.prepare()

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"framework": "litert"}, "litert cannot train resnet18 here; these can: pytorch, tensorflow, jax"),
            ({"framework": "onnxruntime", "keras": True}, "cannot train resnet18 as a Keras model here"),
        ],
    )
    def test_what_a_framework_cannot_do_is_said(self, settings: dict[str, Any], sentence: str) -> None:
        with pytest.raises(WrongSpec, match=sentence):
            backends.load(WorkloadSpec("resnet18", **settings), WORKLOADS["resnet18"], None)  # type: ignore[arg-type]

    def test_a_workload_without_keras_definition_says_so(self) -> None:
        with pytest.raises(WrongSpec, match="leave out --keras"):
            backends.load(WorkloadSpec("yolos-tiny", keras=True), WORKLOADS["yolos-tiny"], None)  # type: ignore[arg-type]


class TestPrecision:
    @pytest.mark.parametrize(
        ("name", "settings", "sentence"),
        [
            ("distilbert", {"precision": "int8"}, "int8 is for inference"),
            ("resnet18", {"precision": "int8", "lifecycle": "infer"}, "dense and recurrent layers only"),
            ("distilbert", {"precision": "int8", "lifecycle": "infer", "compile": True}, "not compiled"),
            ("text-lstm", {"precision": "float16"}, "no float16 LSTM on the CPU; use --precision bfloat16"),
        ],
    )
    def test_what_pytorch_cannot_do_is_said(self, name: str, settings: dict[str, Any], sentence: str) -> None:
        backend = backends.load(WorkloadSpec(name, **settings), WORKLOADS[name], None)  # type: ignore[arg-type]
        with pytest.raises(WrongSpec, match=sentence):
            backend.prepare()

    def test_compiling_needs_a_compiler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        monkeypatch.delenv("CXX", raising=False)
        backend = backends.load(WorkloadSpec("pilotnet", compile=True), WORKLOADS["pilotnet"], None)  # type: ignore[arg-type]
        with pytest.raises(WrongSpec, match="install g\\+\\+, or leave out --compile"):
            backend.prepare()


class TestListing:
    def test_all_are_listed_with_size_source_and_frameworks(self) -> None:
        content = json.loads(CliRunner().invoke(command, ["--json"]).output)
        assert [item["name"] for item in content["workloads"]] == NAMES
        first = content["workloads"][0]
        assert first["parameters"] == 11_689_512
        assert first["float32_bytes"] == 4 * 11_689_512
        assert first["frameworks"]["infer"] == list(FRAMEWORKS)
        assert first["source"].startswith("transformers ResNet")
        assert set(content["frameworks"]) == set(FRAMEWORKS)
        assert "driving" in content["scenarios"]

    def test_the_table_names_them_and_what_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frameworks, "find_spec", lambda name: None if name == "ai_edge_litert" else object())
        text = CliRunner().invoke(command, []).output
        assert all(name in text for name in NAMES)
        assert "46.8 MB" in text
        assert "pip install 'edgeprof[litert]'" in text

    def test_listing_imports_no_framework(self) -> None:
        code = (
            "import sys\nfrom edgeprof.cli.main import main\nmain(['workloads'])\n"
            "heavy = {'torch', 'tensorflow', 'keras', 'jax', 'onnxruntime', 'transformers', 'numpy'}\n"
            "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
