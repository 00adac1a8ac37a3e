"""Models and trainers from Python: the same memory, the same code, and refusals with their reasons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprof.kmodule.abi import LayerType, Loss, ModelKind, Schedule
from edgeprof.kmodule.errors import Refused, WrongShape
from edgeprof.kmodule.library import to_fixed, to_float
from edgeprof.kmodule.model import Feature, FloatTrainer, LayerShape, Model, Trainer, Training
from edgeprof.kmodule.model_file import seal
from edgeprof.kmodule.network import shapes

XOR_INPUTS = to_fixed([[-1, -1], [-1, 1], [1, -1], [1, 1]])
XOR_TARGETS = to_fixed([[0], [1], [1], [0]])


def small(seed: int = 1) -> Model:
    model = Model.create("small", 3, shapes("3-6-2", LayerType.TANH, None))
    model.randomise(seed)
    return model


def xor() -> Model:
    model = Model.create("xor", 2, shapes("2-6-1", LayerType.TANH, LayerType.SIGMOID))
    model.randomise(7)
    return model


def test_a_network_has_the_layers_it_was_made_of() -> None:
    model = small()
    assert (model.name, model.kind, model.inputs, model.outputs) == ("small", ModelKind.NETWORK, 3, 2)
    assert [(layer.type.name, layer.inputs, layer.outputs) for layer in model.layers] == [
        ("LINEAR", 3, 6),
        ("TANH", 6, 6),
        ("LINEAR", 6, 2),
    ]
    assert model.parameters.size == 3 * 6 + 6 + 6 * 2 + 2


def test_a_layer_s_weights_are_the_model_s_own_memory() -> None:
    model = small()
    model.parameters[:] = 0
    first, _, last = model.layers
    assert first.weights is not None and last.bias is not None
    first.weights[0, 1] = 65536
    last.bias[1] = 5
    assert model.parameters.nonzero()[0].tolist() == [1, model.parameters.size - 1]
    assert model.infer(to_fixed([[0, 0, 0]])).tolist() == [[0, 5]]


def test_a_view_outlives_its_model() -> None:
    parameters = small().parameters
    assert np.abs(parameters).max() > 0


def test_saving_and_loading_gives_the_same_model(tmp_path: Path) -> None:
    model = small()
    model.set_features([Feature("a", 1.0, 2.0), Feature("b", -3.5, 0.25), Feature("c")])
    path = tmp_path / "small.kml"
    path.write_bytes(model.save())
    again = Model.load(path)
    inputs = to_fixed(np.random.default_rng(0).normal(0, 2, (50, 3)))
    assert again.features == model.features
    assert (again.infer(inputs) == model.infer(inputs)).all()
    assert again.save() == model.save()


def test_a_copy_is_independent() -> None:
    model = small()
    copy = model.copy()
    model.parameters[:] = 0
    assert copy.parameters.any()


def test_a_damaged_file_is_refused_with_the_reason() -> None:
    file = bytearray(small().save())
    file[-1] ^= 1
    with pytest.raises(Refused, match="CRC") as refused:
        Model.load(bytes(file))
    assert refused.value.what == "the model file"


@pytest.mark.parametrize("length", [0, 1, 63, 64, 100])
def test_a_file_cut_short_is_refused(length: int) -> None:
    with pytest.raises(Refused):
        Model.load(small().save()[:length])
    if length >= 64:
        with pytest.raises(Refused):
            Model.load(seal(small().save()[:length]))


def test_a_network_that_does_not_fit_together_is_refused() -> None:
    with pytest.raises(Refused, match="'odd' of 2 layers"):
        Model.create("odd", 3, [LayerShape(LayerType.LINEAR, 3, 4), LayerShape(LayerType.LINEAR, 5, 1)])


@pytest.mark.parametrize("name", ["n" * 32, "ä"])
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="at most 31 ASCII characters"):
        Model.create(name, 3, shapes("3-2"))


def test_predictions_go_into_an_array_of_the_caller() -> None:
    model, inputs = small(), to_fixed(np.eye(3))
    out = np.empty((3, 2), dtype=np.int32)
    assert model.infer(inputs, out) is out
    assert (out == model.infer(inputs)).all()
    with pytest.raises(WrongShape, match="the output"):
        model.infer(inputs, np.empty((2, 2), dtype=np.int32))


@pytest.mark.parametrize("kind", [Trainer, FloatTrainer])
def test_both_trainers_learn_exclusive_or(kind: type[Trainer] | type[FloatTrainer]) -> None:
    model = xor()
    trainer = kind(model, Training(Loss.LOGISTIC, rate=0.2, momentum=0.5))
    losses = [to_float(trainer.learn(XOR_INPUTS, XOR_TARGETS)).mean() for _ in range(400)]
    if isinstance(trainer, FloatTrainer):
        assert trainer.publish() == 0
    assert losses[-1] < 0.05 < losses[0]
    assert (model.predict(to_float(XOR_INPUTS)).round() == to_float(XOR_TARGETS)).all()
    assert trainer.updates == 1600


def test_training_in_floating_point_touches_the_model_only_when_published() -> None:
    model = xor()
    before = model.parameters.copy()
    trainer = FloatTrainer(model, Training(Loss.LOGISTIC, rate=0.2))
    trainer.learn(XOR_INPUTS, XOR_TARGETS)
    assert (model.parameters == before).all()
    trainer.publish()
    assert (model.parameters != before).any()
    assert np.abs(trainer.infer(XOR_INPUTS) - model.infer(XOR_INPUTS)).max() < 10


def test_frozen_layers_stay_as_they_are() -> None:
    model = xor()
    first, head = model.layers[0], model.layers[2]
    assert first.weights is not None and head.weights is not None
    kept, changed = first.weights.copy(), head.weights.copy()
    trainer = Trainer(model, Training(Loss.LOGISTIC, rate=0.2, first_layer=2))
    trainer.learn(XOR_INPUTS, XOR_TARGETS)
    assert (first.weights == kept).all() and (head.weights != changed).any()
    trainer.freeze(0)
    trainer.learn(XOR_INPUTS, XOR_TARGETS)
    assert (first.weights != kept).any()


def test_evaluating_learns_nothing() -> None:
    model = xor()
    trainer = Trainer(model, Training(Loss.LOGISTIC))
    before = model.parameters.copy()
    losses = trainer.evaluate(XOR_INPUTS, XOR_TARGETS)
    assert (model.parameters == before).all() and trainer.updates == 0
    assert losses[0] == trainer.learn(XOR_INPUTS, XOR_TARGETS)[0]


def test_what_is_left_of_a_batch_is_applied_when_flushed() -> None:
    model = xor()
    trainer = Trainer(model, Training(Loss.LOGISTIC, batch=16))
    before = model.parameters.copy()
    trainer.learn(XOR_INPUTS, XOR_TARGETS)
    assert trainer.updates == 0 and (model.parameters == before).all()
    trainer.flush()
    assert trainer.updates == 1 and (model.parameters != before).any()


@pytest.mark.parametrize(
    "training",
    [
        Training(Loss.CROSS_ENTROPY),
        Training(Loss.MSE, rate=0.0),
        Training(Loss.MSE, momentum=1.0),
        Training(Loss.MSE, batch=0),
        Training(Loss.MSE, schedule=Schedule.STEP, decay_every=0),
        Training(Loss.MSE, first_layer=99),
    ],
)
def test_settings_that_do_not_fit_are_refused(training: Training) -> None:
    with pytest.raises(Refused, match="training xor is refused: ") as refused:
        Trainer(xor(), training)
    assert refused.value.reason


def test_samples_and_targets_must_be_as_many() -> None:
    with pytest.raises(WrongShape, match="the targets"):
        Trainer(xor(), Training(Loss.MSE)).learn(XOR_INPUTS, XOR_TARGETS[:3])
