"""What a batch means to a PyTorch model: its inputs, and the loss of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload

Batch = dict[str, torch.Tensor]

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours, as all its models are fed."""


def inputs(entry: Workload, size: str, batch: Batch) -> torch.Tensor:
    """What the model is called with: images float32 [B, 3, H, W], tokens int64 [B, L], or features [B, T, F]."""
    if entry.data == "text":
        return batch["tokens"][:, : entry.length_of(size)]
    if entry.data == "trajectories":
        return batch["past"]
    image = batch["image"].permute(0, 3, 1, 2).float().div_(255)
    mean, deviation = (image.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _DEVIATION))
    return image.sub_(mean).div_(deviation)


def example(entry: Workload, size: str, batch: int, sequence: tuple[int, int]) -> torch.Tensor:
    """Inputs of the right shape without content, to compile or export a model with.

    Args:
        entry: the workload.
        size: of the model.
        batch: samples.
        sequence: time steps and features of a trajectory.
    """
    if entry.data == "text":
        return torch.zeros(batch, entry.length_of(size), dtype=torch.int64)
    if entry.data == "trajectories":
        return torch.zeros(batch, *sequence)
    return torch.zeros(batch, 3, *(entry.image_of(size) or (0, 0)))


def loss(entry: Workload, model: Any, answer: Any, batch: Batch) -> torch.Tensor:
    """The loss that the task is trained with, in float32.

    Args:
        entry: the workload.
        model: as `edgeprof.workloads.models.pytorch.build` made it.
        answer: what the model gave.
        batch: what the loader gave, on the model's device.
    """
    if entry.data == "detection":
        return _detection(model.model, answer, batch)
    scores = answer.float()
    if entry.data == "steering":
        return functional.mse_loss(scores, batch["angle"].float())
    if entry.data == "trajectories":
        return functional.mse_loss(scores, batch["future"].float())
    if entry.data == "segmentation":
        mask = batch["mask"].long()
        upsampled = functional.interpolate(scores, size=mask.shape[-2:], mode="bilinear", align_corners=False)
        return functional.cross_entropy(upsampled, mask, ignore_index=255)
    if entry.classes:
        return functional.cross_entropy(scores, batch["label"])
    tokens = batch["tokens"][:, 1 : scores.shape[1]]
    return functional.cross_entropy(scores[:, : tokens.shape[1]].flatten(0, 1), tokens.flatten())


def _detection(model: Any, answer: tuple[torch.Tensor, torch.Tensor], batch: Batch) -> torch.Tensor:
    """Bipartite matching and its losses (Carion et al. 2020), as transformers computes them for YOLOS."""
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

    scores, boxes = (part.float() for part in answer)
    labels = [
        {"class_labels": classes, "boxes": corners}
        for classes, corners in zip(batch["classes"], batch["boxes"].float(), strict=True)
    ]
    criterion: Any = ForObjectDetectionLoss
    total: torch.Tensor = criterion(scores, labels, scores.device, boxes, model.config)[0]
    return total
