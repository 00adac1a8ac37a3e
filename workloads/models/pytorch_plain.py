"""Models that no library brings, in plain PyTorch: PilotNet and the recurrent ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class PilotNet(nn.Module):
    """Steering angle from a camera frame (Bojarski et al. 2016, "End to End Learning for Self-Driving Cars").

    Args:
        width: divides the channels; 1 is the network as published.
    """

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels, kernel, stride in ((24, 5, 2), (36, 5, 2), (48, 5, 2), (64, 3, 1), (64, 3, 1)):
            layers += [nn.Conv2d(before, channels // width, kernel, stride), nn.ReLU()]
            before = channels // width
        before *= 18  # 1 x 18 positions are left of 66 x 200
        layers.append(nn.Flatten())
        for units in (100, 50, 10):
            layers += [nn.Linear(before, units), nn.ReLU()]
            before = units
        self.layers = nn.Sequential(*layers, nn.Linear(before, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, 66, 200] to angles [B]."""
        angle: torch.Tensor = self.layers(image).squeeze(1)
        return angle


class Trajectory(nn.Module):
    """Positions to come from positions seen: a recurrent encoder and a dense decoder.

    Args:
        cell: ``lstm`` or ``gru``.
        features: of one time step.
        horizon: positions to predict.
        units: of each of the two recurrent layers.
    """

    def __init__(self, cell: str, features: int, horizon: int, units: int = 128) -> None:
        super().__init__()
        kind: Any = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.encoder = kind(features, units, num_layers=2, batch_first=True)
        self.decoder = nn.Linear(units, 2 * horizon)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        """Features seen [B, T, F] to positions [B, K, 2]."""
        states, _ = self.encoder(past)
        future: torch.Tensor = self.decoder(states[:, -1]).unflatten(1, (-1, 2))
        return future


class TextLSTM(nn.Module):
    """Text classification: an embedding, an LSTM in both directions, the mean over time, a dense head."""

    def __init__(self, vocabulary: int, classes: int, embedding: int = 128, units: int = 256) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.encoder = nn.LSTM(embedding, units, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * units, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [B, L] to scores [B, classes]."""
        states, _ = self.encoder(self.embedding(tokens))
        scores: torch.Tensor = self.head(states.mean(1))
        return scores
