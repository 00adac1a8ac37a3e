"""Networks from floating point: what is quantised predicts the same, and the report says what it cost."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprof.kmodule.abi import LayerType, Loss, Number
from edgeprof.kmodule.errors import NotANumber, Refused
from edgeprof.kmodule.library import to_fixed, to_float
from edgeprof.kmodule.model import Feature, Model, Trainer, Training
from edgeprof.kmodule.model_file import FloatLayer, network_file
from edgeprof.kmodule.network import (
    describe,
    fit,
    forward,
    from_torch,
    normalised_by,
    one_hot,
    quantise,
    shapes,
)

RANDOM = np.random.default_rng(3)
FEATURES = [Feature("size", 100.0, 0.02), Feature("depth"), Feature("gap", -1.0, 0.5)]


def layers(last: LayerType = LayerType.SOFTMAX, outputs: int = 3, spread: float = 1.0) -> list[FloatLayer]:
    random = np.random.default_rng(5)
    return [
        FloatLayer(LayerType.LINEAR, random.normal(0, spread, (8, 3)), random.normal(0, 1, 8)),
        FloatLayer(LayerType.TANH),
        FloatLayer(LayerType.LINEAR, random.normal(0, spread, (outputs, 8)), random.normal(0, 1, outputs)),
        FloatLayer(last),
    ]


def samples(count: int = 400) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(6).normal((100, 0, 0), (50, 2, 2), (count, 3))


def test_widths_become_layers() -> None:
    made = [(layer.type.name, layer.inputs, layer.outputs) for layer in shapes("5-15-4", LayerType.RELU)]
    assert made == [("LINEAR", 5, 15), ("RELU", 15, 15), ("LINEAR", 15, 4), ("SOFTMAX", 4, 4)]


@pytest.mark.parametrize("widths", ["", "5", "5-x", "5-0-4", "5--4"])
def test_other_words_are_no_widths(widths: str) -> None:
    with pytest.raises(Refused, match="5-15-5-4"):
        shapes(widths)


def test_a_description_names_inputs_and_layers() -> None:
    text = describe(Model.load(network_file("latency", FEATURES, layers())))
    assert "latency: 3 inputs, 3 outputs" in text
    assert "size: (x - 100) * 0.02" in text
    assert "linear 3 -> 8, 32 parameters" in text


def test_a_quantised_network_predicts_what_the_real_one_does() -> None:
    inputs = samples()
    exact = forward(layers(), FEATURES, inputs)
    labels = exact.argmax(axis=1)
    model, cost = quantise("latency", FEATURES, layers(), inputs, labels)
    assert np.abs(model.predict(inputs) - exact).max() == cost.output_error < 0.001
    assert (cost.parameters, cost.saturated, cost.measure, cost.before) == (59, 0, "accuracy", 1.0)
    assert cost.after is not None and cost.after >= 0.99
    assert 0 < cost.parameter_error <= 0.5 / 65536
    assert cost.file_bytes == len(model.save()) and cost.memory_bytes == model.size
    assert str(cost).startswith("59 parameters in ") and "accuracy 1.0000 -> " in str(cost)


def test_the_report_counts_weights_that_are_too_large() -> None:
    large = layers()
    assert large[0].weights is not None
    large[0].weights[0, 0], large[0].weights[1, 1] = 100.0, -65.0
    _, cost = quantise("large", FEATURES, large, samples())
    assert (cost.saturated, cost.parameter_error, cost.measure) == (2, 36.0, None)


def test_a_single_sigmoid_is_scored_as_a_yes_or_no() -> None:
    inputs, network = samples(), layers(LayerType.SIGMOID, 1)
    labels = (forward(network, FEATURES, inputs)[:, 0] > 0.5).astype(int)
    flipped = labels.copy()
    flipped[:40] ^= 1
    _, cost = quantise("slow", FEATURES, network, inputs, flipped)
    assert cost.measure == "accuracy" and cost.before == pytest.approx(0.9)


def test_a_regression_is_scored_by_its_error() -> None:
    inputs, network = samples(), layers(LayerType.TANH, 1)
    _, cost = quantise("value", FEATURES, network, inputs, forward(network, FEATURES, inputs)[:, 0] + 0.25)
    assert cost.measure == "mean absolute error" and cost.before == pytest.approx(0.25)
    assert cost.after == pytest.approx(0.25, abs=0.001)


def test_a_layer_without_bias_has_zeros() -> None:
    bare = [FloatLayer(LayerType.LINEAR, np.ones((2, 3)))]
    model, cost = quantise("bare", FEATURES, bare, samples())
    assert model.parameters.tolist() == [65536] * 6 + [0, 0] and cost.parameters == 8


def test_parameters_that_are_no_numbers_are_refused() -> None:
    broken = layers()
    assert broken[2].weights is not None
    broken[2].weights[0, 0] = np.nan
    with pytest.raises(NotANumber):
        quantise("broken", FEATURES, broken, samples())
    with pytest.raises(Refused):
        Model.load(network_file("broken", FEATURES, broken, Number.FLOAT))


def test_a_file_in_binary32_gives_the_same_model() -> None:
    plain = [Feature("size"), Feature("depth"), Feature("gap")]
    fixed = Model.load(network_file("n", plain, layers()))
    real = Model.load(network_file("n", plain, layers(), Number.FLOAT))
    assert np.abs(fixed.parameters - real.parameters).max() <= 1


def test_a_network_of_pytorch_predicts_the_same() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is missing: pip install edgeprof[torch]")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 10),
        torch.nn.ReLU(),
        torch.nn.Linear(10, 4, bias=False),
        torch.nn.Sigmoid(),
        torch.nn.Linear(4, 2),
        torch.nn.Softmax(dim=1),
    )
    plain = [Feature("a"), Feature("b"), Feature("c")]
    inputs = np.random.default_rng(0).normal(0, 1, (100, 3))
    model, cost = quantise("torch", plain, from_torch(module), inputs)
    assert cost.output_error < 0.001
    with torch.no_grad():
        expected = module(torch.tensor(inputs, dtype=torch.float32)).numpy()
    assert np.abs(model.predict(inputs) - expected).max() < 0.001


def test_a_layer_of_pytorch_that_the_kernel_lacks_is_refused() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is missing: pip install edgeprof[torch]")
    with pytest.raises(Refused, match="GELU"):
        from_torch(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.GELU()))


def test_fitting_learns_classes_from_normalised_features() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal((1000, 0.01), (300, 0.004), (600, 2))
    labels = (inputs[:, 0] / 300 > inputs[:, 1] / 0.004).astype(int)
    model = Model.create("classes", 2, shapes("2-8-2", LayerType.TANH))
    model.randomise(1)
    model.set_features(normalised_by(["sector", "gap"], inputs))
    trainer = Trainer(model, Training(Loss.CROSS_ENTROPY, rate=0.1, momentum=0.8, batch=4))
    losses = fit(trainer, to_fixed(inputs), one_hot(labels, 2), epochs=20, seed=1)
    assert losses[-1] < 0.5 * losses[0]
    assert (model.predict(inputs).argmax(axis=1) == labels).mean() > 0.93


def test_a_constant_feature_is_normalised_to_nothing() -> None:
    (feature,) = normalised_by(["constant"], np.full((5, 1), 7.0))
    assert (feature.shift, feature.scale) == (7.0, 0.0)


def test_one_hot_has_one_in_the_label_s_column() -> None:
    assert to_float(one_hot([2, 0], 3)).tolist() == [[0, 0, 1], [1, 0, 0]]
