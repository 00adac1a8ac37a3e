"""Recurrent networks in Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import layers

if TYPE_CHECKING:
    from edgeprof.workloads.models.keras import Shape


def trajectory_lstm(tiny: bool, shape: Shape, batch: int | None) -> Any:
    """An LSTM encoder of 2 layers of 128 (tiny: 16) and a dense decoder."""
    return _trajectory("trajectory_lstm", layers.LSTM, tiny, shape, batch)


def trajectory_gru(tiny: bool, shape: Shape, batch: int | None) -> Any:
    """A GRU encoder of 2 layers of 128 (tiny: 16) and a dense decoder."""
    return _trajectory("trajectory_gru", layers.GRU, tiny, shape, batch)


def text_lstm(tiny: bool, shape: Shape, batch: int | None) -> Any:
    """An embedding of 128, an LSTM of 256 in both directions, the mean over time, a dense head (tiny: 16 and 16)."""
    embedding, units = (16, 16) if tiny else (128, 256)
    tokens = keras.Input((shape.length,), batch, "int32")
    x = layers.Embedding(shape.vocabulary, embedding)(tokens)
    means = []
    for backwards in (False, True):
        states = layers.LSTM(units, return_sequences=True, go_backwards=backwards, unroll=shape.unroll)(x)
        means.append(layers.GlobalAveragePooling1D()(states))
    x = layers.Concatenate()(means)
    return keras.Model(tokens, layers.Dense(shape.classes, dtype="float32")(x), name="text_lstm")


def _trajectory(name: str, layer: Any, tiny: bool, shape: Shape, batch: int | None) -> Any:
    units = 16 if tiny else 128
    past = keras.Input(shape.past, batch)
    x = layer(units, return_sequences=True, unroll=shape.unroll)(past)
    x = layer(units, unroll=shape.unroll)(x)
    x = layers.Dense(shape.future * 2, dtype="float32")(x)
    return keras.Model(past, layers.Reshape((shape.future, 2))(x), name=name)
