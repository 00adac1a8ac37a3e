"""Trains a small CNN on a folder of images: an ordinary PyTorch program that knows nothing of a profiler."""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset


class ImageFolder(Dataset):
    """Images in one folder a class."""

    def __init__(self, root):
        classes = sorted(item.name for item in Path(root).iterdir())
        self.items = [
            (path, label) for label, name in enumerate(classes) for path in sorted((Path(root) / name).iterdir())
        ]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        path, label = self.items[index]
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((48, 48)), np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1), label


class SmallNet(nn.Module):
    """Three convolutions and a linear layer."""

    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--start-method", default=None)
    parser.add_argument("--checkpoint", type=Path, default=Path("model.pt"))
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    common = {"batch_size": options.batch_size, "num_workers": options.workers}
    if options.workers:
        common["multiprocessing_context"] = options.start_method
    training = DataLoader(ImageFolder(options.data / "train"), shuffle=True, **common)
    validation = DataLoader(ImageFolder(options.data / "val"), **common)
    model = SmallNet(classes=2)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    for epoch in range(options.epochs):
        model.train()
        total = 0.0
        for images, labels in training:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(images)
        model.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in validation:
                correct += (model(images).argmax(1) == labels).sum().item()
        torch.save({"epoch": epoch, "model": model.state_dict()}, options.checkpoint)
        print(f"epoch {epoch}: loss {total / len(training.dataset):.4f}, correct {correct}/{len(validation.dataset)}")


if __name__ == "__main__":
    main()
