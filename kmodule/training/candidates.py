"""Models to choose from: a line, small networks, small trees; fitted in floating point, judged in fixed point."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule.abi import LayerType
from edgeprof.kmodule.library import FloatArray, to_float
from edgeprof.kmodule.model import Model
from edgeprof.kmodule.model_file import FloatLayer
from edgeprof.kmodule.network import forward, normalised_by, quantise
from edgeprof.kmodule.training.cost import instructions
from edgeprof.kmodule.training.errors import NoTrainer, TooFewExamples, TooSmall
from edgeprof.kmodule.training.examples import Examples

TRAIN_ROWS = 300_000
"""Examples that are learned from at most: no candidate got better by more of them, and each takes under a minute."""
VALIDATION_ROWS = 200_000
STATE_BYTES = 4096
"""What a model may take of memory."""
INSTRUCTIONS = 1500
"""What an inference may take: a scheduler has a few thousand instructions for all that it does with a request."""
NEAR = 1.01
"""Candidates whose error is within this factor of the least count as equals: the cheapest of them is chosen."""
LEAST_ROWS = 100
BATCH, RATE = 256, 2e-3
SEEN, MOST_EPOCHS = 12 * TRAIN_ROWS, 200
"""Examples that a network is shown in all, each as often as that takes."""


@dataclass(frozen=True)
class Quantised:
    """What fixed point costs, over the validation: change of the outputs, and mean absolute error before and after."""

    largest: float
    mean: float
    before: float
    after: float


@dataclass(frozen=True)
class Candidate:
    """A fitted model as the kernel runs it.

    Attributes:
        name: as ``network 16-16-1``.
        error: over the validation, in fixed point: the mean absolute one, or what the search was given.
        instructions: of one inference, at most over some inputs of the validation.
    """

    name: str
    model: Model
    error: float
    instructions: int
    quantised: Quantised

    def fits(self, budget: int) -> bool:
        """Whether the I/O path can afford it: in instructions, and in memory."""
        return self.instructions <= budget and self.model.size <= STATE_BYTES


Fit = Callable[[FloatArray, FloatArray, int], tuple[Model, Callable[[FloatArray], FloatArray]]]
"""Inputs, targets and seed -> the model, and what it gives in floating point."""

Error = Callable[[FloatArray, npt.NDArray[np.intp]], float]
"""What a model gives of some rows of the examples, and these rows -> how bad that is."""


def search(
    name: str,
    examples: Examples,
    seed: int = 0,
    budget: int = INSTRUCTIONS,
    error: Error | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> tuple[Candidate, list[Candidate]]:
    """Fit all candidates; the one to use, and all of them.

    Args:
        name: of the model.
        budget: instructions that an inference may take.
        error: what to choose by; None: the mean absolute error.
        told: is given a line after each candidate.

    Raises:
        NoTrainer: scikit-learn is missing.
        TooFewExamples: less than `LEAST_ROWS` to learn from, or to choose by.
        TooSmall: no candidate keeps to the budget.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise NoTrainer from None
    for part in ("train", "validation"):
        if (count := int(examples.parts[part].sum())) < LEAST_ROWS:
            raise TooFewExamples(f"{count} examples are in the part {part!r}, and {LEAST_ROWS} are the least")
    learned, rows = examples.rows("train", TRAIN_ROWS, seed), examples.rows("validation", VALIDATION_ROWS, seed)
    inputs, targets = to_float(examples.inputs[learned]), examples.target[learned]
    checked, wanted = to_float(examples.inputs[rows]), examples.target[rows]
    found = []
    with threadpool_limits(1):  # sums in one order: the same model from the same seed
        for title, fit in candidates(name, examples.names):
            model, real = fit(inputs, targets, seed)
            item = judged(title, model, real(checked), checked, wanted)
            if error is not None:
                item = replace(item, error=error(model.predict(checked)[:, 0], rows))
            found.append(item)
            told(
                f"{title}: error {item.error:.4f}, {item.instructions} instructions, {model.size} bytes"
                + ("" if item.fits(budget) else ": too much")
            )
    return best(found, budget), found


def best(candidates: Sequence[Candidate], budget: int = INSTRUCTIONS) -> Candidate:
    """Of those that fit and are nearly as good as the best of these, the cheapest.  Raises TooSmall."""
    fitting = [item for item in candidates if item.fits(budget)]
    if not fitting:
        raise TooSmall(budget, min(item.instructions for item in candidates))
    least = min(item.error for item in fitting)
    return min((item for item in fitting if item.error <= least * NEAR), key=lambda item: item.instructions)


def candidates(name: str, features: Sequence[str]) -> list[tuple[str, Fit]]:
    """What each is, and how it is fitted."""
    networks = [(8,), (16,), (32,), (16, 8)]
    count = len(features)
    return [
        (f"linear {count}-1", _linear(name, features)),
        *(
            (f"network {'-'.join(map(str, (count, *hidden, 1)))}", _network(name, features, hidden))
            for hidden in networks
        ),
        *((f"tree of {leaves} leaves", _tree(name, features, leaves)) for leaves in (16, 48, 96)),
    ]


def judged(title: str, model: Model, real: FloatArray, inputs: FloatArray, wanted: FloatArray) -> Candidate:
    """A fitted model beside what it gave in floating point (``real``) and should give (``wanted``)."""
    given = model.predict(inputs)[:, 0]
    change = np.abs(given - real)
    before, after = (float(np.abs(values - wanted).mean()) for values in (real, given))
    return Candidate(
        name=title,
        model=model,
        error=after,
        instructions=instructions(model, inputs),
        quantised=Quantised(float(change.max()), float(change.mean()), before, after),
    )


def _linear(name: str, features: Sequence[str]) -> Fit:
    def fit(inputs: FloatArray, targets: FloatArray, seed: int) -> tuple[Model, Callable[[FloatArray], FloatArray]]:
        from sklearn.linear_model import Ridge

        about = normalised_by(features, inputs)
        fitted = Ridge(1.0).fit(forward([], about, inputs), targets)
        layer = FloatLayer(LayerType.LINEAR, fitted.coef_.reshape(1, -1), np.array([fitted.intercept_]))
        return _fixed(name, about, [layer], inputs)

    return fit


def _network(name: str, features: Sequence[str], hidden: tuple[int, ...]) -> Fit:
    def fit(inputs: FloatArray, targets: FloatArray, seed: int) -> tuple[Model, Callable[[FloatArray], FloatArray]]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        about = normalised_by(features, inputs)
        middle, spread = float(targets.mean()), float(targets.std()) or 1.0
        epochs = min(MOST_EPOCHS, -(-SEEN // len(inputs)))
        learner = MLPRegressor(
            hidden_layer_sizes=hidden,
            batch_size=min(BATCH, len(inputs)),
            learning_rate_init=RATE,
            max_iter=epochs,
            n_iter_no_change=epochs,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is meant
            warnings.filterwarnings("ignore", "Training interrupted")
            learner.fit(forward([], about, inputs), (targets - middle) / spread)
        if learner.n_iter_ < epochs:  # scikit-learn keeps a Ctrl-C to itself, and leaves a network half learned
            raise KeyboardInterrupt
        parts = list(zip(learner.coefs_, learner.intercepts_, strict=True))
        last, bias = parts.pop()
        layers: list[FloatLayer] = []
        for weights, shift in parts:
            layers += [FloatLayer(LayerType.LINEAR, weights.T, shift), FloatLayer(LayerType.RELU)]
        layers.append(FloatLayer(LayerType.LINEAR, last.T * spread, bias * spread + middle))
        return _fixed(name, about, layers, inputs)

    return fit


def _fixed(
    name: str, about: Sequence[Any], layers: Sequence[FloatLayer], inputs: FloatArray
) -> tuple[Model, Callable[[FloatArray], FloatArray]]:
    model, _ = quantise(name, about, layers, inputs[:1])
    return model, lambda values: forward(layers, about, values)[:, 0]


def _tree(name: str, features: Sequence[str], leaves: int) -> Fit:
    def fit(inputs: FloatArray, targets: FloatArray, seed: int) -> tuple[Model, Callable[[FloatArray], FloatArray]]:
        from sklearn.tree import DecisionTreeRegressor

        from edgeprof.kmodule.abi import MAX_DEPTH
        from edgeprof.kmodule.tree import from_sklearn

        fitted = DecisionTreeRegressor(
            max_leaf_nodes=leaves, max_depth=MAX_DEPTH, min_samples_leaf=20, random_state=seed
        ).fit(inputs, targets)
        return from_sklearn(fitted, name, features), lambda values: np.asarray(fitted.predict(values))

    return fit
