"""The read-ahead that a disk should have, by a model of how its files are read, or by a rule."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import TypeAlias

import numpy as np

from edgeprof.kmodule.errors import Refused
from edgeprof.kmodule.model import Feature, Model
from edgeprof.kmodule.model_file import Node, tree_file
from edgeprof.kmodule.readahead import FEATURES, Choice, Windows
from edgeprof.kmodule.tuning.additions import Additions, Ints
from edgeprof.kmodule.tuning.errors import CannotTune

FILES = 256
"""Files followed at a time; of more, those that had additions last."""
CALM = 2
"""Looks in a row that must agree before a change is tried."""

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") >> 10
_DISK = FILES
"""The window that the files' windows are added up in."""


def load_model(path: Path) -> Model:
    """A model of the best read-ahead.  Raises CannotTune."""
    try:
        model = Model.load(path)
    except OSError as error:
        raise CannotTune(f"the model {path} cannot be read: {error.strerror}") from None
    except Refused as error:
        raise CannotTune(
            f"{path} is no model of read-ahead: {error.reason}; `edgeprof kml train readahead` makes one"
        ) from None
    unknown = [feature.name for feature in model.features if feature.name not in FEATURES]
    if model.outputs != 1 or unknown:
        wrong = f"it takes {', '.join(unknown)}" if unknown else f"it has {model.outputs} outputs, not one"
        raise CannotTune(f"{path} is no model of read-ahead: {wrong}; `edgeprof kml train readahead` makes one")
    return model


_Branch: TypeAlias = "float | tuple[str, float, _Branch, _Branch]"
"""Log2 of KiB; or a feature, a border, what follows up to the border, and what beyond."""


def _by_run() -> _Branch:
    """The read-ahead that holds the run which a page lies in, on average."""
    branch: _Branch = 10.0
    for border, log_kib in ((8.5, 9.0), (6.5, 8.0), (5.5, 7.0), (4.5, 6.0), (3.5, 5.0), (2.5, 4.0)):
        branch = ("run_weighted", border, log_kib, branch)
    return branch


def rule() -> Model:
    """What is used without a trained model, as a model.

    Runs that mostly end where the read-ahead does were not wanted, and ask for the least; unless they begin files, for
    then they end with those.
    """
    nodes: list[Node] = []
    leaves: list[list[float]] = []
    _plant(("short", 0.75, _by_run(), ("whole", 0.5, 3.0, _by_run())), nodes, leaves)
    return Model.load(tree_file("read-ahead rule", [Feature(name) for name in FEATURES], nodes, np.array(leaves)))


def _plant(branch: _Branch, nodes: list[Node], leaves: list[list[float]]) -> int:
    """Add a branch to a tree's nodes; returns its place."""
    place = len(nodes)
    if isinstance(branch, float):
        nodes.append(Node(-1, len(leaves), 0))
        leaves.append([branch])
        return place
    name, border, low, high = branch
    nodes.append(Node(-1, 0, 0))
    left, right = _plant(low, nodes, leaves), _plant(high, nodes, leaves)
    nodes[place] = Node(FEATURES.index(name), left, right, border)
    return place


class Advisor:
    """Follows the files of one disk."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._columns = [FEATURES.index(feature.name) for feature in model.features]
        self._windows = Windows(FILES + 1)
        self._places: OrderedDict[tuple[int, int], int] = OrderedDict()
        self._current = 0
        self._seen = 0
        self._choice = Choice(CALM)
        self.features: dict[str, float] = {}

    @property
    def files(self) -> int:
        """How many are followed now."""
        return len(self._places)

    def advise(self, additions: Additions, current_kib: int) -> int:
        """The read-ahead to try, in KiB, from what was seen so far; the current one where nothing speaks against it."""
        if current_kib != self._current:
            self._begin(current_kib)
        if not len(additions):
            return current_kib
        self._add(additions)
        self._seen += int(additions.seconds * 1e9)
        self._windows.begin(_DISK, self._current // PAGE_KIB, 0)
        self._windows.merge(_DISK, list(self._places.values()))
        values, enough = self._windows.features(self._seen)
        if not enough[_DISK]:
            return current_kib
        self.features = dict(zip(FEATURES, (values[_DISK] / 65536).tolist(), strict=True))
        wanted = float(self._model.infer(np.ascontiguousarray(values[_DISK][self._columns]))[0, 0]) / 65536
        self._begin(current_kib)
        return self._choice.of(wanted, current_kib)

    def _begin(self, current_kib: int) -> None:
        """Forget what was seen: under another read-ahead it would have been otherwise."""
        self._current, self._seen = current_kib, 0
        self._places.clear()

    def _add(self, additions: Additions) -> None:
        files, which = np.unique(np.stack([additions.device, additions.inode]), axis=1, return_inverse=True)
        which = which.reshape(-1)
        places = np.array([self._place(device, inode) for device, inode in files.T.tolist()])[which]
        # Of more files than there are places, the first ones have lost theirs to others again.
        last: Ints = np.full(FILES, -1)
        last[places] = which
        keep = last[places] == which
        self._windows.add(places[keep], additions.index[keep], additions.pages[keep])

    def _place(self, device: int, inode: int) -> int:
        key = (device, inode)
        place = self._places.get(key)
        if place is None:
            place = len(self._places) if len(self._places) < FILES else self._places.popitem(last=False)[1]
            self._windows.begin(place, self._current // PAGE_KIB, self._seen)
            self._places[key] = place
        self._places.move_to_end(key)
        return place
