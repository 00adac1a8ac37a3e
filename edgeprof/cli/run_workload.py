"""Options of ``edgeprof run WORKLOAD``: the built-in workload and its data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from edgeprof.cli.quantities import SizeType
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.workloads.backends import check
from edgeprof.workloads.data.spec import DataSpec
from edgeprof.workloads.frameworks import missing
from edgeprof.workloads.scenarios.spec import ScenarioSpec
from edgeprof.workloads.spec import (
    ACCESSES,
    FORMATS,
    FRAMEWORKS,
    LIFECYCLES,
    PRECISIONS,
    SCENARIOS,
    SIZES,
    UNITS,
    WorkloadSpec,
    WrongSpec,
)

Function = TypeVar("Function", bound=Callable[..., Any])


class WorkloadChoice(NamedTuple):
    """What to do and on what data; ``data`` is to be made, ``own_data`` is the user's."""

    workload: WorkloadSpec | None = None
    scenario: ScenarioSpec | None = None
    data: DataSpec | None = None
    own_data: Path | None = None

    def name(self) -> str:
        """What a run of it is called; empty for a command."""
        return self.workload.workload if self.workload else self.scenario.name if self.scenario else ""


_OPTIONS = (
    click.option("--framework", type=click.Choice(FRAMEWORKS), default="pytorch", show_default=True),
    click.option("--compile/--eager", default=False, help="Compile: torch.compile in PyTorch, XLA in TensorFlow."),
    click.option("--keras", is_flag=True, help="Use the Keras definition of the model on PyTorch, too."),
    click.option("--lifecycle", type=click.Choice(LIFECYCLES), default="train", show_default=True),
    click.option(
        "--scenario",
        type=click.Choice(SCENARIOS),
        default="offline",
        show_default=True,
        help="Of inference: one request after the other, frames at a fixed rate, or as fast as it goes.",
    ),
    click.option("--size", type=click.Choice(SIZES), help="Of the model.  [default: base; a scenario's own]"),
    click.option("--batch", type=click.IntRange(1), default=None, help="Samples a step.  [default: the workload's]"),
    click.option("--steps", type=click.IntRange(0), default=0, help="Measured steps."),
    click.option("--epochs", type=click.IntRange(0), default=0, help="Passes over the data set."),
    click.option("--duration", type=click.FloatRange(0), default=0.0, help="Seconds of the measured part."),
    click.option("--warmup", type=click.IntRange(0), default=3, show_default=True, help="Steps before it."),
    click.option("--threads", type=click.IntRange(0), default=0, help="Of the framework.  [default: its own choice]"),
    click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Loading data in parallel."),
    click.option("--prefetch", type=click.IntRange(1), default=2, show_default=True, help="Batches a worker prepares."),
    click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True),
    click.option("--unit", type=click.Choice(UNITS), default="cpu", show_default=True),
    click.option("--arrival", type=click.FloatRange(0.01), default=10.0, help="Requests a second, scenario multi."),
    click.option("--deadline", type=click.FloatRange(0), default=0.0, help="Milliseconds.  [default: between frames]"),
    click.option("--checkpoint-every", type=click.IntRange(0), default=0, help="Steps between two checkpoints."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, data and order."),
    click.option(
        "--data",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Your own images or text, or a data set that edgeprof made.  A command finds it in EDGEPROF_DATA, and "
        "its word {data} becomes the folder.",
    ),
    click.option("--format", "data_format", type=click.Choice(FORMATS), default="folder", show_default=True),
    click.option("--data-size", type=SizeType(), default="64M", show_default=True, help="Of the data set to make."),
    click.option(
        "--access", type=click.Choice(ACCESSES), default="random", show_default=True, help="Order of samples."
    ),
)


def workload_options(function: Function) -> Function:
    """Add them to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def is_built_in(word: str) -> bool:
    """Whether a word names a built-in workload or a scenario, or a scenario's file."""
    from edgeprof.workloads.catalog import WORKLOADS
    from edgeprof.workloads.scenarios.spec import names

    return word in WORKLOADS or word in names() or Path(word).suffix in (".yaml", ".yml")


def workload_of(words: list[str], options: dict[str, Any]) -> WorkloadChoice:
    """The workload or scenario that ``edgeprof run NAME ...`` names.  Raises EdgeprofError."""
    from edgeprof.workloads.catalog import WORKLOADS

    if len(words) == 1 and (scenario := _scenario(words[0], options)):
        return WorkloadChoice(scenario=scenario)
    if len(words) > 1 or words[0] not in WORKLOADS:
        raise EdgeprofError(
            f"there is no built-in workload {words[0]!r} (`edgeprof workloads` lists them); to capture a command, put "
            f"it after --: edgeprof run -- {' '.join(words)}"
        )
    entry = WORKLOADS[words[0]]
    try:
        workload = WorkloadSpec(
            workload=entry.name,
            framework=options["framework"],
            compile=options["compile"],
            keras=options["keras"],
            lifecycle=options["lifecycle"],
            scenario=options["scenario"],
            size=options["size"] or "base",
            batch=options["batch"] or 0,
            steps=options["steps"],
            epochs=options["epochs"],
            seconds=options["duration"],
            warmup=options["warmup"],
            threads=options["threads"],
            workers=options["workers"],
            prefetch=options["prefetch"],
            precision=options["precision"],
            unit=options["unit"],
            format=options["data_format"],
            access=options["access"],
            arrival=options["arrival"],
            deadline=options["deadline"] / 1e3,
            checkpoint_every=options["checkpoint_every"],
            seed=options["seed"],
        )
        check(workload, entry)
    except WrongSpec as error:
        raise EdgeprofError(str(error)) from None
    if options["isolation"] == "bare" and (lack := missing(workload.framework)):
        raise EdgeprofError(str(lack))
    if options["data"]:
        return WorkloadChoice(workload, own_data=options["data"])
    data = DataSpec(entry.data, options["data_format"], options["data_size"], seed=options["seed"])
    return WorkloadChoice(workload, data=data)


def _scenario(word: str, options: dict[str, Any]) -> ScenarioSpec | None:
    """The scenario of a name, or of a YAML file; None: the word names none."""
    from edgeprof.workloads.scenarios.spec import FOLDER, load_scenario, names

    if word in names():
        path = FOLDER / f"{word}.yaml"
    elif Path(word).suffix in (".yaml", ".yml"):
        path = Path(word)
    else:
        return None
    try:
        scenario = load_scenario(path)
    except WrongSpec as error:
        raise EdgeprofError(str(error)) from None
    return scenario.changed(options["size"], options["duration"], options["data_size"], options["seed"])
