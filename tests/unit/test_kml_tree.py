"""Decision trees from scikit-learn come to the same leaf in the kernel's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprof.kmodule.abi import ModelKind, Number
from edgeprof.kmodule.errors import Refused
from edgeprof.kmodule.library import to_fixed, to_float
from edgeprof.kmodule.model import Feature, Model
from edgeprof.kmodule.model_file import Node, tree_file

STUMP = [Node(0, 1, 2, 1.5), Node(-1, 0, 0), Node(-1, 1, 0)]
ANSWERS = np.array([[10.0], [20.0]])


def inputs(count: int = 2000) -> np.ndarray:  # type: ignore[type-arg]
    """Values that Q16.16 and binary32 both hold exactly."""
    return to_float(np.random.default_rng(0).integers(-(2**20), 2**20, (count, 4)).astype(np.int32))


def test_a_value_on_the_threshold_goes_left() -> None:
    model = Model.load(tree_file("stump", [Feature("x")], STUMP, ANSWERS))
    assert model.kind is ModelKind.TREE
    assert model.predict([[1.0], [1.5], [1.5 + 1 / 65536], [9.0]]).ravel().tolist() == [10, 10, 20, 20]


@pytest.mark.parametrize("threshold", [0.1, -0.1, 1 / 3, -1 / 3])
def test_a_threshold_between_two_numbers_keeps_their_sides(threshold: float) -> None:
    stump = [Node(0, 1, 2, threshold), *STUMP[1:]]
    model = Model.load(tree_file("stump", [Feature("x")], stump, ANSWERS))
    near = np.floor(threshold * 65536) + np.arange(-3, 4)
    assert model.predict((near / 65536).reshape(-1, 1)).ravel().tolist() == [
        10 if value / 65536 <= threshold else 20 for value in near
    ]


def test_a_tree_in_binary32_is_the_same_tree() -> None:
    model = Model.load(tree_file("stump", [Feature("x")], STUMP, ANSWERS, Number.FLOAT))
    assert model.predict([[1.5], [1.6]]).ravel().tolist() == [10, 20]


def test_a_tree_that_is_none_is_refused() -> None:
    with pytest.raises(Refused):
        Model.load(tree_file("loop", [Feature("x")], [Node(0, 0, 0, 0.0)], ANSWERS))


def test_a_classifier_comes_to_the_same_leaves() -> None:
    sklearn = pytest.importorskip("sklearn.tree", reason="scikit-learn is missing: pip install edgeprof[kml]")
    from edgeprof.kmodule.tree import from_sklearn

    values = inputs()
    labels = (values[:, 0] > values[:, 1]).astype(int) + (values[:, 2] > 5)
    tree = sklearn.DecisionTreeClassifier(max_depth=8, random_state=0).fit(values[:1000], labels[:1000])
    model = from_sklearn(tree, "classes", ["a", "b", "c", "d"])
    assert [feature.name for feature in model.features] == ["a", "b", "c", "d"]
    expected = tree.predict_proba(values)
    assert np.abs(model.predict(values) - expected).max() <= 0.5 / 65536
    assert (model.predict(values).argmax(axis=1) == tree.predict(values)).all()


def test_a_regressor_comes_to_the_same_values() -> None:
    sklearn = pytest.importorskip("sklearn.tree", reason="scikit-learn is missing: pip install edgeprof[kml]")
    from edgeprof.kmodule.tree import from_sklearn

    values = inputs()
    targets = np.column_stack([values[:, 0] * values[:, 1], values[:, 2]])
    tree = sklearn.DecisionTreeRegressor(max_leaf_nodes=100, random_state=0).fit(values, targets)
    assert (from_sklearn(tree, "values").infer(to_fixed(values)) == to_fixed(tree.predict(values))).all()
