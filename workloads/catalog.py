"""The built-in workloads, by name; light: no framework is imported to list them."""

from __future__ import annotations

from typing import NamedTuple

_KERAS = ("pytorch", "tensorflow", "jax")
_ALL = ("pytorch", "tensorflow", "jax", "onnxruntime", "litert")
_TORCH = ("pytorch",)


class Workload(NamedTuple):
    """One entry; what is said of the model is of size ``base`` unless it says ``tiny``.

    Attributes:
        name: as the user types it.
        kind: cnn, rnn, transformer or driving.
        task: what it learns, in words.
        data: one of `edgeprof.workloads.data.spec.KINDS`.
        source: the library and configuration that it is built from, in words.
        parameters: of the PyTorch model.
        batch: samples of a step where nobody says another number.
        train: frameworks that can train it.
        infer: frameworks that can answer requests with it.
        keras: frameworks that run its Keras definition; empty: there is none.
        image: height and width of the model's input in pixels; None: no images.
        tiny_image: the same of size ``tiny``.
        length: tokens of the model's input; 0: no text.
        tiny_length: the same of size ``tiny``.
        classes: of the model's head; 0: none.  A data set with more classes makes it larger.
        vocabulary: of the model's embedding; 0: no text.  A data set with more words makes it larger.
        features: of one time step of a trajectory; 0: no trajectories.  A data set with others changes it.
        horizon: positions of a trajectory to predict; 0: no trajectories.
    """

    name: str
    kind: str
    task: str
    data: str
    source: str
    parameters: int
    batch: int
    train: tuple[str, ...] = _TORCH
    infer: tuple[str, ...] = _TORCH
    keras: tuple[str, ...] = ()
    image: tuple[int, int] | None = None
    tiny_image: tuple[int, int] | None = None
    length: int = 0
    tiny_length: int = 0
    classes: int = 0
    vocabulary: int = 0
    features: int = 0
    horizon: int = 0

    def frameworks(self, lifecycle: str) -> tuple[str, ...]:
        """Those that can run it in a lifecycle."""
        return self.train if lifecycle == "train" else self.infer

    def image_of(self, size: str) -> tuple[int, int] | None:
        """Height and width of the input at a size."""
        return self.tiny_image if size == "tiny" else self.image

    def length_of(self, size: str) -> int:
        """Tokens of the input at a size."""
        return self.tiny_length if size == "tiny" else self.length

    def classes_of(self, size: str, of_data: int | None) -> int:
        """Classes of the head at a size: enough for the data set's ``of_data``."""
        return max(min(self.classes, 10) if size == "tiny" else self.classes, of_data or 0)

    def vocabulary_of(self, size: str, of_data: int | None) -> int:
        """Words of the embedding at a size: enough for the data set's ``of_data``."""
        return max(min(self.vocabulary, 1000) if size == "tiny" else self.vocabulary, of_data or 0)


def _classifier(name: str, kind: str, source: str, parameters: int, batch: int) -> Workload:
    """A classifier of ImageNet's size that runs in every framework."""
    return Workload(
        name=name,
        kind=kind,
        task="image classification",
        data="images",
        source=source,
        parameters=parameters,
        batch=batch,
        train=_KERAS,
        infer=_ALL,
        keras=_KERAS,
        image=(224, 224),
        tiny_image=(64, 64),
        classes=1000,
    )


_ENTRIES = (
    _classifier(
        "resnet18", "cnn", "transformers ResNet, layers 2-2-2-2, basic blocks (as microsoft/resnet-18)", 11689512, 32
    ),
    _classifier(
        "resnet50",
        "cnn",
        "transformers ResNet, layers 3-4-6-3, bottlenecks (as microsoft/resnet-50); keras.applications.ResNet50",
        25557032,
        16,
    ),
    _classifier(
        "mobilenetv2",
        "cnn",
        "transformers MobileNetV2, width 1.0 (as google/mobilenet_v2_1.0_224); keras.applications.MobileNetV2",
        3504872,
        32,
    ),
    Workload(
        name="pilotnet",
        kind="cnn",
        task="steering angle from a camera frame",
        data="steering",
        source="PilotNet: 5 convolutions and 4 dense layers (Bojarski et al. 2016), written here in each framework",
        parameters=252219,
        batch=64,
        train=_KERAS,
        infer=_ALL,
        keras=_KERAS,
        image=(66, 200),
        tiny_image=(66, 200),
    ),
    Workload(
        name="trajectory-lstm",
        kind="rnn",
        task="positions to come from positions seen",
        data="trajectories",
        source="LSTM encoder of 2 layers of 128 and a dense decoder, written here in each framework",
        parameters=209468,
        batch=64,
        train=_KERAS,
        infer=_ALL,
        keras=_KERAS,
        features=6,
        horizon=30,
    ),
    Workload(
        name="trajectory-gru",
        kind="rnn",
        task="positions to come from positions seen",
        data="trajectories",
        source="GRU encoder of 2 layers of 128 and a dense decoder, written here in each framework",
        parameters=159036,
        batch=64,
        train=_KERAS,
        infer=_ALL,
        keras=_KERAS,
        features=6,
        horizon=30,
    ),
    Workload(
        name="text-lstm",
        kind="rnn",
        task="text classification",
        data="text",
        source="embedding of 128, LSTM of 256 in both directions, dense head, written here in each framework",
        parameters=3351554,
        batch=32,
        train=_KERAS,
        infer=_ALL,
        keras=_KERAS,
        length=128,
        tiny_length=16,
        classes=2,
        vocabulary=20000,
    ),
    _classifier(
        "vit-tiny",
        "transformer",
        "transformers ViT, 12 layers of 192, 3 heads, patches of 16 (as WinKawaks/vit-tiny-patch16-224)",
        5717416,
        32,
    ),
    Workload(
        name="distilbert",
        kind="transformer",
        task="text classification",
        data="text",
        source="transformers DistilBERT, 6 layers of 768, 12 heads (as distilbert-base-uncased)",
        parameters=66955010,
        batch=16,
        train=_KERAS,
        infer=_ALL,
        keras=_KERAS,
        length=128,
        tiny_length=16,
        classes=2,
        vocabulary=30522,
    ),
    Workload(
        name="gpt2-small",
        kind="transformer",
        task="next token of a text",
        data="text",
        source="transformers GPT-2, 12 layers of 768, 12 heads (as openai-community/gpt2)",
        parameters=124439808,
        batch=4,
        infer=("pytorch", "onnxruntime"),
        length=256,
        tiny_length=16,
        vocabulary=50257,
    ),
    Workload(
        name="yolos-tiny",
        kind="driving",
        task="object detection",
        data="detection",
        source="transformers YOLOS, 12 layers of 192, 3 heads, 100 queries (as hustvl/yolos-tiny at 512 x 864)",
        parameters=6023712,
        batch=4,
        infer=("pytorch", "onnxruntime"),
        image=(512, 864),
        tiny_image=(64, 96),
        classes=91,
    ),
    Workload(
        name="segformer-b0",
        kind="driving",
        task="semantic segmentation",
        data="segmentation",
        source="transformers SegFormer-B0 (as nvidia/segformer-b0-finetuned-cityscapes-512-1024)",
        parameters=3719027,
        batch=4,
        infer=("pytorch", "onnxruntime"),
        image=(512, 1024),
        tiny_image=(64, 128),
        classes=19,
    ),
)

WORKLOADS: dict[str, Workload] = {entry.name: entry for entry in _ENTRIES}
