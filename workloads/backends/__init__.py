"""Frameworks behind one interface: build, train a step, answer a request, save."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgeprof.workloads.errors import WrongSpec

if TYPE_CHECKING:
    from edgeprof.workloads.backends.base import Backend
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet
    from edgeprof.workloads.spec import WorkloadSpec

_CLASSES = {
    "pytorch": ("edgeprof.workloads.backends.pytorch", "PyTorch"),
    "tensorflow": ("edgeprof.workloads.backends.keras", "Keras"),
    "jax": ("edgeprof.workloads.backends.keras", "Keras"),
    "onnxruntime": ("edgeprof.workloads.backends.onnx", "OnnxRuntime"),
    "litert": ("edgeprof.workloads.backends.litert", "LiteRT"),
}


def load(spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> Backend:
    """The backend of the spec's framework; its library is imported by `Backend.prepare`.

    Raises:
        WrongSpec: see `check`.
    """
    check(spec, entry)
    module, name = _CLASSES["tensorflow" if spec.keras else spec.framework]
    backend: Backend = getattr(import_module(module), name)(spec, entry, dataset)
    return backend


def check(spec: WorkloadSpec, entry: Workload) -> None:
    """Refuse what no backend does, before anything is made or loaded.

    Raises:
        WrongSpec: the framework does not run this workload, or not in this lifecycle.
    """
    able = entry.keras if spec.keras else entry.frameworks(spec.lifecycle)
    if spec.framework not in able:
        words = {"train": "train", "infer": "infer with"}[spec.lifecycle]
        how = " as a Keras model" if spec.keras else ""
        raise WrongSpec(
            f"{spec.framework} cannot {words} {entry.name}{how} here; "
            + (f"these can: {', '.join(able)}" if able else "leave out --keras: it has no Keras definition")
        )
