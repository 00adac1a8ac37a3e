"""Runs every tiny workload of one framework in this process, and prints what it saw: one line of JSON for each.

    python framework_workloads.py FRAMEWORK DATA CHECKPOINTS

DATA holds a folder of samples by kind of data; FRAMEWORK is one of tensorflow, jax, keras-pytorch, onnxruntime, litert.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import edgeprof
from edgeprof.workloads import backends
from edgeprof.workloads.catalog import WORKLOADS, Workload
from edgeprof.workloads.data.describe import DataSet, describe
from edgeprof.workloads.models import export
from edgeprof.workloads.models.calibration import INPUT
from edgeprof.workloads.spec import WorkloadSpec

STEPS = 4
INT8 = {
    "onnxruntime": ("resnet18", "trajectory-lstm", "distilbert"),
    "litert": ("resnet18", "trajectory-lstm", "text-lstm", "vit-tiny"),
}
"""Tried in int8, too."""
HALF = {"jax": "trajectory-gru"}
"""Tried in 16 bits, too; resnet18 where nothing is said."""
SEEN: list[str] = []


@contextlib.contextmanager
def noted(name: str) -> Iterator[None]:
    """In place of `edgeprof.phase`."""
    SEEN.append(name)
    yield


def specification(entry: Workload, dataset: DataSet, framework: str, lifecycle: str) -> WorkloadSpec:
    return WorkloadSpec(
        entry.name,
        framework=framework,
        keras=framework == "pytorch",
        lifecycle=lifecycle,
        size="tiny",
        batch=2,
        threads=1,
        data=str(dataset.path),
    )


def trained(entry: Workload, dataset: DataSet, framework: str, checkpoints: Path) -> dict[str, Any]:
    """Train on one batch over and over, answer it, save."""
    spec = specification(entry, dataset, framework, "train")
    backend: Any = backends.load(spec, entry, dataset)
    backend.prepare()
    batch = next(iter(backend.batches(0, True)))
    before = backend.model.get_weights()
    losses = [backend.train_step(batch) for _ in range(STEPS)]
    answer = backend.answer(batch)
    checkpoint = checkpoints / f"{framework}-{entry.name}"
    backend.save(checkpoint)
    after = backend.train_step(batch)  # a checkpoint must not disturb the training
    return {
        "losses": [*losses, after],
        "answer": list(answer.shape),
        "finite": bool(np.isfinite(answer).all()),
        "changed": any(
            not np.array_equal(old, new) for old, new in zip(before, saved(checkpoint, backend), strict=True)
        ),
        "parameters": backend.parameters,
        "version": backend.version,
    }


def answered(entry: Workload, dataset: DataSet, framework: str) -> list[float]:
    """How far the answers in 16 bits are from those in 32, of the same weights; as shares of the largest."""
    answers = {}
    for precision in ("float32", "bfloat16", "float16"):
        spec = replace(specification(entry, dataset, framework, "infer"), precision=precision)
        backend: Any = backends.load(spec, entry, dataset)
        backend.prepare()
        batch = next(iter(backend.batches(0, False)))
        answers[precision] = np.asarray(backend.answer(batch), np.float32)
    size = np.abs(answers["float32"]).max()
    return [float(np.abs(answers[name] - answers["float32"]).max() / size) for name in ("bfloat16", "float16")]


def saved(checkpoint: Path, backend: Any) -> list[Any]:
    """The checkpoint's weights, read by Keras; the optimizer's are in the file, too."""
    import h5py

    with h5py.File(checkpoint) as file:
        assert {"layers", "optimizer"} <= set(file), sorted(file)
    readable = checkpoint.with_name(f"{checkpoint.name}.weights.h5")
    checkpoint.rename(readable)
    copy = backend.model
    copy.load_weights(readable)
    return list(copy.get_weights())


def answers(spec: WorkloadSpec, entry: Workload, dataset: DataSet, batches: list[Any]) -> list[np.ndarray]:
    """Of the framework, for each batch; several outputs in one row."""
    export.write(spec, entry, dataset)
    backend: Any = backends.load(spec, entry, dataset)
    backend.prepare()
    return [np.concatenate([part.ravel() for part in backend.answer(batch)]) for batch in batches]


def reference(spec: WorkloadSpec, entry: Workload, dataset: DataSet, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Of the framework that the model was exported from."""
    if spec.framework == "litert":
        from edgeprof.workloads.models import export_litert

        model = export_litert.whole(spec, entry, dataset)
        return [model(array.astype(model.input.dtype), training=False).numpy().ravel() for array in inputs]
    import torch

    from edgeprof.workloads.models import export_onnx

    module = export_onnx.whole(spec, entry, dataset)
    found = []
    with torch.no_grad():
        for array in inputs:
            answer = module(torch.from_numpy(array))
            parts = answer if isinstance(answer, tuple) else (answer,)
            found.append(np.concatenate([part.numpy().ravel() for part in parts]))
    return found


def inferred(entry: Workload, dataset: DataSet, framework: str) -> dict[str, Any]:
    """The exported model's answers beside those of the model that it was made of."""
    spec = specification(entry, dataset, framework, "infer")
    backend: Any = backends.load(spec, entry, dataset)
    batches = list(islice(backend.batches(0, False), 4))
    expected = reference(spec, entry, dataset, [batch[INPUT[entry.data]] for batch in batches])
    found = {"float32": answers(spec, entry, dataset, batches)}
    if entry.name in INT8[framework]:
        found["int8"] = answers(replace(spec, precision="int8"), entry, dataset, batches)
    if entry.name == HALF.get(framework, "resnet18"):
        found["float16"] = answers(replace(spec, precision="float16"), entry, dataset, batches)
    size = max(float(np.abs(one).max()) for one in expected)
    return {
        "size": size,
        "error": {name: max(map(distance, values, expected)) / size for name, values in found.items()},
        "cosine": {name: min(map(cosine, values, expected)) for name, values in found.items()},
    }


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max())


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def main() -> None:
    name, data, checkpoints = sys.argv[1:]
    framework = name.removeprefix("keras-")
    edgeprof.phase = noted  # type: ignore[assignment]
    for entry in WORKLOADS.values():
        able = entry.keras if name == "keras-pytorch" else entry.frameworks("infer")
        if framework not in able:
            continue
        dataset = describe(Path(data, entry.data))
        SEEN.clear()
        if framework in INT8:
            found = inferred(entry, dataset, framework)
        else:
            found = trained(entry, dataset, framework, Path(checkpoints))
            if entry.name == HALF.get(framework, "resnet18"):
                found["half"] = answered(entry, dataset, framework)
        found["modules"] = sorted({"tensorflow", "jax", "torch", "keras", "transformers"} & set(sys.modules))
        print(json.dumps({"workload": entry.name, "phases": sorted(set(SEEN)), **found}), flush=True)
    if name == "keras-pytorch":
        print(json.dumps({"workload": "base", "parameters": base_sizes()}))


def base_sizes() -> dict[str, int]:
    """Parameters of the models as published."""
    import keras

    from edgeprof.workloads.models.keras import build, shape_of

    found = {}
    for entry in WORKLOADS.values():
        if entry.keras:
            sequence = (20, entry.features) if entry.features else None
            none = DataSet(Path(), entry.data, "folder", 0, 0, 0, None, 0, (), sequence, None, ())
            with keras.device("meta"):  # shapes without memory
                model = build(entry.name, "base", shape_of(entry, "base", none))
            found[entry.name] = sum(prod(weight.shape) for weight in model.trainable_weights)
    return found


if __name__ == "__main__":
    main()
