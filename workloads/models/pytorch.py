"""The workloads' models in PyTorch: from configurations of transformers, and `pytorch_plain`.

Each takes one tensor (images [B, 3, H, W], tokens [B, L], or features [B, T, F]) and returns its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet


class Answer(nn.Module):
    """A model of transformers that gives only its answer: one tensor, or a tuple of several.

    Attributes:
        model: the model of transformers.
    """

    def __init__(self, model: nn.Module, names: tuple[str, ...] = ("logits",)) -> None:
        super().__init__()
        self.model = model
        self._names = names

    def forward(self, inputs: torch.Tensor) -> Any:
        """The parts of the model's output that are its answer."""
        output = self.model(inputs)
        parts = tuple(getattr(output, name) for name in self._names)
        return parts if len(parts) > 1 else parts[0]


class NextToken(Answer):
    """A language model: in training scores [B, L, words], after it those of the token to come [B, 1, words]."""

    def forward(self, inputs: torch.Tensor) -> Any:
        """Tokens [B, L] to scores."""
        if self.training:
            return super().forward(inputs)
        model: Any = self.model
        return model.lm_head(model.transformer(inputs)[0][:, -1:])


def build(entry: Workload, size: str, dataset: DataSet) -> nn.Module:
    """The model of a workload with weights drawn at random, for a data set's classes, words and features."""
    tiny = size == "tiny"
    classes = entry.classes_of(size, dataset.classes)
    words = entry.vocabulary_of(size, dataset.vocabulary)
    if entry.name == "pilotnet":
        from edgeprof.workloads.models.pytorch_plain import PilotNet

        return PilotNet(width=4 if tiny else 1)
    if entry.data == "trajectories":
        from edgeprof.workloads.models.pytorch_plain import Trajectory

        features = dataset.sequence[1] if dataset.sequence else entry.features
        return Trajectory(entry.name.rpartition("-")[2], features, entry.horizon, 16 if tiny else 128)
    if entry.name == "text-lstm":
        from edgeprof.workloads.models.pytorch_plain import TextLSTM

        return TextLSTM(words, classes, *((16, 16) if tiny else (128, 256)))
    return _from_library(entry, tiny, classes, words)


def import_library(entry: Workload) -> None:
    """Import what `build` needs, so that building can be told from importing."""
    if entry.name in _CLASSES:
        library_classes(entry.name)


def library_classes(name: str) -> tuple[Any, Any]:
    """The configuration's and the model's class of a workload in transformers, which this imports."""
    import transformers

    config, model = _CLASSES[name]
    return getattr(transformers, config), getattr(transformers, model)


_CLASSES = {
    "resnet18": ("ResNetConfig", "ResNetForImageClassification"),
    "resnet50": ("ResNetConfig", "ResNetForImageClassification"),
    "mobilenetv2": ("MobileNetV2Config", "MobileNetV2ForImageClassification"),
    "vit-tiny": ("ViTConfig", "ViTForImageClassification"),
    "distilbert": ("DistilBertConfig", "DistilBertForSequenceClassification"),
    "gpt2-small": ("GPT2Config", "GPT2LMHeadModel"),
    "yolos-tiny": ("YolosConfig", "YolosForObjectDetection"),
    "segformer-b0": ("SegformerConfig", "SegformerForSemanticSegmentation"),
}


def _from_library(entry: Workload, tiny: bool, classes: int, words: int) -> nn.Module:
    """A model of transformers with random weights."""
    config_class, model_class = library_classes(entry.name)
    shape = (_TINY if tiny else _BASE).get(entry.name, {})
    image = entry.tiny_image if tiny else entry.image
    if entry.name == "gpt2-small":
        config = config_class(vocab_size=words, bos_token_id=words - 1, eos_token_id=words - 1, **shape)
        return NextToken(model_class(config))
    if entry.name == "distilbert":
        return Answer(model_class(config_class(vocab_size=words, num_labels=classes, **shape)))
    assert image is not None
    if entry.name == "yolos-tiny":
        config = config_class(image_size=list(image), num_labels=classes, use_mid_position_embeddings=False, **shape)
        return Answer(model_class(config), ("logits", "pred_boxes"))
    if entry.name in ("vit-tiny", "mobilenetv2"):
        shape = dict(shape, image_size=image[0])
    return Answer(model_class(config_class(num_labels=classes, **shape)))


_DEIT_TINY = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
_BASE: dict[str, dict[str, Any]] = {
    "resnet18": {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]},
    "vit-tiny": _DEIT_TINY,
    "yolos-tiny": _DEIT_TINY,
    "gpt2-small": {"use_cache": False},
}
"""Where it is not transformers' default."""

_TWO_LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_FOUR_BLOCKS = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
_TINY: dict[str, dict[str, Any]] = {
    "resnet18": {"layer_type": "basic", **_FOUR_BLOCKS},
    "resnet50": _FOUR_BLOCKS,
    "mobilenetv2": {"depth_multiplier": 0.25, "finegrained_output": False},
    "vit-tiny": _TWO_LAYERS,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "gpt2-small": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "use_cache": False},
    "yolos-tiny": {**_TWO_LAYERS, "num_detection_tokens": 10},
    "segformer-b0": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 40, 64], "decoder_hidden_size": 32},
}
