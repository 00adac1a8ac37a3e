"""What KMLib costs, beside ONNX Runtime, LiteRT, NumPy and PyTorch running the same network on the same inputs.

    python benchmarks/bench_kml.py [--rounds ROUNDS] [--json FILE] [--release 6.1]

The others are called as a program calls them, one sample a call and 1024 a call, each with one thread; they take turns
with the library in every round.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the comparison is of CPUs

import numpy as np
from common import machine, progress, spread, table

from edgeprof.kmodule import bench, build
from edgeprof.kmodule.library import to_fixed
from edgeprof.kmodule.model import Model
from edgeprof.kmodule.model_file import FloatLayer
from edgeprof.kmodule.network import forward
from edgeprof.profiler.errors import EdgeprofError

SAMPLES = 1024

Runner = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Peer:
    """Something that runs the network: what people call it, and a call for ``[n, 5] -> [n, 4]``."""

    name: str
    one: Runner
    many: Runner


def in_numpy(layers: Sequence[FloatLayer]) -> Peer:
    """Matrix products and sigmoids in binary32."""
    parts = [
        None if layer.weights is None or layer.bias is None else (np.float32(layer.weights.T), np.float32(layer.bias))
        for layer in layers
    ]

    def run(values: np.ndarray) -> np.ndarray:
        for part in parts:
            values = 1 / (1 + np.exp(-values)) if part is None else values @ part[0] + part[1]
        return values

    return Peer(f"NumPy {np.__version__}", run, run)


def _torch_module(layers: Sequence[FloatLayer]) -> Any:
    import torch

    torch.set_num_threads(1)
    parts: list[Any] = []
    for layer in layers:
        if layer.weights is None or layer.bias is None:
            parts.append(torch.nn.Sigmoid())
            continue
        linear = torch.nn.Linear(layer.weights.shape[1], layer.weights.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(layer.weights))
            linear.bias.copy_(torch.tensor(layer.bias))
        parts.append(linear)
    return torch.nn.Sequential(*parts)


def in_torch(layers: Sequence[FloatLayer]) -> Peer:
    """As it is written, without compiling it."""
    import torch

    module = _torch_module(layers).eval()

    def run(values: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(values)).numpy()

    return Peer(f"PyTorch {torch.__version__}", run, run)


def in_onnxruntime(layers: Sequence[FloatLayer]) -> Peer:
    """A graph of Gemm and Sigmoid, one thread."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, value = [], [], "in"
    for index, layer in enumerate(layers):
        out = "out" if index == len(layers) - 1 else f"v{index}"
        if layer.weights is None or layer.bias is None:
            nodes.append(helper.make_node("Sigmoid", [value], [out]))
        else:
            constants.append(numpy_helper.from_array(np.float32(layer.weights), f"w{index}"))
            constants.append(numpy_helper.from_array(np.float32(layer.bias), f"b{index}"))
            nodes.append(helper.make_node("Gemm", [value, f"w{index}", f"b{index}"], [out], transB=1))
        value = out
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name, width in (("in", 5), ("out", 4))
    ]
    graph = helper.make_graph(nodes, "network", [shapes[0]], [shapes[1]], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(values: np.ndarray) -> np.ndarray:
        return session.run(None, {"in": values})[0]

    return Peer(f"ONNX Runtime {onnxruntime.__version__}", run, run)


def in_litert(layers: Sequence[FloatLayer]) -> Peer:
    """Converted from Keras, in binary32, one thread; one interpreter for each size of a batch."""
    import ai_edge_litert
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    def runner(batch: int) -> Runner:
        network = tf.keras.Sequential([tf.keras.layers.Input((5,), batch_size=batch)])
        for layer in layers:
            if layer.weights is None or layer.bias is None:
                network.add(tf.keras.layers.Activation("sigmoid"))
            else:
                dense = tf.keras.layers.Dense(len(layer.bias))
                network.add(dense)
                dense.set_weights([np.float32(layer.weights.T), np.float32(layer.bias)])
        with redirect_stdout(sys.stderr):  # where it says what it converts
            content = tf.lite.TFLiteConverter.from_keras_model(network).convert()
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

        def run(values: np.ndarray) -> np.ndarray:
            interpreter.set_tensor(source, values)
            interpreter.invoke()
            return interpreter.get_tensor(target)

        return run

    version = getattr(ai_edge_litert, "__version__", "") or _distribution("ai-edge-litert")
    return Peer(f"LiteRT {version}", runner(1), runner(SAMPLES))


def in_library(layers: Sequence[FloatLayer]) -> Peer:
    """libkml.so called from Python like the others, so that what a call from Python costs can be told apart."""
    model = Model.load(bench.models()["network"])

    def run(values: np.ndarray) -> np.ndarray:
        return model.infer(values)

    return Peer("libkml.so, called from Python", run, run)


def train_in_torch(layers: Sequence[FloatLayer]) -> Callable[[np.ndarray, np.ndarray], None]:
    """One iteration of SGD on one sample, mean squared error."""
    import torch

    module = _torch_module(layers)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01)
    loss = torch.nn.MSELoss()

    def step(values: np.ndarray, targets: np.ndarray) -> None:
        optimiser.zero_grad()
        loss(module(torch.from_numpy(values)), torch.from_numpy(targets)).backward()
        optimiser.step()

    return step


def timed(call: Callable[[int], object], seconds: float, calls_each: int = 1) -> float:
    """Nanoseconds a sample, over so many seconds."""
    done, began = 0, time.perf_counter_ns()
    while (passed := time.perf_counter_ns() - began) < seconds * 1e9:
        for index in range(32):
            call((done + index) % SAMPLES)
        done += 32
    return passed / done / calls_each


def peers(layers: Sequence[FloatLayer]) -> Iterator[Peer]:
    """Those that are installed."""
    for make in (in_library, in_numpy, in_torch, in_onnxruntime, in_litert):
        try:
            yield make(layers)
        except ImportError as missing:
            progress(f"{make.__name__}: {missing.name} is not installed (pip install edgeprof[dev])")


def compare(rounds: int, seconds: float) -> tuple[bench.Measured, dict[str, Any]]:
    """The library's figures and those of all others, in turns; and how far each one's outputs are from binary64's."""
    layers = bench.network_layers()
    random = np.random.default_rng(3)
    real = random.uniform(-2, 2, (SAMPLES, 5))
    inputs, fixed = real.astype(np.float32), to_fixed(real)
    exact = forward(layers, Model.load(bench.models()["network"]).features, real)
    rows, targets = (
        [inputs[i : i + 1] for i in range(SAMPLES)],
        random.uniform(0, 1, (SAMPLES, 1, 4)).astype(np.float32),
    )
    fixed_rows = [fixed[i : i + 1] for i in range(SAMPLES)]
    found: dict[str, Any] = {"one": {}, "many": {}, "training": {}, "difference": {}}
    present = list(peers(layers))
    for peer in present:
        own = peer.name.startswith("libkml")
        out = peer.many(fixed if own else inputs) / (65536 if own else 1)
        found["difference"][peer.name] = float(np.abs(out - exact).max())
    step = train_in_torch(layers) if any(peer.name.startswith("PyTorch") for peer in present) else None
    nanoseconds: dict[str, list[float]] = {name: [] for name in bench.NAMES}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        own_times, overload = bench.times(1)
        for name, values in own_times.items():
            nanoseconds[name] += values
        for peer in present:
            own = peer.name.startswith("libkml")
            singles, batch = (fixed_rows, fixed) if own else (rows, inputs)
            found["one"].setdefault(peer.name, []).append(timed(lambda i, p=peer, s=singles: p.one(s[i]), seconds))
            found["many"].setdefault(peer.name, []).append(
                timed(lambda i, p=peer, b=batch: p.many(b), seconds, SAMPLES)
            )
        if step is not None:
            name = next(peer.name for peer in present if peer.name.startswith("PyTorch"))
            found["training"].setdefault(name, []).append(timed(lambda i: step(rows[i], targets[i]), seconds))
    return bench.Measured(nanoseconds, overload, bench.sizes(), bench.stack()), found


def module_size(release: str) -> dict[str, int]:
    """Bytes of kml.ko's file without symbols that loading it does not need, and of its code and data in memory."""
    from edgeprof.profiler.guest.headers import build_tree
    from edgeprof.profiler.guest.releases import release_kernel

    module = build.module(build_tree(release_kernel(release)))
    with tempfile.TemporaryDirectory() as folder:
        stripped = Path(folder) / "kml.ko"
        subprocess.run(["strip", "--strip-unneeded", "-o", stripped, module], check=True)
        counted = subprocess.run(["size", stripped], check=True, capture_output=True, text=True).stdout
        text, data, bss = (int(word) for word in counted.splitlines()[1].split()[:3])
        return {
            f"kml.ko for {release}, stripped file": stripped.stat().st_size,
            f"kml.ko for {release}, code and data": text + data + bss,
        }


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """How many times as long as ours theirs took, round by round."""
    return spread([b / a for a, b in zip(ours, theirs, strict=True)], 1)


def _distribution(name: str) -> str:
    from importlib.metadata import version

    return version(name)


def report(measured: bench.Measured, compared: dict[str, Any], sizes: dict[str, int]) -> str:
    """Markdown."""
    ours = measured.nanoseconds["infer-network-fixed"]
    parts = [f"Measured on: {machine()}.", "", "### A call, in C", ""]
    rows = [[title, spread(measured.nanoseconds[name], 1)] for name, title in bench.NAMES.items()]
    parts += [table(["what", "ns"], rows), "", "### The 5-15-5-4 network elsewhere", ""]
    rows = [["libkml.so, called from C", spread(ours, 1), "1", "-", "-", "-"]]
    for name, one in compared["one"].items():
        many = compared["many"][name]
        difference = f"{compared['difference'][name]:.1e}"
        rows.append([name, spread(one, 0), ratios(ours, one), spread(many, 1), ratios(ours, many), difference])
    heading = ["", "one sample, ns", "/ libkml.so", f"of {SAMPLES} at once, ns each", "/ libkml.so", "off binary64"]
    parts += [table(heading, rows), ""]
    for name, values in compared["training"].items():
        own = measured.nanoseconds["train-network-fixed"]
        parts += [
            f"A training iteration in {name}: {spread(values, 0)} ns, {ratios(own, values)} times libkml.so's.",
            "",
        ]
    parts += [
        "### Sizes",
        "",
        table(["what", "bytes"], [[k, str(v)] for k, v in {**measured.sizes, **sizes}.items()]),
        "",
    ]
    parts += ["### Stack", "", table(["function", "bytes"], [[k, str(v)] for k, v in measured.stack.items()]), ""]
    overload = measured.overload
    share = overload.dropped / overload.pushed
    counts = f"{overload.pushed} pushed = {overload.popped} popped + {overload.dropped} dropped ({share:.0%})"
    parts.append(f"A ring of 1024 slots; its writer predicts and pushes, its reader learns from each record: {counts}.")
    return "\n".join(parts)


def main() -> None:
    """Measure, print Markdown, and write JSON where it is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2, help="for one figure in one round")
    parser.add_argument("--json", type=Path, help="write all values there")
    parser.add_argument("--release", default="6.1", help="kernel to build kml.ko for, to tell its size")
    options = parser.parse_args()
    try:
        sizes = module_size(options.release)
    except EdgeprofError as missing:
        progress(f"kml.ko is not measured: {missing}")
        sizes = {}
    measured, compared = compare(options.rounds, options.seconds)
    print(report(measured, compared, sizes))
    if options.json:
        everything = {
            "machine": machine(),
            **dataclasses.asdict(measured),
            "peers": compared,
            "medians": {name: statistics.median(values) for name, values in measured.nanoseconds.items()},
        }
        everything["sizes"] |= sizes
        options.json.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
