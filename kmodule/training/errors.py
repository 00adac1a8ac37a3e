"""What can go wrong when models are trained and judged, as sentences for a person."""

from __future__ import annotations

from pathlib import Path

from edgeprof.kmodule.errors import KmlError


class NoTrainer(KmlError):
    """scikit-learn, which fits the candidates, is not here."""

    def __init__(self) -> None:
        super().__init__("training takes scikit-learn, which is not here: pip install 'edgeprof[kml]'")


class TooFewExamples(KmlError):
    """There is not enough to learn from, or to judge by."""


class TooSmall(KmlError):
    """No candidate keeps to the budget of instructions."""

    def __init__(self, budget: int, least: int) -> None:
        super().__init__(f"no model takes at most {budget} instructions; the cheapest takes {least}")


class WrongModel(KmlError):
    """A model is valid, and for something else."""


class NoCard(KmlError):
    """A model's card is missing or cannot be read."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(
            f"{path}, which says what the model was trained on, {why}: keep it beside the model, or train anew"
        )


class CardMismatch(KmlError):
    """A model file is not the one that its card describes."""

    def __init__(self, model: Path, what: str) -> None:
        self.model = model
        super().__init__(
            f"{model} is not the model that {model.name}.json describes ({what}): put the two files back that were"
            " made together, or train anew"
        )
