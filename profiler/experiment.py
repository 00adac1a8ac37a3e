"""One run of the study from beginning to end: storage, data set, isolation, cache, capture; then all is put back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.profiler import model_files
from edgeprof.profiler.agent import manifest
from edgeprof.profiler.agent.spec import CaptureError, RunSpec
from edgeprof.profiler.data_sets import copied, made
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.isolation.environment import launched
from edgeprof.profiler.isolation.launch import Launch
from edgeprof.profiler.isolation.spec import IsolationSpec
from edgeprof.profiler.storage.folders import data_folder
from edgeprof.profiler.storage.prepare import prepared, tuned
from edgeprof.profiler.storage.spec import Place, StorageSpec
from edgeprof.workloads.backends.base import samples_in
from edgeprof.workloads.catalog import WORKLOADS
from edgeprof.workloads.data.spec import DataSpec
from edgeprof.workloads.frameworks import version as framework_version
from edgeprof.workloads.scenarios import data as scenario_data
from edgeprof.workloads.scenarios.spec import ScenarioSpec
from edgeprof.workloads.spec import WorkloadSpec

if TYPE_CHECKING:
    from edgeprof.profiler.agent.capture import Outcome

DATA_VARIABLE = "EDGEPROF_DATA"
"""In the workload's environment: the folder of its data set."""
DATA_WORD = "{data}"
"""In a command's words: stands for that folder."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Experiment:
    """What to run, on what data, on what storage, inside what.

    Attributes:
        run: the capture; its command is empty where there is a ``workload``.
        workload: a built-in one; its ``data`` is empty unless the user has named a folder.
        scenario: several at once.
        data: the data set to make; None: the workload needs none, or brings its own.
        own_data: the user's folder; copied to the new file system where one is made.
    """

    run: RunSpec
    workload: WorkloadSpec | None = None
    scenario: ScenarioSpec | None = None
    data: DataSpec | None = None
    own_data: Path | None = None
    storage: StorageSpec = field(default_factory=StorageSpec)
    isolation: IsolationSpec = field(default_factory=IsolationSpec)


def perform(experiment: Experiment, say: Say, version: str, beside: Callable[[str], None] | None = None) -> Outcome:
    """Run it.  What was changed on the machine is put back, whatever happens.

    ``beside``: see `edgeprof.profiler.agent.capture.capture`.

    Raises:
        EdgeprofError: nothing was run.
    """
    with ExitStack() as stack:
        place = stack.enter_context(prepared(experiment.storage, _need(experiment), say))
        data = _data(experiment, place, say)
        run = _run(experiment, place, data, say)
        launch = stack.enter_context(launched(experiment.isolation, run, place, data, say, experiment.storage))
        with tuned(experiment.storage, place, launch.data or data, say, run.memory_limit):
            launch.run.factors.update({**place.factors, **experiment.run.factors})
            outcome = _capture(launch.run, say, version, beside)
        try:
            launch.after(Path(outcome.path))
        finally:
            outcome = _with_setup(outcome, run.command, place, launch, data)
    return outcome


def _with_setup(outcome: Outcome, command: list[str], place: Place, launch: Launch, data: Path | None) -> Outcome:
    """The manifest completed by what was prepared, and by the command as it is inside what isolates it."""
    notes = launch.facts.pop("notes", [])
    setup = {"storage": place.facts, "isolation": launch.facts, "data": str(data) if data else None}
    if not any(setup.values()) or not Path(outcome.path).is_dir():  # nothing was run: it has been removed
        return outcome
    content = dict(outcome.manifest, setup=setup)
    content["run"] = dict(content["run"], command=command)
    content["notes"] = [*content["notes"], *notes]
    manifest.write_json(outcome.path, manifest.FINAL, content)
    return outcome._replace(manifest=content)


def _need(experiment: Experiment) -> int:
    """Bytes that the data will take."""
    if experiment.own_data is not None:
        return sum(path.stat().st_size for path in experiment.own_data.rglob("*") if path.is_file())
    if experiment.scenario is not None:
        return scenario_data.need(experiment.scenario)
    return experiment.data.bytes if experiment.data else 0


def _data(experiment: Experiment, place: Place, say: Say) -> Path | None:
    """The folder of the data set, made or copied where it has to be; a command without one gets the new file system."""
    if experiment.scenario is not None:
        return (place.folder or data_folder()) / f"scenario-{experiment.scenario.name}"
    if experiment.own_data is not None:
        own = experiment.own_data.resolve()
        return copied(own, place.folder, say) if place.folder else own
    if experiment.data is None:
        return place.folder
    return _made(experiment.data, place.folder or data_folder(), place, say)


def _made(spec: DataSpec, folder: Path, place: Place, say: Say) -> Path:
    """The data set in ``folder``; for a file system made for this run it is copied from the one kept for all runs."""
    if not place.folder:
        return made(spec, folder, say)
    kept = made(spec, data_folder(), say)
    there = folder / kept.name
    return there if there.exists() else copied(kept, folder, say)  # two roles may read the same


def _run(experiment: Experiment, place: Place, data: Path | None, say: Say) -> RunSpec:
    """The capture of the command that does it, with the factors that are known before."""
    run = experiment.run
    environment = dict(run.environment, **({DATA_VARIABLE: str(data)} if data else {}))
    factors: dict[str, Any] = {"isolation": experiment.isolation.kind} if experiment.isolation.kind != "bare" else {}
    command = [word.replace(DATA_WORD, str(data)) for word in run.command] if data else list(run.command)
    if experiment.workload is not None:
        workload = replace(experiment.workload, data=str(data or ""))
        if place.folder and experiment.isolation.kind == "bare":  # others may have the data read-only
            # A checkpoint belongs on the storage that is under study.
            workload = replace(workload, checkpoint=str(place.folder / "checkpoint"))
        model_files.made(workload)
        command = [sys.executable, "-m", "edgeprof.workloads", workload.to_json()]
        known = {
            **workload.factors(),
            "framework.version": framework_version(workload.framework),
            "loader.batch": samples_in(workload, WORKLOADS[workload.workload]),
        }
        factors.update({name: value for name, value in known.items() if value is not None})
    if experiment.scenario is not None and data is not None:
        scenario = scenario_data.with_data(
            experiment.scenario, data, lambda spec, folder: _made(spec, folder, place, say)
        )
        command = [sys.executable, "-m", "edgeprof.workloads.scenarios", scenario.to_json()]
        factors.update({"model": scenario.name, "lifecycle": "scenario"})
    return replace(run, command=command, environment=environment, factors={**factors, **place.factors, **run.factors})


def _capture(run: RunSpec, say: Say, version: str, beside: Callable[[str], None] | None) -> Outcome:
    from edgeprof.profiler.agent.capture import capture

    try:
        return capture(run, say, version, beside)
    except CaptureError as error:
        failure = EdgeprofError(str(error))
        failure.exit_code = error.exit_code
        raise failure from None
