"""PyTorch: eager or compiled, on a CPU or CUDA, in float32, under autocast, or quantised to int8 as it runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgeprof
from edgeprof.workloads.backends.base import one_pass, samples_in
from edgeprof.workloads.errors import MissingFramework, WrongSpec
from edgeprof.workloads.frameworks import missing

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet
    from edgeprof.workloads.spec import WorkloadSpec


class PyTorch:
    """See `edgeprof.workloads.backends.base.Backend`."""

    def __init__(self, spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> None:
        self.spec, self.entry, self.dataset = spec, entry, dataset
        self.version = ""
        self.parameters: int | None = None
        self._training = spec.lifecycle == "train"
        self._model: Any = None
        """The model itself."""
        self._call: Any = None
        """It, or it compiled."""
        self._optimizer: Any = None
        self._scaler: Any = None

    def prepare(self) -> None:
        self._check()
        with edgeprof.phase("import"):
            lacking = missing("pytorch")
            if lacking is not None:
                raise lacking
            if self.entry.data == "detection" and self._training and find_spec("scipy") is None:
                raise MissingFramework("SciPy, which matches boxes", "torch")
            import torch

            from edgeprof.workloads.data import torch_loader  # noqa: F401  (so that the first load is no import)
            from edgeprof.workloads.models import pytorch

            pytorch.import_library(self.entry)
        if self.spec.unit == "cuda" and not torch.cuda.is_available():
            raise WrongSpec("PyTorch sees no CUDA device here; use --unit cpu")
        self._torch = torch
        self.version = torch.__version__
        if self.spec.threads:
            torch.set_num_threads(self.spec.threads)
        with edgeprof.phase("build"):
            torch.manual_seed(self.spec.seed)
            model = pytorch.build(self.entry, self.spec.size, self.dataset)
            self.parameters = sum(item.numel() for item in model.parameters())
            self._model = self._call = self._ready(model.train(self._training).to(self.spec.unit))
        if self.spec.compile:
            with edgeprof.phase("compile"):
                self._call = torch.compile(self._model, dynamic=False)
                self._first_call()

    def _check(self) -> None:
        spec, entry = self.spec, self.entry
        if spec.precision == "float16" and spec.unit == "cpu" and entry.name.endswith("-lstm"):
            raise WrongSpec("PyTorch has no float16 LSTM on the CPU; use --precision bfloat16")
        if spec.precision == "int8":
            self._check_int8()
        if spec.compile and spec.unit == "cpu" and not shutil.which(os.environ.get("CXX") or "g++"):
            raise WrongSpec("torch.compile needs a C++ compiler for the CPU; install g++, or leave out --compile")

    def _check_int8(self) -> None:
        spec, entry = self.spec, self.entry
        if self._training:
            raise WrongSpec("int8 is for inference; train in float32, bfloat16 or float16")
        if spec.unit != "cpu" or spec.compile:
            raise WrongSpec("PyTorch runs int8 on the CPU and not compiled; leave out --unit cuda and --compile")
        if entry.kind == "cnn" or entry.name == "gpt2-small":
            raise WrongSpec(
                f"PyTorch quantises dense and recurrent layers only, of which {entry.name} has few; "
                "use --framework litert for int8, or another precision"
            )

    def _ready(self, model: Any) -> Any:
        """The model as it will be called: with its optimizer, or quantised."""
        torch = self._torch
        if self._training:
            if self.entry.kind == "cnn":
                self._optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
            else:
                self._optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
            self._scaler = torch.amp.GradScaler(self.spec.unit, enabled=self.spec.precision == "float16")
        if self.spec.precision == "int8":
            return quantised(model)
        return model

    def _first_call(self) -> None:
        from edgeprof.workloads.models.pytorch_tasks import example

        inputs = example(self.entry, self.spec.size, samples_in(self.spec, self.entry), self.dataset.sequence or (0, 0))
        inputs = inputs.to(self.spec.unit)
        if not self._training:
            with self._torch.inference_mode(), self._precision():
                self._call(inputs)
            return
        with self._precision():
            answer = self._call(inputs)
        sum(part.float().sum() for part in (answer if isinstance(answer, tuple) else (answer,))).backward()
        self._optimizer.zero_grad()

    def _precision(self) -> AbstractContextManager[Any]:
        if self.spec.precision in ("float32", "int8"):
            return nullcontext()
        context: AbstractContextManager[Any] = self._torch.autocast(
            self.spec.unit, dtype=getattr(self._torch, self.spec.precision)
        )
        return context

    def batches(self, epoch: int, training: bool) -> Iterator[Any]:
        from edgeprof.workloads.data.loaders import torch_batches

        return one_pass(torch_batches, self.spec, self.entry, self.dataset, epoch, training)

    def train_step(self, batch: Any) -> float:
        from edgeprof.workloads.models.pytorch_tasks import inputs, loss

        with edgeprof.phase("forward"):
            batch = self._moved(batch)
            with self._precision():
                answer = self._call(inputs(self.entry, self.spec.size, batch))
            value = loss(self.entry, self._model, answer, batch)
        with edgeprof.phase("backward"):
            self._scaler.scale(value).backward()
        with edgeprof.phase("optimizer"):
            self._scaler.step(self._optimizer)
            self._scaler.update()
            self._optimizer.zero_grad()
            return float(value.detach())

    def infer(self, batch: Any) -> None:
        from edgeprof.workloads.models.pytorch_tasks import inputs

        was_training = self._model.training
        if was_training:
            self._model.eval()
        with self._torch.inference_mode(), self._precision():
            answer = self._call(inputs(self.entry, self.spec.size, self._moved(batch)))
            for part in answer if isinstance(answer, tuple) else (answer,):
                part.cpu()
        if was_training:
            self._model.train()

    def _moved(self, batch: Any) -> Any:
        return {name: value.to(self.spec.unit, non_blocking=True) for name, value in batch.items()}

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            self._torch.save({"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}, file)
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        self._model = self._call = self._optimizer = None


def quantised(model: Any) -> Any:
    """The model with its dense and recurrent layers in int8, quantised as they are called."""
    import warnings

    import torch
    from torch import nn

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it will move to torchao, which does not do it on every CPU
        kinds = {nn.Linear, nn.LSTM, nn.GRU}
        quantise: Any = torch.ao.quantization.quantize_dynamic
        return quantise(model, kinds, dtype=torch.qint8)
