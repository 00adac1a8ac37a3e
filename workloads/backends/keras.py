"""The Keras definition of a model on TensorFlow, JAX or PyTorch."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgeprof
from edgeprof.workloads.backends.base import one_pass, samples_in
from edgeprof.workloads.backends.quiet import quiet
from edgeprof.workloads.errors import MissingFramework, WrongSpec
from edgeprof.workloads.frameworks import FRAMEWORK, missing
from edgeprof.workloads.models.calibration import INPUT

if TYPE_CHECKING:
    from edgeprof.workloads.backends.keras_engines import Engine
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet
    from edgeprof.workloads.spec import WorkloadSpec

_NAMES = {"tensorflow": "tensorflow", "jax": "jax", "pytorch": "torch"}
"""Of the frameworks, as Keras calls them."""
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
_TARGETS = {"images": "label", "steering": "angle", "trajectories": "future", "text": "label"}
"""What of a batch should come out of the model, by kind of data."""


class Keras:
    """See `edgeprof.workloads.backends.base.Backend`."""

    def __init__(self, spec: WorkloadSpec, entry: Workload, dataset: DataSet) -> None:
        self.spec, self.entry, self.dataset = spec, entry, dataset
        self.version = ""
        self.parameters: int | None = None
        self._input, self._target = INPUT[entry.data], _TARGETS[entry.data]
        self.model: Any = None
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The framework under the model, after `prepare`."""
        assert self._engine is not None, "prepare() comes first"
        return self._engine

    def prepare(self) -> None:
        spec = self.spec
        self._check()
        with edgeprof.phase("import"):
            lacking = missing(spec.framework)
            if lacking is None and find_spec("keras") is None:
                lacking = MissingFramework("Keras", "tensorflow")
            if lacking is not None:
                raise lacking
            set_environment(spec)
            with quiet():
                framework = _configured(spec)
                import keras
        if keras.backend.backend() != _NAMES[spec.framework]:
            raise WrongSpec(
                f"this process runs Keras on {keras.backend.backend()} already; start another for {spec.framework}"
            )
        self.version = f"{framework} (Keras {keras.__version__})"
        with edgeprof.phase("build"):
            self._build()
        with edgeprof.phase("compile"):
            inputs, target = self._example()
            self.engine.compile(inputs, target if spec.lifecycle == "train" else None)

    def _check(self) -> None:
        spec = self.spec
        if spec.precision not in _POLICIES:
            raise WrongSpec(
                f"Keras runs {', '.join(_POLICIES)} and not {spec.precision}; "
                "for int8 use --framework onnxruntime or litert"
            )
        asked = (spec.framework, spec.unit, spec.precision, self.entry.kind)
        if asked == ("jax", "cpu", "float16", "transformer"):
            raise WrongSpec("JAX has no float16 attention on the CPU; use --precision bfloat16")
        if spec.compile and spec.framework == "pytorch":
            raise WrongSpec("a Keras model on PyTorch runs eagerly; leave out --compile or --keras")

    def _build(self) -> None:
        import keras

        from edgeprof.workloads.backends import keras_engines
        from edgeprof.workloads.models.keras import build, shape_of

        spec = self.spec
        # not keras.utils.set_random_seed: it imports TensorFlow under JAX and PyTorch, too
        random.seed(spec.seed)  # Keras draws the seeds of weights and dropout from it
        keras.mixed_precision.set_global_policy(_POLICIES[spec.precision])
        self.model = build(spec.workload, spec.size, shape_of(self.entry, spec.size, self.dataset))
        self.parameters = sum(prod(weight.shape) for weight in self.model.trainable_weights)
        if spec.lifecycle == "train":
            if self.entry.kind == "cnn":
                optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
            else:
                optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.01)
            self.model.compile(optimizer)  # scales the loss in float16, and saves the optimizer with the weights
            self.model.optimizer.build(self.model.trainable_weights)
        if spec.framework == "tensorflow":
            self._engine = keras_engines.TensorFlow(self.model, xla=spec.compile)
        elif spec.framework == "jax":
            self._engine = keras_engines.JAX(self.model)
        else:
            self._engine = keras_engines.PyTorch(self.model, spec.unit)

    def _example(self) -> tuple[Any, Any]:
        """Inputs and target of the right shapes, all zero."""
        import numpy as np

        batch = samples_in(self.spec, self.entry)
        shape = (batch, *self.model.input.shape[1:])
        kind = {"image": np.uint8, "past": np.float32, "tokens": np.int64}[self._input]
        if self._target == "label":
            return np.zeros(shape, kind), np.zeros(batch, np.int64)
        target = (batch,) if self._target == "angle" else (batch, *self.model.output.shape[1:])
        return np.zeros(shape, kind), np.zeros(target, np.float32)

    def batches(self, epoch: int, training: bool) -> Iterator[Any]:
        from edgeprof.workloads.data import loaders

        by_framework = {
            "tensorflow": loaders.tf_batches,
            "jax": loaders.numpy_batches,
            "pytorch": loaders.torch_batches,
        }
        loader: Any = by_framework[self.spec.framework]
        return one_pass(loader, self.spec, self.entry, self.dataset, epoch, training)

    def train_step(self, batch: Any) -> float:
        return self.engine.train(batch[self._input], batch[self._target])

    def infer(self, batch: Any) -> None:
        self.answer(batch)

    def answer(self, batch: Any) -> Any:
        """The model's output for a batch, as a NumPy array."""
        return self.engine.infer(batch[self._input])

    def save(self, path: Path) -> None:
        self.engine.pull()
        whole = path.with_name(f"{path.name}.weights.h5")  # Keras writes to no other ending
        self.model.save_weights(whole)
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        whole.replace(path)

    def close(self) -> None:
        self.model = self._engine = None


def set_environment(spec: WorkloadSpec) -> None:
    """What the libraries read from the environment when they are imported."""
    variables = {"KERAS_BACKEND": _NAMES[spec.framework]}
    if spec.framework == "tensorflow":
        variables["TF_CPP_MIN_LOG_LEVEL"] = "3"
        if spec.unit == "cpu":
            variables["CUDA_VISIBLE_DEVICES"] = ""
    elif spec.framework == "jax":
        variables["JAX_PLATFORMS"] = spec.unit
        if spec.threads:
            variables["NPROC"] = str(spec.threads)  # XLA's CPU client sizes its thread pools by it, and by nothing else
    else:
        variables["KERAS_TORCH_DEVICE"] = spec.unit
    os.environ.update(variables)


def _configured(spec: WorkloadSpec) -> str:
    """Import the framework and set threads and unit; returns its version.  Raises WrongSpec: no such unit."""
    title = FRAMEWORK[spec.framework].title
    if spec.framework == "tensorflow":
        import tensorflow as tf

        if spec.threads:
            tf.config.threading.set_intra_op_parallelism_threads(spec.threads)
        found, version = spec.unit == "cpu" or bool(tf.config.list_physical_devices("GPU")), tf.__version__
    elif spec.framework == "jax":
        import jax

        try:
            found, version = bool(jax.devices(spec.unit)), jax.__version__
        except (RuntimeError, AssertionError):  # the latter where no plugin for the platform is installed
            found, version = False, ""
    else:
        import torch

        if spec.threads:
            torch.set_num_threads(spec.threads)
        found, version = spec.unit == "cpu" or torch.cuda.is_available(), torch.__version__
    if not found:
        raise WrongSpec(f"{title} sees no CUDA device here; use --unit cpu")
    return str(version)
