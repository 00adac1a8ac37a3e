"""A model's card: a JSON file beside the model that says what it was made of and how good it was found to be.

Standard library only, so that a model can be checked where it is loaded: on a board's own Python.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof import __version__
from edgeprof.kmodule.training.errors import CardMismatch, NoCard
from edgeprof.profiler.files import replacing

if TYPE_CHECKING:
    from edgeprof.kmodule.training.candidates import Candidate

FORMAT = "edgeprof model card"
VERSION = 1


def path_of(model: Path) -> Path:
    """Where the card of a model file lies."""
    return model.with_name(f"{model.name}.json")


def describe(kind: str, candidate: Candidate) -> dict[str, Any]:
    """What a card says of the model itself; the caller adds the data, the training and the metrics."""
    content = candidate.model.save()
    return {
        "format": FORMAT,
        "version": VERSION,
        "edgeprof": __version__,
        "kind": kind,
        "model": {
            "name": candidate.model.name,
            "what": candidate.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "file_bytes": len(content),
            "memory_bytes": candidate.model.size,
            "instructions": candidate.instructions,
            "features": [feature.name for feature in candidate.model.features],
            "quantised": vars(candidate.quantised),
        },
    }


def read(model: Path) -> dict[str, Any]:
    """The card of a model file, which it must fit.

    Raises:
        NoCard: there is none, or it is damaged or of a newer edgeprof.
        CardMismatch: the model file is another than the one described.
    """
    path = path_of(model)
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise NoCard(path, f"cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise NoCard(path, "is damaged") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("model"), dict):
        raise NoCard(path, "is no model card")
    if content.get("version") != VERSION:
        raise NoCard(path, f"has version {content.get('version')}, and this edgeprof reads {VERSION}")
    try:
        found = hashlib.sha256(model.read_bytes()).hexdigest()
    except OSError as error:
        raise CardMismatch(model, f"it cannot be read: {error.strerror}") from None
    if found != content["model"].get("sha256"):
        raise CardMismatch(model, "its SHA-256 differs")
    return content


def check(model: Path) -> None:
    """Raises CardMismatch where a card lies beside a model file and describes another; NoCard where it is damaged."""
    if path_of(model).exists():
        read(model)


def write(model: Path, candidate: Candidate, card: dict[str, Any]) -> None:
    """Put the model's file and its card there, each whole or not at all.  Raises CannotWrite."""
    text = json.dumps(card, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    for path, content in ((model, candidate.model.save()), (path_of(model), text.encode())):
        with replacing(path) as temporary:
            temporary.write_bytes(content)
