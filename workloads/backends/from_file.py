"""What the backends share that load a model's file and answer requests with it: ONNX Runtime and LiteRT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgeprof
from edgeprof.workloads.backends.base import one_pass
from edgeprof.workloads.errors import WrongSpec
from edgeprof.workloads.frameworks import FRAMEWORK, missing, version
from edgeprof.workloads.models import export
from edgeprof.workloads.models.calibration import INPUT

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet
    from edgeprof.workloads.spec import WorkloadSpec


class FromFile:
    """See `edgeprof.workloads.backends.base.Backend`; a subclass imports its library, opens the file and answers."""

    def __init__(self, spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> None:
        self.spec, self.entry, self.dataset = spec, entry, dataset
        self.version = ""
        self.parameters: int | None = None
        self.input = INPUT[entry.data]

    def prepare(self) -> None:
        export.check(self.spec, self.entry)
        with edgeprof.phase("import"):
            lacking = missing(self.spec.framework)
            if lacking is not None:
                raise lacking
            self.load()
        self.version = version(self.spec.framework) or ""
        model = export.ready(self.spec, self.entry, self.dataset)
        self.parameters = model.parameters
        with edgeprof.phase("compile"):
            self.open(model.path)

    def load(self) -> None:
        """Import the library.  Raises WrongSpec: it cannot do what the spec asks."""
        raise NotImplementedError

    def open(self, path: Path) -> None:
        """Make the model of the file ready to answer."""
        raise NotImplementedError

    def answer(self, batch: Any) -> list[Any]:
        """The model's outputs for a batch, as NumPy arrays."""
        raise NotImplementedError

    def batches(self, epoch: int, training: bool) -> Iterator[Any]:
        from edgeprof.workloads.data.loaders import numpy_batches

        return one_pass(numpy_batches, self.spec, self.entry, self.dataset, epoch, training)

    def infer(self, batch: Any) -> None:
        self.answer(batch)

    def train_step(self, batch: Any) -> float:
        raise WrongSpec(f"{FRAMEWORK[self.spec.framework].title} does not train; use --lifecycle infer")

    def save(self, path: Path) -> None:
        raise WrongSpec(f"{FRAMEWORK[self.spec.framework].title} does not train, so there is nothing to save")

    def close(self) -> None:
        """Nothing is held beyond this object."""
