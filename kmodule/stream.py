"""Statistics, drift, regression and sampling of a stream, by the kernel's code; numbers in and out are real."""

from __future__ import annotations

import ctypes
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule import abi
from edgeprof.kmodule.abi import ONE, fixed
from edgeprof.kmodule.library import FixedArray, addresses, check, library, rows, to_fixed
from edgeprof.kmodule.model import Trainer


class Running(ctypes.Structure):
    """struct kml_running: mean and variance of all values so far."""

    _fields_ = (
        ("count", ctypes.c_uint64),
        ("_mean", ctypes.c_int64),
        ("_mean_rest", ctypes.c_uint64),
        ("_variance", ctypes.c_int64),
        ("_variance_rest", ctypes.c_uint64),
    )

    def __init__(self) -> None:
        super().__init__()
        library().kml_running_init(ctypes.byref(self))

    def add(self, value: float) -> None:
        library().kml_running_add(ctypes.byref(self), fixed(value))

    @property
    def mean(self) -> float:
        return int(library().kml_running_mean(ctypes.byref(self))) / ONE

    @property
    def variance(self) -> float:
        return int(library().kml_running_variance(ctypes.byref(self))) / ONE

    @property
    def deviation(self) -> float:
        return int(library().kml_running_deviation(ctypes.byref(self))) / ONE


class Fading(ctypes.Structure):
    """struct kml_fading: the same over a window of ``2**shift`` values; older ones fade.  Raises Refused."""

    _fields_ = (("_running", Running), ("window", ctypes.c_uint64))

    def __init__(self, shift: int) -> None:
        super().__init__()
        check(library().kml_fading_init(ctypes.byref(self), shift), f"a window of 2^{shift} values")

    def add(self, value: float) -> None:
        library().kml_fading_add(ctypes.byref(self), fixed(value))

    @property
    def mean(self) -> float:
        return int(library().kml_fading_mean(ctypes.byref(self))) / ONE

    @property
    def deviation(self) -> float:
        return int(library().kml_fading_deviation(ctypes.byref(self))) / ONE


class Range(ctypes.Structure):
    """struct kml_range: least and greatest value."""

    _fields_ = (("_low", ctypes.c_int32), ("_high", ctypes.c_int32))

    def __init__(self) -> None:
        super().__init__()
        library().kml_range_init(ctypes.byref(self))

    def add(self, value: float) -> None:
        library().kml_range_add(ctypes.byref(self), fixed(value))

    def normalise(self, value: float) -> float:
        """0 at the least value, 1 at the greatest, never beyond."""
        return int(library().kml_range_normalise(ctypes.byref(self), fixed(value))) / ONE


class Drift(ctypes.Structure):
    """struct kml_drift: the Page-Hinkley test for a rise of an error's mean.  Raises Refused."""

    _fields_ = (
        ("_tolerance", ctypes.c_int32),
        ("_threshold", ctypes.c_int32),
        ("warm_up", ctypes.c_uint32),
        ("count", ctypes.c_uint64),
        ("_mean", ctypes.c_int64),
        ("_mean_rest", ctypes.c_uint64),
        ("_sum", ctypes.c_int64),
        ("_lowest", ctypes.c_int64),
        ("detections", ctypes.c_uint64),
    )

    def __init__(self, tolerance: float, threshold: float, warm_up: int) -> None:
        super().__init__()
        status = library().kml_drift_init(ctypes.byref(self), fixed(tolerance), fixed(threshold), warm_up)
        check(status, f"a drift test of tolerance {tolerance:g} and threshold {threshold:g}")

    def add(self, error: float) -> bool:
        """Whether this error was the one too many."""
        return bool(library().kml_drift_add(ctypes.byref(self), fixed(error)))


class Regression(ctypes.Structure):
    """struct kml_regression: linear or logistic, learning sample by sample.  Raises Refused."""

    _fields_ = (
        ("inputs", ctypes.c_uint16),
        ("logistic", ctypes.c_bool),
        ("_rate", ctypes.c_int32),
        ("samples", ctypes.c_uint64),
        ("_weights", ctypes.c_int64 * (abi.REGRESSION_MAX_INPUTS + 1)),
    )

    def __init__(self, inputs: int, rate: float, *, logistic: bool = False) -> None:
        super().__init__()
        status = library().kml_regression_init(ctypes.byref(self), inputs, logistic, fixed(rate))
        check(status, f"a regression of {inputs} inputs at a rate of {rate:g}")

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """Of the inputs, then the bias."""
        return np.ctypeslib.as_array(self._weights)[: self.inputs + 1] / 2.0**32

    def predict(self, inputs: npt.ArrayLike) -> float:
        source = self._row(inputs)
        return int(library().kml_regression_predict(ctypes.byref(self), source.ctypes.data)) / ONE

    def learn(self, inputs: npt.ArrayLike, target: float) -> float:
        """Learn one sample; the error before it, target - prediction."""
        source = self._row(inputs)
        return int(library().kml_regression_learn(ctypes.byref(self), source.ctypes.data, fixed(target))) / ONE

    def _row(self, inputs: npt.ArrayLike) -> FixedArray:
        return rows(np.atleast_1d(to_fixed(inputs)), self.inputs, "the input")


def uncertainty(probabilities: npt.ArrayLike) -> float:
    """How unsure a prediction is, 0 to 1."""
    source = np.ascontiguousarray(np.atleast_1d(to_fixed(probabilities)))
    return int(library().kml_uncertainty(source.ctypes.data, source.size)) / ONE


class Sampler(ctypes.Structure):
    """struct kml_sampler: keeps a share of a stream, the samples that the model is unsure of.  Raises Refused."""

    _fields_ = (
        ("_share", ctypes.c_int32),
        ("_explore", ctypes.c_int32),
        ("_threshold", ctypes.c_int32),
        ("_random", ctypes.c_uint64),
        ("seen", ctypes.c_uint64),
        ("kept", ctypes.c_uint64),
    )

    def __init__(self, share: float, explore: float, seed: int) -> None:
        super().__init__()
        status = library().kml_sampler_init(ctypes.byref(self), fixed(share), fixed(explore), seed)
        check(status, f"sampling a share of {share:g}, {explore:g} of it blindly")

    def keep(self, unsure: float) -> bool:
        """Whether a sample of this uncertainty is worth collecting."""
        return bool(library().kml_sampler_keep(ctypes.byref(self), fixed(unsure)))


class Action(IntEnum):
    """What the adapter did with a sample."""

    WATCHED = 0
    DRIFTED = 1
    LEARNED = 2
    SETTLED = 3


class Adapter(ctypes.Structure):
    """struct kml_adapter: drift of the loss lets the trainer learn a few samples.  Raises Refused."""

    _fields_ = (
        ("_trainer", ctypes.c_void_p),
        ("drift", Drift),
        ("samples", ctypes.c_uint32),
        ("left", ctypes.c_uint32),
        ("state", ctypes.c_uint8),
        ("adaptations", ctypes.c_uint64),
        ("learned", ctypes.c_uint64),
    )

    def __init__(self, trainer: Trainer, drift: Drift, samples: int) -> None:
        super().__init__()
        self.trainer = trainer
        status = library().kml_adapter_init(ctypes.byref(self), trainer.address, ctypes.byref(drift), samples)
        check(status, f"adaptation by {samples} samples")

    def feed(self, inputs: FixedArray, targets: FixedArray) -> list[tuple[Action, float]]:
        """What was done with each sample, and its loss before that."""
        model = self.trainer.model
        source, wanted = rows(inputs, model.inputs, "the input"), rows(targets, model.outputs, "the targets")
        loss, done = ctypes.c_int32(), []
        feed, own = library().kml_adapter_feed, ctypes.byref(self)
        for begin, end in zip(addresses(source), addresses(wanted), strict=True):
            action = feed(own, begin, end, ctypes.byref(loss))
            done.append((Action(action), loss.value / ONE))
        return done
