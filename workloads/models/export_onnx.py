"""A workload's PyTorch model as an ONNX file; what prepares its inputs is part of the graph."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgeprof.workloads.backends.base import samples_in
from edgeprof.workloads.models import calibration, pytorch
from edgeprof.workloads.models.pytorch_tasks import inputs

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet
    from edgeprof.workloads.spec import WorkloadSpec

NAME = "input"
"""Of the graph's only input."""
_CALIBRATED = 16
"""Samples that the ranges of int8 are found on."""
_SETTLED = 8
"""Samples that normalisation layers get their means from."""


class Whole(nn.Module):
    """The model with what prepares its inputs.

    Takes what a loader gives: images uint8 [B, H, W, 3], tokens int64 [B, L], or features float32 [B, T, F].
    """

    def __init__(self, entry: Workload, size: str, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._entry, self._size = entry, size
        self.in_half = False
        """Whether the model computes in float16; its answer is float32 all the same."""

    def forward(self, batch: torch.Tensor) -> Any:
        """The model's answer, in float32."""
        prepared = inputs(self._entry, self._size, {calibration.INPUT[self._entry.data]: batch})
        if not self.in_half:
            return self.model(prepared)
        answer = self.model(prepared.half() if prepared.is_floating_point() else prepared)
        return tuple(part.float() for part in answer) if isinstance(answer, tuple) else answer.float()


def whole(spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> Whole:
    """The model that is exported, in float32; the same seed gives the same weights."""
    torch.manual_seed(spec.seed)
    model = Whole(entry, spec.size, pytorch.build(entry, spec.size, dataset)).eval()
    _settle(model, entry, spec.size)
    return model


def write(spec: WorkloadSpec, entry: Workload, dataset: DataSet, path: Path) -> int:
    """Export the model to ``path`` for batches of the spec's size; returns its parameters."""
    model = whole(spec, entry, dataset)
    parameters = sum(item.numel() for item in model.parameters())
    examples = torch.from_numpy(calibration.inputs(entry, spec.size, max(_CALIBRATED, samples_in(spec, entry))))
    batch = samples_in(spec, entry)
    if spec.precision == "float16":
        model.model.half()
        model.in_half = True
    with tempfile.TemporaryDirectory(dir=path.parent.parent) as folder:
        exported = path if spec.precision != "int8" else Path(folder, "float.onnx")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of operators that no model here has
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what PyTorch will change in itself
            torch.onnx.export(
                model,
                (examples[:batch],),
                exported,
                input_names=[NAME],
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        if spec.precision == "int8":
            _quantize(entry, exported, path, examples.numpy(), batch)
    return parameters


def _settle(model: nn.Module, entry: Workload, size: str) -> None:
    """Give batch normalisation means and variances of real inputs: as initialised, a deep model's answers vanish."""
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model(torch.from_numpy(calibration.inputs(entry, size, _SETTLED)))
    model.eval()


def _quantize(entry: Workload, source: Path, target: Path, examples: Any, batch: int) -> None:
    """Weights and, in convolutional networks, activations in int8.

    Dense and recurrent layers find the ranges of their activations as they run, as ONNX Runtime advises.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = source.with_name("prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)  # folds batch normalisation
    if entry.kind != "cnn":
        model = onnx.load(prepared)
        del model.graph.value_info[:]  # shapes of weights that the quantizer transposes
        quantization.quantize_dynamic(model, target, op_types_to_quantize=["MatMul", "Gemm", "LSTM"])
        return

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter([examples[at : at + batch] for at in range(0, len(examples) - batch + 1, batch)])

        def get_next(self) -> dict[str, Any] | None:
            found = next(self.batches, None)
            return None if found is None else {NAME: found}

    activations = quantization.QuantType.QUInt8
    quantization.quantize_static(prepared, target, Reader(), per_channel=True, activation_type=activations)
