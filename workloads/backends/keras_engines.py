"""How each of Keras's frameworks learns from a batch and answers one; the model is the same object to all."""

from __future__ import annotations

from typing import Any, Protocol

import edgeprof


class Engine(Protocol):
    """One framework under a Keras model; one that learns was given its optimizer by ``model.compile``."""

    def compile(self, inputs: Any, target: Any | None) -> None:
        """Compile for batches like these: the training step, or without a target the answer."""

    def train(self, inputs: Any, target: Any) -> float:
        """One step of training; returns its loss."""

    def infer(self, inputs: Any) -> Any:
        """The answer to a batch, as an array in the host's memory."""

    def pull(self) -> None:
        """Bring what was learned back into the model's own variables."""


def loss_of(answer: Any, target: Any) -> Any:
    """Cross-entropy where the target is a class [B], else the mean squared error; in float32."""
    import keras
    from keras import ops

    answer = ops.cast(answer, "float32")
    if "int" in keras.backend.standardize_dtype(target.dtype):
        return ops.mean(keras.losses.sparse_categorical_crossentropy(target, answer, from_logits=True))
    return ops.mean(ops.square(ops.reshape(answer, target.shape) - target))


class TensorFlow:
    """A `tf.function` for the training step and one for the answer; with ``xla`` both are compiled by XLA."""

    def __init__(self, model: Any, xla: bool) -> None:
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # it warns of what several models in one process do
        self._tf, self._model = tf, model
        self._step = tf.function(self._learn, jit_compile=xla)
        self._answer = tf.function(self._call, jit_compile=xla)

    def _call(self, inputs: Any) -> Any:
        return self._model(inputs, training=False)

    def _learn(self, inputs: Any, target: Any) -> Any:
        model, optimizer = self._model, self._model.optimizer
        with self._tf.GradientTape() as tape:
            loss = loss_of(model(inputs, training=True), target)
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, model.trainable_weights)
        optimizer.apply(gradients, model.trainable_weights)
        return loss

    def compile(self, inputs: Any, target: Any | None) -> None:
        """Trace the function; XLA compiles at the first call."""
        like = [self._tf.TensorSpec(array.shape, array.dtype) for array in (inputs, target) if array is not None]
        (self._answer if target is None else self._step).get_concrete_function(*like)

    def train(self, inputs: Any, target: Any) -> float:
        with edgeprof.phase("train"):
            return float(self._step(inputs, target))

    def infer(self, inputs: Any) -> Any:
        return self._answer(inputs).numpy()

    def pull(self) -> None:
        """Nothing to do: the variables are the model's."""


class JAX:
    """A jitted training step over the model's state, which it takes over from the model's variables."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._step: Any = None
        self._answer: Any = None
        optimizer = getattr(model, "optimizer", None)  # only a model that learns has one
        moments = optimizer.variables if optimizer else []
        self._variables = (model.trainable_variables, model.non_trainable_variables, moments)
        self._state = tuple([variable.value for variable in group] for group in self._variables)

    def _loss(self, trainable: Any, fixed: Any, moments: Any, inputs: Any, target: Any) -> Any:
        import keras

        optimizer = self._model.optimizer
        answer, fixed = self._model.stateless_call(trainable, fixed, inputs, training=True)
        loss = loss_of(answer, target)
        with keras.StatelessScope(list(zip(optimizer.variables, moments, strict=True))):
            scaled = optimizer.scale_loss(loss)
        return scaled, (loss, fixed)

    def _learn(self, state: Any, inputs: Any, target: Any) -> Any:
        import jax

        trainable, fixed, moments = state
        found, gradients = jax.value_and_grad(self._loss, has_aux=True)(trainable, fixed, moments, inputs, target)
        _, (loss, fixed) = found
        trainable, moments = self._model.optimizer.stateless_apply(moments, gradients, trainable)
        return (trainable, fixed, moments), loss

    def _call(self, state: Any, inputs: Any) -> Any:
        return self._model.stateless_call(state[0], state[1], inputs, training=False)[0]

    def compile(self, inputs: Any, target: Any | None) -> None:
        """Compile ahead of time; the old state's memory is given to the new one."""
        import jax

        if target is None:
            self._answer = jax.jit(self._call).lower(self._state, inputs).compile()
        else:
            self._step = jax.jit(self._learn, donate_argnums=0).lower(self._state, inputs, target).compile()

    def train(self, inputs: Any, target: Any) -> float:
        with edgeprof.phase("train"):
            self._state, loss = self._step(self._state, inputs, target)
            return float(loss)

    def infer(self, inputs: Any) -> Any:
        import numpy as np

        if self._answer is None:  # the validation of a training
            self.compile(inputs, None)
        return np.asarray(self._answer(self._state, inputs))

    def pull(self) -> None:
        """Write the state into the variables."""
        for group, values in zip(self._variables, self._state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value.copy())  # the next step gives the state's own memory away


class PyTorch:
    """Eager, as PyTorch is; forward, backward and optimizer are told apart."""

    def __init__(self, model: Any, device: str) -> None:
        import torch

        self._torch, self._model, self._device = torch, model, device

    def compile(self, inputs: Any, target: Any | None) -> None:
        """Nothing to do."""

    def train(self, inputs: Any, target: Any) -> float:
        model, optimizer = self._model, self._model.optimizer
        with edgeprof.phase("forward"):
            loss = loss_of(model(inputs.to(self._device), training=True), target.to(self._device))
        with edgeprof.phase("backward"):
            optimizer.scale_loss(loss).backward()
        with edgeprof.phase("optimizer"):
            gradients = [weight.value.grad for weight in model.trainable_weights]
            with self._torch.no_grad():
                optimizer.apply(gradients, model.trainable_weights)
            model.zero_grad()
            return float(loss.detach())

    def infer(self, inputs: Any) -> Any:
        with self._torch.no_grad():
            return self._model(inputs.to(self._device), training=False).float().cpu().numpy()

    def pull(self) -> None:
        """Nothing to do: the variables are the model's."""
