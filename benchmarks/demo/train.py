"""Trains a small residual network on a folder of images, one sub-folder a class.

An ordinary PyTorch script that knows nothing of edgeprof: it is what the demo profiles.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split


class ImageFolder(Dataset[tuple[torch.Tensor, int]]):
    """Images below ``root/<class>/``, decoded and scaled to ``size`` x ``size`` when they are asked for."""

    def __init__(self, root: Path, size: int) -> None:
        self.size = size
        self.classes = sorted(item.name for item in root.iterdir() if item.is_dir())
        self.samples = [
            (path, label)
            for label, name in enumerate(self.classes)
            for path in sorted((root / name).iterdir())
            if path.suffix.lower() in {".jpg", ".jpeg", ".png"}
        ]
        if not self.samples:
            raise SystemExit(f"no images in the sub-folders of {root}")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((self.size, self.size)), np.float32)
        return torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1.0, label


class Block(nn.Module):
    """Two 3x3 convolutions with a short cut (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def make_model(classes: int, width: int = 16) -> nn.Module:
    """A stem and three stages of two blocks each."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    for stage in range(3):
        outputs = width << stage
        layers += [Block(outputs // 2 if stage else width, outputs, 2 if stage else 1), Block(outputs, outputs, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width << 2, classes))


def train_epoch(model: nn.Module, batches: DataLoader, optimizer: torch.optim.Optimizer) -> tuple[float, int]:
    """One pass over the training images; returns the mean loss and the number of images."""
    model.train()
    total, count = 0.0, 0
    for images, labels in batches:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        count += len(labels)
    return total / count, count


@torch.no_grad()
def accuracy(model: nn.Module, batches: DataLoader) -> float:
    """Share of images whose class the model finds."""
    model.eval()
    right, count = 0, 0
    for images, labels in batches:
        right += int((model(images).argmax(1) == labels).sum())
        count += len(labels)
    return right / count


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with one sub-folder of images a class")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2, help="DataLoader's worker processes")
    parser.add_argument("--start-method", choices=("fork", "spawn", "forkserver"), help="how the workers start")
    parser.add_argument("--size", type=int, default=96, help="side of the network's input, pixels")
    parser.add_argument("--lr", type=float, default=0.002)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", type=Path, default=Path("model.pt"), help="written after each epoch")
    return parser.parse_args()


def main() -> None:
    """Train, and say after each epoch how it went."""
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    data = ImageFolder(arguments.data, arguments.size)
    held_out = len(data) // 10
    training, validation = random_split(data, [len(data) - held_out, held_out])
    loading = {
        "batch_size": arguments.batch_size,
        "num_workers": arguments.workers,
        "multiprocessing_context": arguments.start_method if arguments.workers else None,
        "persistent_workers": arguments.workers > 0,
    }
    batches = DataLoader(training, shuffle=True, **loading)
    held_out_batches = DataLoader(validation, **loading)
    model = make_model(len(data.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.lr)
    for epoch in range(1, arguments.epochs + 1):
        started = time.monotonic()
        loss, images = train_epoch(model, batches, optimizer)
        rate = images / (time.monotonic() - started)
        torch.save(
            {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, arguments.checkpoint
        )
        share = accuracy(model, held_out_batches)
        print(f"epoch {epoch}: loss {loss:.3f}, accuracy {share:.1%}, {rate:.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
