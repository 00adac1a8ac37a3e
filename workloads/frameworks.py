"""Which libraries the frameworks need, and which of them are here; nothing is imported to find out."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

from edgeprof.workloads.errors import MissingFramework


class Framework(NamedTuple):
    """One of `edgeprof.workloads.spec.FRAMEWORKS`.

    Attributes:
        title: as people call it.
        modules: what must be importable, and what people call that.
        distribution: the one whose version is the framework's.
        extra: of edgeprof, that installs all of it.
    """

    title: str
    modules: dict[str, str]
    distribution: str
    extra: str


FRAMEWORK: dict[str, Framework] = {
    "pytorch": Framework("PyTorch", {"torch": "PyTorch", "transformers": "transformers"}, "torch", "torch"),
    "tensorflow": Framework("TensorFlow", {"tensorflow": "TensorFlow", "keras": "Keras"}, "tensorflow", "tensorflow"),
    "jax": Framework("JAX", {"jax": "JAX", "keras": "Keras"}, "jax", "jax"),
    "onnxruntime": Framework("ONNX Runtime", {"onnxruntime": "ONNX Runtime", "onnx": "ONNX"}, "onnxruntime", "onnx"),
    "litert": Framework("LiteRT", {"ai_edge_litert": "LiteRT"}, "ai-edge-litert", "litert"),
}


def missing(framework: str) -> MissingFramework | None:
    """What the framework lacks here; None: nothing."""
    entry = FRAMEWORK[framework]
    for module, title in entry.modules.items():
        if find_spec(module) is None:
            return MissingFramework(title, entry.extra)
    return None


def version(framework: str) -> str | None:
    """The installed version; None: not installed."""
    # Imported here: it loads the parser of mail, which a run of a plain command has no use for.
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of(FRAMEWORK[framework].distribution)
    except PackageNotFoundError:
        return None
