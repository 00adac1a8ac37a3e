"""Models as files, for the frameworks that only load them: made once, by a process of its own, and kept.

    python -m edgeprof.workloads.models.export '{"workload": "resnet18", "framework": "litert", "data": "FOLDER"}'

A process that is measured loads the file as a user's program does, and neither PyTorch nor TensorFlow with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import edgeprof
from edgeprof.workloads.backends.base import samples_in
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.errors import MissingFramework, WorkloadError, WrongSpec

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet
    from edgeprof.workloads.spec import WorkloadSpec

PRECISIONS = ("float32", "float16", "int8")
VARIABLE = "EDGEPROF_MODEL_CACHE"
LONGEST = 3600.0
"""Seconds that an export may take."""
_FACTS = "facts.json"


class Converter(NamedTuple):
    """What makes a framework's files.

    Attributes:
        title: of the framework, as people call it.
        file: name of the model in its folder.
        distributions: whose versions the result depends on.
        needed: modules that must be importable, what people call them, and the extra that brings them.
    """

    title: str
    file: str
    distributions: tuple[str, ...]
    needed: tuple[tuple[str, str, str], ...]


CONVERTERS = {
    "onnxruntime": Converter(
        "ONNX Runtime",
        "model.onnx",
        ("torch", "transformers", "onnx", "onnxscript", "onnxruntime"),
        (
            ("torch", "PyTorch, which the ONNX model is exported from,", "torch"),
            ("transformers", "transformers, which the ONNX model is exported from,", "torch"),
            ("onnxscript", "onnxscript", "onnx"),
        ),
    ),
    "litert": Converter(
        "LiteRT",
        "model.tflite",
        ("tensorflow", "keras"),
        (
            ("tensorflow", "TensorFlow, which the LiteRT model is converted with,", "tensorflow"),
            ("keras", "Keras, which the LiteRT model is converted from,", "tensorflow"),
        ),
    ),
}


class Exported(NamedTuple):
    """A model on disk.

    Attributes:
        path: its file.
        parameters: that training would learn.
    """

    path: Path
    parameters: int


def cache_folder() -> Path:
    """Where exported models are kept; ``EDGEPROF_MODEL_CACHE`` overrides it."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeprof" / "models"


def check(spec: WorkloadSpec, entry: Workload) -> None:
    """Raises WrongSpec: the framework cannot do this with an exported model; the sentence says what it can."""
    title = CONVERTERS[spec.framework].title
    if spec.lifecycle == "train":
        raise WrongSpec(f"{title} does not train; use --lifecycle infer, or another framework")
    if spec.precision not in PRECISIONS:
        raise WrongSpec(f"{title} runs {', '.join(PRECISIONS)} here and not {spec.precision}")
    if spec.framework == "litert" and spec.unit != "cpu":
        raise WrongSpec("LiteRT runs on the CPU here; use --unit cpu, or another framework")
    if spec.framework == "onnxruntime" and spec.precision == "int8" and entry.name == "trajectory-gru":
        raise WrongSpec("ONNX Runtime has no int8 GRU; use trajectory-lstm, --framework litert, or another precision")


def find(spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> Exported | None:
    """The model if it was exported before.

    Where the libraries that would export it are not installed, one of other versions serves: a board can be given
    the folder of a larger machine.
    """
    stem, made_by = _name(spec, entry, dataset)
    folder = cache_folder()
    candidates = [folder / f"{stem}-{made_by}"]
    if _lacking(spec.framework):
        candidates += sorted(folder.glob(f"{stem}-*"))
    for candidate in candidates:
        found = _read(candidate, spec.framework)
        if found:
            return found
    return None


def ready(spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> Exported:
    """The model, exported now (phase ``export``) if it is not there, in a process of its own.

    Raises:
        MissingFramework: a library that exports is not installed.
        WorkloadError: it could not be done.
    """
    found = find(spec, entry, dataset)
    if found:
        return found
    lacking = _lacking(spec.framework)
    if lacking:
        raise lacking
    kept = {name: value for name, value in os.environ.items() if name not in ("EDGEPROF_PHASES", "EDGEPROF_AUTO")}
    command = [sys.executable, "-m", __name__, spec.to_json()]
    try:
        with edgeprof.phase("export"):
            done = subprocess.run(
                command, env=kept, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=LONGEST
            )
    except subprocess.TimeoutExpired:
        raise WorkloadError(f"exporting {entry.name} took longer than {LONGEST:.0f} s; try another model") from None
    found = find(spec, entry, dataset) if done.returncode == 0 else None
    if found is None:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1].strip() if lines else f"its process ended with code {done.returncode}"
        raise WorkloadError(last if done.returncode == 2 else f"{entry.name} could not be exported: {last[:500]}")
    return found


def main(arguments: Sequence[str]) -> int:
    """Export what the spec asks for; returns the exit code, and an error's sentence is the last line of stderr."""
    from edgeprof.workloads.catalog import WORKLOADS
    from edgeprof.workloads.data.describe import describe
    from edgeprof.workloads.spec import WorkloadSpec

    try:
        spec = WorkloadSpec.from_json(arguments[0])
        entry, dataset = WORKLOADS[spec.workload], describe(Path(spec.data))
        check(spec, entry)
        if find(spec, entry, dataset) is None:
            lacking = _lacking(spec.framework)
            if lacking:
                raise lacking
            write(spec, entry, dataset)
    except (WorkloadError, WrongSpec, DataError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename or cache_folder()}: {error.strerror}; {VARIABLE} names another folder", file=sys.stderr)
        return 2
    return 0


def write(spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> None:
    """Export the model in this process: into a folder of another name, which is renamed."""
    if spec.framework == "onnxruntime":
        from edgeprof.workloads.models import export_onnx as exporter
    else:
        from edgeprof.workloads.models import export_litert as exporter  # type: ignore[no-redef]
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "-".join(_name(spec, entry, dataset))
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as temporary:
        new = Path(temporary, "model")
        new.mkdir()
        parameters = exporter.write(spec, entry, dataset, new / CONVERTERS[spec.framework].file)
        (new / _FACTS).write_text(json.dumps({"parameters": parameters}) + "\n")
        for path in new.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())  # not to be written back in the middle of a measurement
        if _read(target, spec.framework) is None:
            shutil.rmtree(target, ignore_errors=True)
            new.rename(target)


def _read(folder: Path, framework: str) -> Exported | None:
    path = folder / CONVERTERS[framework].file
    try:
        parameters = json.loads((folder / _FACTS).read_text())["parameters"]
        return Exported(path, int(parameters)) if path.stat().st_size else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lacking(framework: str) -> MissingFramework | None:
    for module, title, extra in CONVERTERS[framework].needed:
        if find_spec(module) is None:
            return MissingFramework(title, extra)
    return None


def _name(spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> tuple[str, str]:
    """Name of the model's folder: what the model is, and what made it."""
    batch = samples_in(spec, entry)
    ends = (
        entry.image_of(spec.size),
        entry.length_of(spec.size),
        entry.vocabulary_of(spec.size, dataset.vocabulary),
        entry.classes_of(spec.size, dataset.classes),
        dataset.sequence,
        entry.horizon,
    )
    stem = f"{spec.framework}-{entry.name}-{spec.size}-b{batch}-{spec.precision}-s{spec.seed}-{_digest(repr(ends))}"
    return stem, _digest(*map(_version, CONVERTERS[spec.framework].distributions), *_sources())


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _sources() -> list[str]:
    """The definitions themselves: a changed one is exported anew."""
    return [path.read_text() for path in sorted(Path(__file__).parent.glob("*.py"))]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
