"""Decision trees of scikit-learn as models for the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgeprof.kmodule.library import FloatArray
from edgeprof.kmodule.model import Feature, Model
from edgeprof.kmodule.model_file import Node, tree_file

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

LEAF = -1
"""scikit-learn's mark of a node without children."""


def file_from_sklearn(
    tree: DecisionTreeClassifier | DecisionTreeRegressor, name: str, features: Sequence[str] | None = None
) -> bytes:
    """The model file of a fitted tree: a classifier's outputs are its classes' probabilities, in ``classes_``' order.

    On inputs that Q16.16 holds exactly, it comes to the same leaf as scikit-learn.  Raises Refused, NotANumber.
    """
    inner = tree.tree_
    names = features or [str(index) for index in range(tree.n_features_in_)]
    nodes: list[Node] = []
    leaves: list[FloatArray] = []
    for index in range(inner.node_count):
        if inner.children_left[index] == LEAF:
            nodes.append(Node(-1, len(leaves), 0))
            leaves.append(_answer(inner.value[index], classifier=hasattr(tree, "classes_")))
        else:
            left, right = int(inner.children_left[index]), int(inner.children_right[index])
            nodes.append(Node(int(inner.feature[index]), left, right, float(inner.threshold[index])))
    return tree_file(name, [Feature(item) for item in names], nodes, np.array(leaves))


def from_sklearn(
    tree: DecisionTreeClassifier | DecisionTreeRegressor, name: str, features: Sequence[str] | None = None
) -> Model:
    """The same as a model in memory."""
    return Model.load(file_from_sklearn(tree, name, features))


def _answer(value: FloatArray, *, classifier: bool) -> FloatArray:
    """A leaf's outputs from scikit-learn's ``[outputs, classes]``, which counts samples in releases before 1.3."""
    if classifier:
        return np.asarray(value[0] / value[0].sum())
    return value[:, 0]
