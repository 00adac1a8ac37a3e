"""LiteRT (TensorFlow Lite): inference with a Keras model that was converted before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgeprof
from edgeprof.workloads.backends.base import samples_in
from edgeprof.workloads.backends.quiet import quiet
from edgeprof.workloads.errors import WrongSpec
from edgeprof.workloads.frameworks import missing, version
from edgeprof.workloads.models import export
from edgeprof.workloads.models.calibration import INPUT

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet
    from edgeprof.workloads.spec import WorkloadSpec


class LiteRT:
    """See `edgeprof.workloads.backends.base.Backend`."""

    def __init__(self, spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> None:
        self.spec, self.entry, self.dataset = spec, entry, dataset
        self.version = ""
        self.parameters: int | None = None
        self._name = INPUT[entry.data]
        self._interpreter: Any = None
        self._input: Any = None
        self._outputs: list[int] = []

    def prepare(self) -> None:
        export.check(self.spec, self.entry)
        with edgeprof.phase("import"):
            lacking = missing("litert")
            if lacking is not None:
                raise lacking
            from ai_edge_litert.interpreter import Interpreter
        self.version = version("litert") or ""
        model = export.ready(self.spec, self.entry, self.dataset)
        self.parameters = model.parameters
        with edgeprof.phase("compile"), quiet():
            self._interpreter = Interpreter(str(model.path), num_threads=self.spec.threads or None)
            self._interpreter.allocate_tensors()
            (self._input,) = self._interpreter.get_input_details()
            self._outputs = [output["index"] for output in self._interpreter.get_output_details()]

    def batches(self, epoch: int, training: bool) -> Iterator[Any]:
        from edgeprof.workloads.data.loaders import numpy_batches

        return numpy_batches(
            self.spec,
            self.dataset,
            samples_in(self.spec, self.entry),
            epoch,
            training,
            size=self.entry.image_of(self.spec.size),
            length=self.entry.length_of(self.spec.size),
        )

    def train_step(self, batch: Any) -> float:
        raise WrongSpec("LiteRT does not train; use --lifecycle infer")

    def infer(self, batch: Any) -> None:
        self.answer(batch)

    def answer(self, batch: Any) -> list[Any]:
        """The model's outputs for a batch, as NumPy arrays."""
        values = batch[self._name].astype(self._input["dtype"], copy=False)
        self._interpreter.set_tensor(self._input["index"], values)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def save(self, path: Path) -> None:
        raise WrongSpec("LiteRT does not train, so there is nothing to save")

    def close(self) -> None:
        self._interpreter = None
