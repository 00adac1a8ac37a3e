"""The workloads as Keras 3 models: one definition each, the same on TensorFlow, JAX and PyTorch.

Import it only after the environment's ``KERAS_BACKEND`` is set: Keras reads it once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet


class Shape(NamedTuple):
    """What a model's ends look like; a field that the workload has no use for says nothing.

    Attributes:
        image: height and width of the input, pixels.
        length: tokens of the input.
        vocabulary: of the embedding.
        classes: of the head.
        past: time steps and features of the input.
        future: time steps of the output, two coordinates each.
        unroll: whether the steps of a recurrent layer are laid out one after the other instead of in a loop.
    """

    image: tuple[int, int] = (0, 0)
    length: int = 0
    vocabulary: int = 0
    classes: int = 0
    past: tuple[int, int] = (0, 0)
    future: int = 0
    unroll: bool = False


def shape_of(entry: Workload, size: str, dataset: DataSet) -> Shape:
    """The shape that suits a data set."""
    return Shape(
        image=entry.image_of(size) or (0, 0),
        length=entry.length_of(size),
        vocabulary=entry.vocabulary_of(size, dataset.vocabulary),
        classes=entry.classes_of(size, dataset.classes),
        past=dataset.sequence or (0, 0),
        future=entry.horizon,
    )


def build(workload: str, size: str, shape: Shape, batch: int | None = None) -> Any:
    """A workload's model, its weights drawn at random.

    Inputs are images [B, H, W, 3] from 0 to 255, tokens [B, L], or features seen [B, T, F]; outputs are scores
    [B, classes], an angle [B, 1], or positions to come [B, K, 2].

    Args:
        workload: a name in the catalog.
        size: ``base`` or ``tiny``.
        shape: of its input and output.
        batch: B where it must be fixed.

    Raises:
        KeyError: the workload has no Keras definition.
    """
    return _models()[workload](size == "tiny", shape, batch)


def _models() -> dict[str, Callable[[bool, Shape, int | None], Any]]:
    from edgeprof.workloads.models import keras_cnn, keras_rnn, keras_transformer

    return {
        "resnet18": keras_cnn.resnet18,
        "resnet50": keras_cnn.resnet50,
        "mobilenetv2": keras_cnn.mobilenetv2,
        "pilotnet": keras_cnn.pilotnet,
        "trajectory-lstm": keras_rnn.trajectory_lstm,
        "trajectory-gru": keras_rnn.trajectory_gru,
        "text-lstm": keras_rnn.text_lstm,
        "vit-tiny": keras_transformer.vit_tiny,
        "distilbert": keras_transformer.distilbert,
    }
