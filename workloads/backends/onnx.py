"""ONNX Runtime: inference with a PyTorch model that was exported before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgeprof
from edgeprof.workloads.backends.base import samples_in
from edgeprof.workloads.errors import WrongSpec
from edgeprof.workloads.frameworks import missing
from edgeprof.workloads.models import export
from edgeprof.workloads.models.calibration import INPUT

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet
    from edgeprof.workloads.spec import WorkloadSpec


class OnnxRuntime:
    """See `edgeprof.workloads.backends.base.Backend`."""

    def __init__(self, spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> None:
        self.spec, self.entry, self.dataset = spec, entry, dataset
        self.version = ""
        self.parameters: int | None = None
        self._input = INPUT[entry.data]
        self._session: Any = None

    def prepare(self) -> None:
        export.check(self.spec, self.entry)
        with edgeprof.phase("import"):
            lacking = missing("onnxruntime")
            if lacking is not None:
                raise lacking
            import onnxruntime
        self.version = onnxruntime.__version__
        provider = "CUDAExecutionProvider" if self.spec.unit == "cuda" else "CPUExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise WrongSpec(
                "ONNX Runtime has no CUDA here; install onnxruntime-gpu instead of onnxruntime, or use --unit cpu"
            )
        model = export.ready(self.spec, self.entry, self.dataset)
        self.parameters = model.parameters
        with edgeprof.phase("compile"):
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads = self.spec.threads
            self._session = onnxruntime.InferenceSession(model.path, options, providers=[provider])

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
        raise WrongSpec("ONNX Runtime does not train; use --lifecycle infer")

    def infer(self, batch: Any) -> None:
        self.answer(batch)

    def answer(self, batch: Any) -> list[Any]:
        """The model's outputs for a batch, as NumPy arrays."""
        outputs: list[Any] = self._session.run(None, {"input": batch[self._input]})
        return outputs

    def save(self, path: Path) -> None:
        raise WrongSpec("ONNX Runtime does not train, so there is nothing to save")

    def close(self) -> None:
        self._session = None
