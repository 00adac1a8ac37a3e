"""Every workload in PyTorch on real data sets: it trains, it answers, its size is what the catalog says.

All of them run in one process, since importing the libraries takes longer than the steps.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeprof.workloads.catalog import WORKLOADS
from edgeprof.workloads.data.make import make
from edgeprof.workloads.data.spec import KINDS, DataSpec
from tests.helpers import ROOT, Places, wait_until

pytestmark = pytest.mark.skipif(
    not (importlib.util.find_spec("torch") and importlib.util.find_spec("transformers")),
    reason="PyTorch or transformers is not installed: pip install 'edgeprof[torch]'",
)

PROGRAM = """
import contextlib, io, json, sys
from edgeprof.workloads.__main__ import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([line])
    print(json.dumps([code, out.getvalue(), err.getvalue()]))

import torch
from edgeprof.workloads.catalog import WORKLOADS
from edgeprof.workloads.data.describe import DataSet
from edgeprof.workloads.models.pytorch import build
found = {}
for entry in WORKLOADS.values():
    none = DataSet("", entry.data, "folder", 0, 0, 0, None, 0, (), None, None, ())
    with torch.device("meta"):
        found[entry.name] = sum(item.numel() for item in build(entry, "base", none).parameters())
print(json.dumps(found))
print(json.dumps(sorted(torch.load(sys.argv[1]))))
"""
"""Runs the specs that it reads, one after the other; then says the base models' sizes and what a checkpoint holds."""

Said = tuple[int, str, str]
"""Exit code, standard output and error of one workload."""


def spec(name: str, folders: dict[str, str], **settings: Any) -> dict[str, Any]:
    """Two steps of a tiny workload; threads that wait for each other are slow on a busy machine."""
    common = {"size": "tiny", "steps": 2, "batch": 2, "warmup": 1, "threads": 1}
    return {"workload": name, "data": folders[WORKLOADS[name].data], **common, **settings}


@dataclass
class Session:
    """What was asked of the one process, and what it said."""

    specs: list[dict[str, Any]]
    said: list[Said]
    sizes: dict[str, int]
    checkpoint: list[str]

    def of(self, **settings: Any) -> list[tuple[dict[str, Any], Said]]:
        """The specs that have these settings."""
        pairs = zip(self.specs, self.said, strict=True)
        return [(given, said) for given, said in pairs if settings.items() <= given.items()]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small data set of each kind, and one of the user's own with a damaged image."""
    place = tmp_path_factory.mktemp("data")
    found = {kind: str(make(DataSpec(kind, bytes=1 << 18), place, lambda line: None)) for kind in KINDS}
    return {**found, "damaged": str(damaged_images(place / "damaged"))}


def damaged_images(folder: Path) -> Path:
    """Two classes of four images, one of which was cut."""
    from PIL import Image

    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            Image.effect_noise((80, 60), 90).convert("RGB").save(folder / name / f"{number}.jpg")
    cut = folder / "dog" / "2.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def session(folders: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Session:
    """All workloads in both lifecycles, and what else can be done with some of them."""
    place = tmp_path_factory.mktemp("session")
    checkpoint = str(place / "weights.pt")
    specs = [spec(name, folders, lifecycle=lifecycle) for name in WORKLOADS for lifecycle in ("train", "infer")]
    specs += [spec(name, folders, precision="bfloat16") for name in ("resnet18", "text-lstm", "distilbert")]
    specs += [spec(name, folders, precision="float16") for name in ("resnet18", "trajectory-gru")]
    quantised = ("trajectory-lstm", "text-lstm", "vit-tiny", "yolos-tiny")
    specs += [spec(name, folders, precision="int8", lifecycle="infer") for name in quantised]
    specs.append(spec("trajectory-gru", folders, steps=0, epochs=3, batch=8, workers=1, checkpoint=checkpoint))
    specs.append({**spec("resnet18", folders, steps=0, workers=1), "data": folders["damaged"]})
    if shutil.which("g++"):
        specs.append(spec("pilotnet", folders, compile=True, lifecycle="infer"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TORCHINDUCTOR_CACHE_DIR": str(place / "inductor")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, checkpoint],
        input="".join(json.dumps(item) + "\n" for item in specs),
        capture_output=True,
        text=True,
        timeout=280,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    *said, sizes, content = [json.loads(line) for line in done.stdout.splitlines()]
    return Session(specs, [tuple(item) for item in said], sizes, content)


@pytest.mark.parametrize("lifecycle", ["train", "infer"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_trains_and_answers(session: Session, name: str, lifecycle: str) -> None:
    for given, (code, out, err) in session.of(workload=name, lifecycle=lifecycle, steps=2):
        assert code == 0, (given, err)
        said = json.loads(out)
        assert (said["workload"], said["steps"], said["samples"], said["framework"]) == (name, 2, 4, "pytorch")
        assert said["parameters"] > 1000
        assert said["version"]
        if lifecycle == "train":
            assert said["loss_first"] > 0
            assert said["loss_last"] != said["loss_first"]
            assert said["checkpoints"] == 1


def test_sizes_are_those_of_the_catalog(session: Session) -> None:
    assert session.sizes == {name: entry.parameters for name, entry in WORKLOADS.items()}


def test_a_training_learns_and_its_checkpoint_can_be_loaded(session: Session) -> None:
    ((_, (code, out, _)),) = session.of(epochs=3)
    said = json.loads(out)
    assert (code, said["epochs"]) == (0, 3)
    assert said["loss_last"] < said["loss_first"]
    assert session.checkpoint == ["model", "optimizer"]


def test_a_damaged_sample_is_named(session: Session, folders: dict[str, str]) -> None:
    ((_, (code, out, err)),) = session.of(data=folders["damaged"])
    assert (code, out) == (2, "")
    assert str(Path(folders["damaged"], "dog", "2.jpg")) in err
    assert err.count("\n") == 1


@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler, which torch.compile needs: install g++")
def test_a_compiled_model_answers(session: Session) -> None:
    ((_, (code, out, err)),) = session.of(compile=True)
    assert code == 0, err
    assert json.loads(out)["steps"] == 2


def test_ctrl_c_ends_it_without_a_traceback(folders: dict[str, str], tmp_path: Path) -> None:
    given = spec("pilotnet", folders, steps=0, seconds=300.0, workers=1)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EDGEPROF_PHASES": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeprof.workloads", json.dumps(given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        wait_until(lambda: any(b"measured" in file.read_bytes() for file in tmp_path.glob("*.bin")), "measured", 100)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the loader's processes, too
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert (process.returncode, out, err) == (130, "", "")


def shown(places: Places, *words: str) -> dict[str, Any]:
    """Capture a workload; what `edgeprof show --json` says of it."""
    environment = places.environment(EDGEPROF_DATA_CACHE=str(places.base / "cache"))
    options = ("--data-size", "1M", "--threads", "1", "--collect", "procfs,cgroup,phases,self")
    done = places.run(*words, *options, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(places.edgeprof("show", "last", "--json").stdout)
    return content


def test_a_captured_training_has_its_phases_factors_and_metrics(places: Places) -> None:
    content = shown(places, "resnet18", "--size", "tiny", "--epochs", "2", "--batch", "2", "--checkpoint-every", "2")
    said = {name: entry["value"] for name, entry in content["metrics"].items()}
    names = {phase["name"] for phase in content["phases"]}
    assert {"startup", "import", "build", "warm-up", "load", "forward", "backward", "optimizer"} <= names
    assert {"checkpoint", "validate", "shutdown"} <= names
    assert said["phase_coverage"] > 0.9
    assert said["steps"] >= 4
    assert 0 < said["data_stall"] < 1
    assert said["first_inference_time"] is None
    factors = content["factors"]
    assert factors["framework"]["name"] == "pytorch"
    assert factors["framework"]["version"][0].isdigit()
    assert factors["loader"]["batch"] == 2
    assert (factors["model"], factors["lifecycle"], factors["storage"]["format"]) == ("resnet18", "train", "folder")


def test_captured_requests_have_deadlines(places: Places) -> None:
    words = ("pilotnet", "--lifecycle", "infer", "--scenario", "multi", "--arrival", "20", "--duration", "1")
    content = shown(places, *words, "--deadline", "0.001")
    said = {name: entry["value"] for name, entry in content["metrics"].items()}
    assert said["deadline_misses"] >= said["steps"] >= 1  # nobody answers within a microsecond
    assert said["deadline_miss_share"] == 1
    assert 0 < said["first_inference_time"] < said["wall_time"]
    assert said["tail_ratio"] >= 1
