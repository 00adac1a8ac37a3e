"""What an evaluation does: contenders x workloads x disks x repeats, in an order drawn by lot."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edgeprof.kmodule.evaluation.errors import NoSuchChoice
from edgeprof.kmodule.evaluation.workloads import CLASSES, WORKLOADS, Part, Workload

BASELINE = "mq-deadline"
"""What every other contender is compared with."""


@dataclass(frozen=True)
class Contender:
    """A scheduler with its settings.

    Attributes:
        scheduler: as in ``queue/scheduler``.
        why: where its settings are from.
        settings: file below ``queue`` (or with its whole path) -> value, set in this order, once the scheduler
            is chosen.
        modules: of this project, to be loaded for it.
        predictor: that a trained model is loaded into; empty: none.
    """

    name: str
    scheduler: str
    why: str
    settings: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    predictor: str = ""


KMLIB = ("kml", "mq_kmlib")

CONTENDERS = (
    Contender("none", "none", "no scheduler"),
    Contender(BASELINE, "mq-deadline", "the kernel's defaults"),
    Contender(
        "mq-deadline-1",
        "mq-deadline",
        "Documentation/block/deadline-iosched.rst: a smaller fifo_batch for latency",
        {"iosched/fifo_batch": "1"},
    ),
    Contender("kyber", "kyber", "the kernel's defaults: 2 ms for reads, 10 ms for writes"),
    Contender("bfq", "bfq", "the kernel's defaults, for latency"),
    Contender(
        "bfq-throughput",
        "bfq",
        "Documentation/block/bfq-iosched.rst: neither low_latency nor idling, for throughput",
        {"iosched/low_latency": "0", "iosched/slice_idle": "0"},
    ),
    Contender(
        "mq-kmlib", "mq-kmlib", "as shipped, learning online, with a trained model", modules=KMLIB, predictor="mq-kmlib"
    ),
)
ABLATION = (
    Contender("mq-kmlib-untrained", "mq-kmlib", "as shipped, learning online, without a trained model", modules=KMLIB),
    Contender(
        "mq-kmlib-rule",
        "mq-kmlib",
        "the rule alone: it neither learns service times nor asks a model",
        {"iosched/learn": "0"},
        KMLIB,
    ),
    Contender(
        "mq-kmlib-observe",
        "mq-kmlib",
        "predicts and scores, changes nothing",
        {"iosched/mode": "observe"},
        KMLIB,
        "mq-kmlib",
    ),
    Contender("mq-kmlib-off", "mq-kmlib", "does not even predict", {"iosched/mode": "off"}, KMLIB),
)
"""The same scheduler with parts of it taken away: what each part brings."""


@dataclass(frozen=True)
class Catalogue:
    """What an evaluation can be made of.

    Attributes:
        kind: ``schedulers`` or ``readahead``.
        called: what a contender is, in words.
        baseline: the contender that every other is compared with.
        contenders: all that are compared where none is named; ``others`` are to be named.
    """

    kind: str
    called: str
    baseline: str
    contenders: tuple[Contender, ...]
    others: tuple[Contender, ...]
    workloads: tuple[Workload, ...]


SCHEDULERS = Catalogue("schedulers", "scheduler", BASELINE, CONTENDERS, ABLATION, WORKLOADS)


@dataclass(frozen=True)
class Job:
    """One contender at one workload on one fresh disk."""

    contender: Contender
    workload: Workload
    disk: str
    repeat: int

    @property
    def seed(self) -> int:
        """Of the disk and the workload: the same for all contenders, so that they are compared in pairs."""
        return self.repeat + 1

    @property
    def name(self) -> str:
        """Unique in the plan; the name of its folder."""
        return f"{self.disk}.{self.workload.name}.{self.contender.name}.{self.repeat}"


@dataclass(frozen=True)
class Plan:
    """What to do; ``seed`` is that of the order."""

    catalogue: Catalogue
    contenders: tuple[Contender, ...]
    workloads: tuple[Workload, ...]
    disks: tuple[str, ...]
    repeats: int
    seed: int = 1

    def jobs(self) -> list[Job]:
        """All of them, in the order in which they run: whatever changes with time meets all contenders alike."""
        made = [
            Job(contender, each, disk, repeat)
            for repeat in range(self.repeats)
            for disk in self.disks
            for each in self.workloads
            for contender in self.contenders
        ]
        random.Random(self.seed).shuffle(made)  # noqa: S311
        return made

    def as_dict(self) -> dict[str, Any]:
        """As JSON: what resuming compares, and what a reader of the results wants to know."""
        return {
            "kind": self.catalogue.kind,
            "baseline": self.catalogue.baseline,
            "contenders": {
                item.name: {"scheduler": item.scheduler, "settings": dict(item.settings), "why": item.why}
                | {"modules": list(item.modules), "predictor": item.predictor}
                for item in self.contenders
            },
            "workloads": {
                item.name: {
                    "program": item.program,
                    "mixed": item.mixed,
                    "why": item.why,
                    "epochs": item.epochs,
                    "parts": {part.name: _part(part) for part in item.parts},
                }
                for item in self.workloads
            },
            "disks": list(self.disks),
            "repeats": self.repeats,
            "seed": self.seed,
        }


def _part(part: Part) -> dict[str, Any]:
    return {"words": part.words, "operations": part.operations, "rate": part.rate, "think": part.think}


def plan(
    contenders: Sequence[str] = (),
    workloads: Sequence[str] = (),
    disks: Sequence[str] = (),
    repeats: int = 5,
    catalogue: Catalogue = SCHEDULERS,
) -> Plan:
    """A plan of the named ones; of all where none is named.  Raises NoSuchChoice."""
    named = dict.fromkeys((catalogue.baseline, *contenders))
    for disk in disks:
        if disk not in CLASSES:
            raise NoSuchChoice("class of disks", disk, CLASSES)
    return Plan(
        catalogue,
        tuple(contender(name, catalogue) for name in named) if contenders else catalogue.contenders,
        tuple(_named("workload", name, catalogue.workloads) for name in dict.fromkeys(workloads))
        or catalogue.workloads,
        tuple(dict.fromkeys(disks)) or CLASSES,
        repeats,
    )


def contender(name: str, catalogue: Catalogue = SCHEDULERS) -> Contender:
    """One by its name.  Raises NoSuchChoice."""
    return _named(catalogue.called, name, (*catalogue.contenders, *catalogue.others))


Named = TypeVar("Named", Contender, Workload)


def _named(kind: str, name: str, known: Sequence[Named]) -> Named:
    for found in known:
        if found.name == name:
            return found
    raise NoSuchChoice(kind, name, [item.name for item in known])


def modules_of(jobs: Iterable[Job]) -> list[str]:
    """The project's modules that jobs need."""
    return sorted({module for job in jobs for module in job.contender.modules})
