"""Transformers in Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

if TYPE_CHECKING:
    from edgeprof.workloads.models.keras import Shape


class Positions(layers.Layer):  # type: ignore[misc]
    """Adds a learned vector to each position of [B, L, D]; with ``token`` a learned one goes before the first.

    Args:
        count: positions to learn, of which the first L are used; 0: as many as there are.
        token: whether to put the class token of ViT before the sequence, which makes it [B, L + 1, D].
    """

    def __init__(self, count: int = 0, token: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.count, self.token = count, token

    def build(self, shape: tuple[int | None, int, int]) -> None:
        """Make the weights for inputs of the shape."""
        _, length, width = shape
        self.length = length + self.token
        normal = keras.initializers.RandomNormal(stddev=0.02)
        self.first = self.add_weight((1, 1, width), normal, name="first") if self.token else None
        self.positions = self.add_weight((1, self.count or self.length, width), normal, name="positions")

    def call(self, x: Any) -> Any:
        """[B, L, D] -> [B, L or L + 1, D]."""
        if self.token:
            first = ops.broadcast_to(ops.cast(self.first, x.dtype), (ops.shape(x)[0], 1, x.shape[-1]))
            x = ops.concatenate([first, x], axis=1)
        return x + ops.cast(self.positions[:, : self.length], x.dtype)

    def get_config(self) -> dict[str, Any]:
        """What a saved model needs to make the layer again."""
        return {**super().get_config(), "count": self.count, "token": self.token}


def vit_tiny(tiny: bool, shape: Shape, batch: int | None) -> Any:
    """ViT-Ti/16 (Touvron et al. 2021): 12 layers of 192, 3 heads; 5,717,416 parameters; tiny: 2 layers of 48."""
    count, width = (2, 48) if tiny else (12, 192)
    image = keras.Input((*shape.image, 3), batch)
    x = layers.Rescaling(1 / 127.5, -1)(image)
    x = layers.Conv2D(width, 16, 16)(x)
    x = layers.Reshape((-1, width))(x)
    x = Positions(token=True)(x)
    for _ in range(count):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.MultiHeadAttention(3, width // 3)(y, y)
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.Dense(width)(layers.Dense(4 * width, "gelu")(y))
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    return keras.Model(image, layers.Dense(shape.classes, dtype="float32")(x[:, 0]), name="vit_tiny")


def distilbert(tiny: bool, shape: Shape, batch: int | None) -> Any:
    """DistilBERT (Sanh et al. 2019) with its classifier: 6 layers of 768, 12 heads, 66,955,010 parameters.

    512 positions are learned, as published, whatever the length of the input.  tiny: 2 layers of 48.
    """
    count, width, heads, positions = (2, 48, 4, 64) if tiny else (6, 768, 12, 512)
    tokens = keras.Input((shape.length,), batch, "int32")
    x = layers.Embedding(shape.vocabulary, width)(tokens)
    x = Positions(max(positions, shape.length))(x)
    x = layers.Dropout(0.1)(layers.LayerNormalization(epsilon=1e-12)(x))
    for _ in range(count):
        y = layers.MultiHeadAttention(heads, width // heads, dropout=0.1)(x, x)
        x = layers.LayerNormalization(epsilon=1e-12)(x + y)
        y = layers.Dropout(0.1)(layers.Dense(width)(layers.Dense(4 * width, "gelu")(x)))
        x = layers.LayerNormalization(epsilon=1e-12)(x + y)
    x = layers.Dropout(0.2)(layers.Dense(width, "relu")(x[:, 0]))
    return keras.Model(tokens, layers.Dense(shape.classes, dtype="float32")(x), name="distilbert")
