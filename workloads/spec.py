"""What a built-in workload is asked to do; it travels as JSON to the process that does it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

FRAMEWORKS = ("pytorch", "tensorflow", "jax", "onnxruntime", "litert")
LIFECYCLES = ("train", "infer")
SCENARIOS = ("single", "multi", "offline")
"""Of inference, as MLPerf names them: one request after the other; camera frames at a fixed rate with a deadline;
everything as fast as it goes."""
SIZES = ("tiny", "base")
PRECISIONS = ("float32", "bfloat16", "float16", "int8")
FORMATS = ("folder", "tfrecord", "webdataset", "lmdb", "hdf5", "parquet", "numpy")
UNITS = ("cpu", "cuda")
ACCESSES = ("random", "sequential")


class WrongSpec(ValueError):
    """A field that is not what it must be; the sentence names it."""


@dataclass(frozen=True)
class WorkloadSpec:
    """One training or inference.

    Attributes:
        workload: name in the catalog.
        framework: one of `FRAMEWORKS`.
        compile: whether PyTorch (`torch.compile`) or TensorFlow (XLA) compiles the model.
        keras: whether the model is the Keras definition, also on PyTorch: it is held constant over frameworks then.
        lifecycle: one of `LIFECYCLES`.
        scenario: one of `SCENARIOS`; inference only.
        size: ``base`` is the model as published; ``tiny`` a few layers of it, for tests.
        batch: samples of one step; 0: the workload's own default (1 in the scenarios single and multi).
        steps: measured steps; 0: as many as `epochs` or `seconds` give.
        epochs: passes over the data set; 0: not limited by it.
        seconds: time of the measured part; 0: not limited by it.
        warmup: steps before the measured part.
        threads: of the framework within one operation; 0: the framework's default.
        workers: processes (PyTorch) or parallel calls (TensorFlow) that load data; 0: the main process loads.
        prefetch: batches that each worker prepares ahead.
        precision: one of `PRECISIONS`.
        unit: one of `UNITS`.
        data: folder of the data set.
        format: one of `FORMATS`: how the data set is stored.
        access: one of `ACCESSES`: the order in which samples are read.
        arrival: requests a second in the scenario multi.
        deadline: seconds from a request's arrival in which it must be answered; 0: the time between two arrivals.
        checkpoint_every: steps between two checkpoints of a training; 0: only one at its end.
        checkpoint: file of the checkpoint; empty: in a temporary folder, removed at the end.
        validate: whether a training validates at the end of each epoch.
        seed: of the model's weights and of the order of samples.
    """

    workload: str
    framework: str = "pytorch"
    compile: bool = False
    keras: bool = False
    lifecycle: str = "train"
    scenario: str = "offline"
    size: str = "base"
    batch: int = 0
    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0
    warmup: int = 3
    threads: int = 0
    workers: int = 0
    prefetch: int = 2
    precision: str = "float32"
    unit: str = "cpu"
    data: str = ""
    format: str = "folder"
    access: str = "random"
    arrival: float = 10.0
    deadline: float = 0.0
    checkpoint_every: int = 0
    checkpoint: str = ""
    validate: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise WrongSpec(f"there is no {name} {getattr(self, name)!r}; there are: {', '.join(known)}")
        for name in _AT_LEAST_ZERO:
            if not 0 <= getattr(self, name) < float("inf"):
                raise WrongSpec(f"{name} must not be below 0: {getattr(self, name)!r}")
        if self.scenario == "multi" and not self.arrival:
            raise WrongSpec("in the scenario multi requests arrive at a rate: arrival must be above 0")
        if self.workers and not self.prefetch:
            raise WrongSpec("workers prepare a batch ahead: prefetch must be above 0")

    def to_json(self) -> str:
        """The spec as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkloadSpec:
        """Read a spec.  Raises WrongSpec naming what is wrong."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise WrongSpec(f"the workload's spec is not JSON: {error}") from None
        kinds = {item.name: type(item.default) for item in fields(cls)}
        if not isinstance(values, dict) or not isinstance(values.get("workload"), str):
            raise WrongSpec("the workload's spec needs a 'workload'")
        for name, value in values.items():
            if name not in kinds:
                raise WrongSpec(f"the workload's spec has an unknown field {name!r}")
            kind = str if name == "workload" else kinds[name]
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise WrongSpec(f"the workload's spec has a wrong {name!r}: {value!r}")
        return cls(**values)

    def factors(self) -> dict[str, Any]:
        """The factors of the study that this fixes, by their dotted names."""
        return {
            "model": self.workload,
            "model_size": self.size,
            "lifecycle": self.lifecycle,
            "scenario": self.scenario if self.lifecycle == "infer" else None,
            "framework.name": self.framework,
            "framework.compile": self.compile,
            "framework.keras": self.keras or self.framework in ("tensorflow", "jax"),
            "storage.format": self.format,
            "storage.access": self.access,
            "unit.kind": self.unit,
            "unit.precision": self.precision,
            "unit.threads": self.threads or None,
            "loader.batch": self.batch or None,
            "loader.workers": self.workers,
            "loader.prefetch": self.prefetch,
        }


_CHOICES = {
    "framework": FRAMEWORKS,
    "lifecycle": LIFECYCLES,
    "scenario": SCENARIOS,
    "size": SIZES,
    "precision": PRECISIONS,
    "unit": UNITS,
    "format": FORMATS,
    "access": ACCESSES,
}
_AT_LEAST_ZERO = (
    *("batch", "steps", "epochs", "seconds", "warmup", "threads", "workers", "prefetch", "arrival", "deadline"),
    *("checkpoint_every", "seed"),
)
