"""--auto on real programs: unmodified training and inference, unusual ones, and programs that end badly."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edgeprof.collectors.base import Context, Status
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.phases import capture, parse

pytest.importorskip("torch", reason="needs PyTorch: pip install 'edgeprof[torch]'")
PROGRAMS = Path(__file__).parents[1] / "data" / "phases"
FOLDER = Path(capture.__file__).parent.resolve()


@dataclass
class Captured:
    """One program's run: what it printed, and what was recorded of it."""

    raw: Path
    code: int
    out: str
    err: str
    status: Status
    facts: RunFacts

    def table(self, name: str) -> pd.DataFrame:
        return parse.parse(self.raw, self.facts).tables[name].to_pandas()

    @property
    def coverage(self) -> float:
        phases = parse.parse(self.raw, self.facts).tables["phases"]
        assert self.facts.end_ns is not None
        return parse.coverage(phases, self.facts.start_ns, self.facts.end_ns)

    def count(self, phase: str, main: bool = True) -> int:
        phases = self.table("phases")
        return int(((phases["name"] == phase) & (phases["main"] == main)).sum())


def environment(raw: Path, auto: bool = True, **extra: str) -> tuple[capture.Phases, dict[str, str]]:
    collector = capture.COLLECTOR(Context(str(raw / "phases"), options={"auto": auto}))
    (raw / "phases").mkdir(parents=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EDGEPROF"))}
    variables = {**clean, **extra, **collector.environment()}
    collector.start()
    return collector, variables


def run(folder: Path, *arguments: str | Path, python: str = sys.executable, **extra: str) -> Captured:
    collector, variables = environment(folder / "raw", **extra)
    start = time.monotonic_ns()
    process = subprocess.Popen(
        [python, *map(str, arguments)],
        env=variables,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(timeout=200)
    facts = RunFacts(start, time.monotonic_ns(), process.pid)
    return Captured(folder / "raw", process.returncode, out, err, collector.stop(), facts)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow: pip install pillow")
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for split, count in (("train", 30), ("val", 10)):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
                ending = "jpg" if number % 2 else "png"
                image.fromarray(pixels).save(root / split / label / f"{number:03}.{ending}")
    return root


@pytest.fixture(scope="module")
def plain_output(images: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the training prints without edgeprof."""
    folder = tmp_path_factory.mktemp("plain")
    arguments = [sys.executable, PROGRAMS / "train.py", images, "--workers", "0"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=True, timeout=200)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(("workers", "method"), [(2, "spawn"), (2, "fork"), (0, None)])
def test_training_is_accounted_for(
    images: Path, plain_output: str, tmp_path: Path, workers: int, method: str | None
) -> None:
    start_method = ["--start-method", method] if method else []
    done = run(tmp_path, PROGRAMS / "train.py", images, "--workers", str(workers), *start_method)
    assert (done.code, done.out, done.err) == (0, plain_output, "")
    assert done.coverage >= 0.95
    steps = done.table("steps")  # 60 images in batches of 16, twice: 4 steps an epoch, the last with 12 images
    assert steps["samples"].tolist() == [16, 16, 16, 12] * 2
    assert steps["step"].tolist() == list(range(8))
    assert (steps["start_ns"] < steps["end_ns"]).all()
    assert (steps["start_ns"].to_numpy()[1:] >= steps["end_ns"].to_numpy()[:-1]).all()
    counted = {name: done.count(name) for name in ("forward", "loss", "backward", "optimizer", "checkpoint", "startup")}
    validation = 2 * 2  # 20 images, twice
    assert counted == {
        "forward": 8 + validation,
        "loss": 8,
        "backward": 8,
        "optimizer": 8,
        "checkpoint": 2,
        "startup": 1,
    }
    phases = done.table("phases")
    assert not phases.loc[phases["name"] != "shutdown", "cut"].any()
    fetches = phases[phases["name"] == "fetch"]
    assert not fetches["main"].any()
    # two epochs with two loaders each start two workers each; of 2 validation batches each worker fetches one
    assert fetches.groupby("pid").size().tolist() == ([2, 2, 1, 1] * 2 if workers else [])
    assert parse.facts(done.raw) == {
        "model": "SmallNet",
        "lifecycle": "train",
        "framework": {"name": "torch", "version": __import__("torch").__version__},
        "unit": {"kind": "cpu", "threads": 1, "precision": "float32"},
        "batch_size": 16,
        "workers": workers,
    }


def test_time_that_nothing_names_is_not_covered(tmp_path: Path) -> None:
    program = (
        "import time, torch\n"
        "start = time.monotonic()\n"
        "layer = torch.nn.Linear(2, 2)\n"
        "layer(torch.ones(1, 2))\n"
        "while time.monotonic() < start + 2: pass\n"
        "layer(torch.ones(1, 2))\n"
    )
    done = run(tmp_path, "-c", program)
    uncovered = (1 - done.coverage) * (done.facts.end_ns - done.facts.start_ns) * 1e-9
    assert uncovered > 1.5


def test_inference_steps_are_the_requests(tmp_path: Path) -> None:
    done = run(tmp_path, PROGRAMS / "infer.py")
    assert (done.code, done.out, done.err) == (0, "classified 32\n", "")
    assert done.table("steps")["samples"].tolist() == [4.0] * 8
    found = parse.facts(done.raw)
    assert (found["lifecycle"], found["batch_size"], found["model"]) == ("infer", 4, "Sequential")


def test_unusual_ways_to_train(tmp_path: Path) -> None:
    done = run(tmp_path, PROGRAMS / "scenarios.py")
    assert (done.code, done.err) == (0, "")
    expected = {
        "no_loader": [5.0] * 3,
        "accumulation": [16.0] * 2,
        "two_optimizers": [8.0] * 4,
        "lbfgs": [8.0] * 4,
        "failures": [8.0] * 4,
        "scaler": [8.0] * 4,
        "checkpointed": [8.0] * 4,
        "compiled": [8.0] * 4,
    }
    assert done.out.split() == [*expected, "end"]
    marks, steps, phases = done.table("marks"), done.table("steps"), done.table("phases")
    edges = dict(zip(marks["name"].str.removeprefix("scenario "), marks["time_ns"], strict=True))
    names = list(edges)
    found = {
        name: steps.loc[steps["end_ns"].between(edges[name], edges[after]), "samples"].tolist()
        for name, after in pairwise(names)
    }
    assert found == expected
    assert not phases.loc[phases["name"] != "shutdown", "cut"].any()
    failing = phases[phases["start_ns"].between(edges["failures"], edges["scaler"])]
    assert (failing.loc[failing["name"] == "forward", "depth"] == 0).all()


@pytest.mark.parametrize(
    ("ending", "code"), [("raise RuntimeError('boom')", 1), ("os._exit(3)", 3), ("os.kill(os.getpid(), 9)", -9)]
)
def test_programs_that_end_badly(tmp_path: Path, ending: str, code: int) -> None:
    program = (
        "import os, torch\n"
        "model = torch.nn.Linear(4, 1)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "class Broken(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        f"        {ending}\n"
        "for _ in range(3):\n"
        "    model(torch.ones(6, 4)).sum().backward()\n"
        "    optimizer.step()\n"
        "Broken()(torch.ones(1))\n"
    )
    done = run(tmp_path, "-c", program)
    assert done.code == code
    assert done.table("steps")["samples"].tolist() == [6.0] * 3
    phases = done.table("phases")
    last = phases[phases["name"] == "forward"].iloc[-1]
    assert last["cut"] == ("raise" not in ending)
    assert done.status.lost == 0
    if last["cut"]:
        assert last["end_ns"] == done.facts.end_ns


def test_killed_from_outside(images: Path, tmp_path: Path) -> None:
    collector, variables = environment(tmp_path / "raw")
    start = time.monotonic_ns()
    arguments = [sys.executable, "-u", PROGRAMS / "train.py", images, "--epochs", "1000", "--workers", "0"]
    process = subprocess.Popen(arguments, env=variables, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("epoch 0")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    status = collector.stop()
    parsed = parse.parse(tmp_path / "raw", RunFacts(start, time.monotonic_ns(), process.pid))
    assert parsed.notes == []
    assert parsed.tables["steps"].num_rows >= 4
    assert status.bytes == sum(path.stat().st_size for path in (tmp_path / "raw" / "phases").glob("*.bin"))


def test_program_without_torch(tmp_path: Path) -> None:
    done = run(tmp_path, "-c", "import sys, json; print(sys.path[1:2] == [sys.path[1]], 'torch' in sys.modules)")
    assert (done.code, done.out) == (0, "True False\n")
    assert done.status.records == 0
    assert done.status.details["pythons"] == 1
    assert any("no PyTorch training" in note for note in done.status.notes)


def test_sys_path_is_as_without_auto(tmp_path: Path) -> None:
    program = "import sys; print(sys.path, sorted(m for m in sys.modules if not m.startswith('_')))"
    plain = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    done = run(tmp_path, "-c", program)
    assert done.out.replace(", 'sitecustomize'", "") == plain.stdout.replace(", 'sitecustomize'", "")


@pytest.mark.parametrize("option", ["-S", "-E", "-I"])
def test_python_that_ignores_the_hooks_is_noted(tmp_path: Path, option: str) -> None:
    done = run(tmp_path, option, "-c", "print('fine')")
    assert (done.code, done.out) == (0, "fine\n")
    assert any("ignore PYTHONPATH" in note for note in done.status.notes)


@pytest.fixture
def own_sitecustomize(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import os\nos.environ['OWN'] = 'ran'\nvalue = 7\n")
    return folder


def other_pythons() -> list[str]:
    """This Python, and those of other versions that run here (a pyenv shim may be there and not run)."""
    places = [os.environ["PATH"], *map(str, Path.home().glob(".pyenv/versions/*/bin"))]
    names = ("python2.7", "python3.6", "python3.8", "python3.13", "python3.14")
    found = [shutil.which(name, path=place) for name in names for place in places]
    runs = [
        path for path in filter(None, found) if subprocess.run([path, "-c", ""], capture_output=True).returncode == 0
    ]
    return [sys.executable, *{Path(path).name: path for path in runs}.values()]


@pytest.mark.parametrize("python", other_pythons(), ids=lambda path: Path(path).name)
def test_own_sitecustomize_still_runs(tmp_path: Path, own_sitecustomize: Path, python: str) -> None:
    collector, variables = environment(tmp_path / "raw")
    variables["PYTHONPATH"] += os.pathsep + str(own_sitecustomize)
    variables["PYTHONDONTWRITEBYTECODE"] = "1"  # Python 2 would write beside the source
    program = "import os, sys, sitecustomize; print('%s %s' % (os.environ['OWN'], sitecustomize.value))"
    done = subprocess.run([python, "-c", program], env=variables, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran 7\n", "")
    collector.stop()


def test_own_sitecustomize_that_fails_is_reported_as_ever(tmp_path: Path, own_sitecustomize: Path) -> None:
    (own_sitecustomize / "sitecustomize.py").write_text("import no_such_module\n")
    _, variables = environment(tmp_path / "raw")
    plain = {name: value for name, value in variables.items() if name != "EDGEPROF_AUTO"}
    plain["PYTHONPATH"] = str(own_sitecustomize)
    variables["PYTHONPATH"] += os.pathsep + str(own_sitecustomize)
    results = [
        subprocess.run([sys.executable, "-c", "print(1)"], env=values, capture_output=True, text=True, timeout=60)
        for values in (plain, variables)
    ]
    assert results[0].stderr
    assert results[0].stderr == results[1].stderr
    assert results[1].stdout == "1\n"


def test_broken_hooks_leave_the_program_alone(tmp_path: Path) -> None:
    """A PyTorch that lacks what the hooks look for: the program runs, and the reason is noted."""
    fake = tmp_path / "torch"
    fake.mkdir()
    (fake / "__init__.py").write_text("__version__ = '99'\nanswer = 42\n")
    done = run(tmp_path, "-c", "import sys; sys.path.insert(0, '.'); import torch; print(torch.answer)")
    assert (done.code, done.out, done.err) == (0, "42\n", "")
    assert any("instrumenting torch" in note for note in done.status.notes)


def test_user_api_and_auto_share_one_file(tmp_path: Path) -> None:
    program = (
        "import edgeprof, torch\n"
        "model = torch.nn.Linear(2, 2)\n"
        "for _ in range(2):\n"
        "    with edgeprof.phase('epoch'):\n"
        "        model(torch.ones(3, 2))\n"
        "    edgeprof.step(samples=3)\n"
    )
    done = run(tmp_path, "-c", program)
    assert len(list((done.raw / "phases").glob("*.bin"))) == 1
    phases = done.table("phases")
    assert phases.loc[phases["name"] == "forward", "depth"].tolist() == [1, 1]
    assert done.table("steps")["samples"].tolist() == [3.0, 3.0]


def test_hooks_unpacked_from_a_zip_file(tmp_path: Path) -> None:
    """An agent shipped as one zip file unpacks the hooks beside the records."""
    package = tmp_path / "zip" / "edgeprof"
    for name in ("collectors", "collectors/phases", "collectors/phases/inject"):
        (package / name).mkdir(parents=True, exist_ok=True)
        (package / name / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    for name in ("base.py", *(f"phases/{item.relative_to(FOLDER)}" for item in FOLDER.rglob("*.py"))):
        shutil.copy(FOLDER.parent / name, package / "collectors" / name)
    archive = shutil.make_archive(str(tmp_path / "agent"), "zip", tmp_path / "zip")
    raw = tmp_path / "raw"
    raw.mkdir()
    program = (
        f"import sys; sys.path.insert(0, {archive!r})\n"
        "from edgeprof.collectors.base import Context\n"
        "from edgeprof.collectors.phases.capture import Phases\n"
        f"print(Phases(Context({str(raw)!r}, options={{'auto': True}})).environment()['PYTHONPATH'])\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    inject = Path(done.stdout.strip().split(os.pathsep)[0])
    assert inject == raw / "hooks" / "inject"
    assert (inject / "sitecustomize.py").read_bytes() == (FOLDER / "inject" / "sitecustomize.py").read_bytes()
    assert {path.name for path in inject.parent.glob("*.py")} == {
        "recorder.py", "facts.py", "tracker.py", "loading.py", "pytorch.py",
    }  # fmt: skip


LOAD_HOOKS = (
    "import importlib.util, sys, types\n"
    "def load(name):\n"
    f"    spec = importlib.util.spec_from_file_location('_edgeprof_' + name, {str(FOLDER)!r} + '/' + name + '.py')\n"
    "    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)\n"
    "    spec.loader.exec_module(module)\n"
    "    return module\n"
    "hooks = [load(name) for name in ('recorder', 'facts', 'tracker', 'loading', 'pytorch')][-1]\n"
    "import torch\n"
)


def run_with_hooks(folder: Path, program: str) -> Captured:
    """Load the hooks by hand, so that the program can choose which of them to install."""
    collector, variables = environment(folder / "raw", auto=False)
    start = time.monotonic_ns()
    process = subprocess.Popen(
        [sys.executable, "-c", LOAD_HOOKS + program], env=variables, stdout=subprocess.PIPE, text=True
    )
    out, _ = process.communicate(timeout=200)
    facts = RunFacts(start, time.monotonic_ns(), process.pid)
    return Captured(folder / "raw", process.returncode, out, "", collector.stop(), facts)


def test_optimizers_of_a_pytorch_without_global_hooks(tmp_path: Path) -> None:
    """Before 2.0 the classes' own step is wrapped; this PyTorch's classes stand in for that one's."""
    done = run_with_hooks(
        tmp_path,
        "hooks._install_torch(torch)\n"
        "hooks._install_optimizer(types.SimpleNamespace(Optimizer=torch.optim.Optimizer))\n"
        "class Own(torch.optim.SGD):\n"
        "    def step(self, closure=None): return super().step(closure)\n"
        "model = torch.nn.Linear(4, 1)\n"
        "for kind in (torch.optim.SGD, Own):\n"
        "    optimizer = kind(model.parameters(), lr=0.1)\n"
        "    for _ in range(2):\n"
        "        model(torch.ones(3, 4)).sum().backward()\n"
        "        optimizer.step()\n"
        "    try: optimizer.step(lambda: 1 / 0)\n"
        "    except ZeroDivisionError: pass\n"
        "    hooks._state.tracker.round = []\n",
    )
    assert done.code == 0
    assert done.table("steps")["samples"].tolist() == [3.0] * 4
    phases = done.table("phases")
    assert not phases.loc[phases["name"] == "optimizer", "cut"].any()


def test_copies_to_another_device(tmp_path: Path) -> None:
    """The device ``meta``, which every PyTorch has, stands in for an accelerator."""
    done = run_with_hooks(
        tmp_path,
        "hooks._install_torch(torch); hooks.install_transfers(torch)\n"
        "x = torch.ones(3)\n"
        "x.to('meta'); x.to(torch.float64); assert x.sum().item() == 3 and x.tolist() == [1, 1, 1]\n"
        "f = torch.compile(lambda x: x.to(torch.float64) + x.cpu(), backend='eager', fullgraph=True)\n"
        "assert f(x).dtype == torch.float64\n",
    )
    assert done.code == 0
    assert done.count("transfer") == 1


def test_transforms_are_no_forwards(tmp_path: Path) -> None:
    """Image transforms and lone activations are modules, but calling one is neither a forward nor a request."""
    program = (
        "import torch\n"
        "from torch.utils.data import DataLoader\n"
        "class Resize(torch.nn.Module):\n"
        "    __module__ = 'torchvision.transforms.transforms'\n"
        "    def forward(self, x): return x[:2]\n"
        "class Images(torch.utils.data.Dataset):\n"
        "    def __len__(self): return 4\n"
        "    def __getitem__(self, index): return Resize()(torch.nn.Linear(4, 4)(torch.ones(4)).detach())\n"
        "model, softmax = torch.nn.Linear(2, 2).eval(), torch.nn.Softmax(1)\n"
        "Resize()(torch.ones(5))\n"
        "with torch.no_grad():\n"
        "    for x in DataLoader(Images(), batch_size=2): softmax(model(x))\n"
    )
    done = run(tmp_path, "-c", program)
    assert (done.code, done.err) == (0, "")
    assert [done.count(name) for name in ("transform", "forward")] == [3, 2]
    assert done.table("steps")["samples"].tolist() == [2.0, 2.0]


@pytest.mark.root
def test_a_full_disk_does_not_harm_the_program(tmp_path: Path) -> None:
    """Storing into a mapped hole of a full disk would kill the program with SIGBUS."""
    raw = tmp_path / "raw"
    collector, variables = environment(raw, auto=False)
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=160k", "none", raw / "phases"], check=True, capture_output=True
        )
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot mount a tmpfs ({error.stderr.decode().strip()}): run as root with CAP_SYS_ADMIN")
    try:
        program = LOAD_HOOKS.replace("import torch\n", "") + "r = sys.modules['_edgeprof_recorder']\n"
        program += "for i in range(20000): r.mark('n', i)\nprint('done')"
        done = subprocess.run(
            [sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
        status = collector.stop()
        marks = parse.parse(raw, RunFacts(0, None, 0)).tables["marks"]
    finally:
        subprocess.run(["umount", raw / "phases"], check=True)
    assert marks["value"].to_pylist() == list(range(marks.num_rows))
    assert marks.num_rows > 1000
    assert status.lost == 20000 - marks.num_rows + 1
    assert any("the disk was full" in note for note in status.notes)
