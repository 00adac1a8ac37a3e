"""What the library costs: nanoseconds a call, memory, code and stack, measured on this machine.

The calls are timed in C (tests/bench.c): a call from Python costs more than most of what is measured.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeprof.kmodule import build
from edgeprof.kmodule.abi import LayerType, Loss
from edgeprof.kmodule.errors import KmlError
from edgeprof.kmodule.library import FloatArray
from edgeprof.kmodule.model import Feature, FloatTrainer, Model, Trainer, Training
from edgeprof.kmodule.model_file import FloatLayer, Node, network_file, tree_file

NAMES = {
    "infer-linear-fixed": "inference, linear model of 5 inputs, fixed point",
    "infer-network-fixed": "inference, 5-15-5-4 network, fixed point",
    "infer-tree-fixed": "inference, decision tree of depth 8, fixed point",
    "infer-linear-float": "inference, linear model of 5 inputs, binary32",
    "infer-network-float": "inference, 5-15-5-4 network, binary32",
    "train-network-fixed": "training iteration, 5-15-5-4 network, fixed point",
    "train-network-float": "training iteration, 5-15-5-4 network, binary32",
    "regression-predict": "regression of 5 inputs, prediction",
    "regression-learn": "regression of 5 inputs, one sample learned",
    "statistics-add": "running mean and variance, one value",
    "drift-add": "drift test, one error",
    "sampler-keep": "active sampling, one decision",
    "ring-push": "ring, a sample of 9 numbers pushed",
    "ring-pop": "ring, a sample of 9 numbers popped",
    "sigmoid": "sigmoid",
    "exp": "exp",
    "log": "log",
    "sqrt": "sqrt",
    "div": "division",
    "nothing": "an empty call, contained in all but the ring's",
}
"""What each figure of tests/bench.c is."""

_SECONDS_A_ROUND = 20
_TREE_DEPTH = 8


class BenchFailed(KmlError):
    """The measuring program did not end as it should."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the library could not be measured: {why}")


@dataclass(frozen=True)
class Overload:
    """A ring whose reader is slower than its writer: what was pushed was popped or dropped, each record once."""

    pushed: int
    popped: int
    dropped: int


@dataclass(frozen=True)
class Measured:
    """Figures of one machine.

    Attributes:
        nanoseconds: a call, by the names in `NAMES`, one value a round; each call needs the result before.
        sizes: bytes, by what they are of.
        stack: bytes that each hot function uses, by name.
    """

    nanoseconds: dict[str, list[float]]
    overload: Overload
    sizes: dict[str, int]
    stack: dict[str, int]


def measure(rounds: int = 15) -> Measured:
    """Measure everything.  Raises CannotBuild, BenchFailed."""
    nanoseconds, overload = times(rounds)
    return Measured(nanoseconds, overload, sizes(), stack())


def times(rounds: int) -> tuple[dict[str, list[float]], Overload]:
    """Nanoseconds of each call, one value a round; and an overloaded ring.  Raises CannotBuild, BenchFailed."""
    program = build.program(build.SOURCES / "tests" / "bench.c")
    with tempfile.TemporaryDirectory() as name:
        for file, content in models().items():
            Path(name, f"{file}.kml").write_bytes(content)
        return parse(_run([str(program), name, str(rounds)], _SECONDS_A_ROUND * rounds + 60))


def parse(lines: list[str]) -> tuple[dict[str, list[float]], Overload]:
    """What tests/bench.c prints."""
    nanoseconds: dict[str, list[float]] = {}
    overload = None
    for line in lines:
        name, *values = line.split("\t")
        if name == "overload":
            overload = Overload(*(int(value) for value in values))
        else:
            nanoseconds.setdefault(name, []).append(float(values[0]))
    if overload is None or set(nanoseconds) != set(NAMES):
        raise BenchFailed("its output is not whole")
    return nanoseconds, overload


def sizes() -> dict[str, int]:
    """Bytes of the library's code and data without symbols, and of models and what trains them in memory."""
    with tempfile.TemporaryDirectory() as name:
        stripped = Path(name) / "libkml.so"
        _run(["strip", "--strip-all", "-o", str(stripped), str(build.library())], 60)
        found = {"libkml.so, stripped": stripped.stat().st_size}
    for title, file in zip(("linear model", "5-15-5-4 network", "decision tree"), models().values(), strict=True):
        found[f"{title}, file"] = len(file)
        found[f"{title}, in memory"] = Model.load(file).size
    network = Model.load(models()["network"])
    training = Training(Loss.MSE)
    found["5-15-5-4 network, trainer in fixed point"] = Trainer(network, training).size
    found["5-15-5-4 network, trainer in binary32"] = FloatTrainer(network, training).size
    return found


def stack() -> dict[str, int]:
    """Bytes of stack that each hot function was seen to use (tests/stack.c paints it and looks)."""
    program = build.program(build.SOURCES / "tests" / "stack.c")
    return {name: int(used) for used, name in (line.split("\t") for line in _run([str(program)], 60))}


def models() -> dict[str, bytes]:
    """The files of the models that are measured; parameters are random, always the same."""
    random = np.random.default_rng(1)
    features = [Feature(str(index)) for index in range(5)]
    linear = [FloatLayer(LayerType.LINEAR, random.normal(0, 1, (1, 5)), random.normal(0, 1, 1))]
    return {
        "linear": network_file("linear", features, linear),
        "network": network_file("network", features, network_layers()),
        "tree": tree_file("tree", features, *_complete_tree(_TREE_DEPTH, random)),
    }


def network_layers() -> list[FloatLayer]:
    """5-15-5-4 with a sigmoid after both hidden layers: 170 multiplications."""
    random = np.random.default_rng(2)
    layers: list[FloatLayer] = []
    for inputs, outputs in ((5, 15), (15, 5), (5, 4)):
        layers += [FloatLayer(LayerType.SIGMOID)] if layers else []
        layers += [FloatLayer(LayerType.LINEAR, random.normal(0, 1, (outputs, inputs)), random.normal(0, 1, outputs))]
    return layers


def lines(measured: Measured) -> list[str]:
    """The figures as text: median, least and greatest of the rounds."""
    text = []
    for name, title in NAMES.items():
        values = measured.nanoseconds[name]
        text.append(f"{title:55} {statistics.median(values):9.1f} ns  ({min(values):.1f} to {max(values):.1f})")
    text += [f"{title:55} {size:9} bytes" for title, size in measured.sizes.items()]
    text += [f"{'stack of ' + name:55} {size:9} bytes" for name, size in measured.stack.items()]
    overload = measured.overload
    counts = f"{overload.pushed} pushed = {overload.popped} popped + {overload.dropped} dropped"
    return [*text, f"{'ring with a reader that is too slow':55} {counts}"]


def _complete_tree(depth: int, random: np.random.Generator) -> tuple[list[Node], FloatArray]:
    """A tree with all its leaves at ``depth``, split at random: node n's children are 2 n + 1 and 2 n + 2."""
    inner = 2**depth - 1
    nodes = [
        Node(int(random.integers(5)), 2 * index + 1, 2 * index + 2, float(random.normal(0, 1)))
        for index in range(inner)
    ]
    nodes += [Node(-1, index, 0) for index in range(inner + 1)]
    return nodes, random.normal(0, 1, (inner + 1, 1))


def _run(command: list[str], seconds: float) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except FileNotFoundError:
        raise BenchFailed(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise BenchFailed(f"{command[0]} took longer than {seconds:g} s") from None
    if done.returncode:
        raise BenchFailed(done.stderr.strip() or f"{command[0]} ended with {done.returncode}")
    return done.stdout.splitlines()
