"""``edgeprof dataset``: training sets made of captured runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.dataset_readahead import readahead
from edgeprof.cli.dataset_remote import aggregate, push
from edgeprof.cli.dataset_words import listed, print_columns, say, share, tell_skipped
from edgeprof.cli.options import FolderType, json_option
from edgeprof.cli.output import make_console, make_table, print_json
from edgeprof.cli.quantities import DurationType
from edgeprof.cli.workers import tell_runs, where_of, worker_options

if TYPE_CHECKING:
    from edgeprof.profiler.training_sets.card import Card, Part


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Folders of many runs: put them elsewhere, aggregate them, make training sets of them."""


@command.group(context_settings={"help_option_names": ["-h", "--help"]})
def build() -> None:
    """Make a training set of the runs of a folder."""


@build.command()
@click.argument("folder", required=False, type=FolderType())
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The Parquet file to write."
)
@click.option("--read-deadline", type=DurationType(), help="A read misses it when it takes longer.  [default: 500ms]")
@click.option("--write-deadline", type=DurationType(), help="A write misses it when it takes longer.  [default: 5s]")
@click.option(
    "--deadline-quantile",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Take this quantile of each device's and operation's latencies as its deadline instead.",
)
@worker_options
def latency(
    folder: Path | str | None,
    output: Path,
    read_deadline: float | None,
    write_deadline: float | None,
    deadline_quantile: float | None,
    scheduler: str | None,
    workers: int | None,
) -> None:
    """How long block requests took, and what was known when each arrived.

    FOLDER holds the runs; it may be an address.  [default: $EDGEPROF_RUNS, else edgeprof-runs]

    The default deadlines are mq-deadline's own, which a solid-state disk hardly ever misses: give others, or
    --deadline-quantile 0.95.
    """
    from edgeprof.profiler.dataset import runs_folder
    from edgeprof.profiler.training_sets.build import build as build_set
    from edgeprof.profiler.training_sets.deadlines import READ_SECONDS, WRITE_SECONDS, Deadlines

    if deadline_quantile is not None and (read_deadline is not None or write_deadline is not None):
        raise click.UsageError("--deadline-quantile sets the deadlines itself: give it or the others")
    deadlines = Deadlines(
        READ_SECONDS if read_deadline is None else read_deadline,
        WRITE_SECONDS if write_deadline is None else write_deadline,
        deadline_quantile,
    )
    built = build_set(runs_folder(folder), output, deadlines, where_of(scheduler, workers), tell_runs)
    tell_skipped(built.skipped)
    click.echo(f"edgeprof: {built.rows:,} requests of {built.runs:,} runs", err=True)
    click.echo(built.path)


build.add_command(readahead)
command.add_command(push)
command.add_command(aggregate)


@command.command()
@click.argument("dataset", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def describe(dataset: Path, as_json: bool) -> None:
    """Print a training set's data card: sources, counts, balance, missing values, splits, columns and units."""
    from dataclasses import asdict

    from edgeprof.cli.dataset_readahead import print_readahead
    from edgeprof.profiler.training_sets import readahead_card
    from edgeprof.profiler.training_sets.about import read_made
    from edgeprof.profiler.training_sets.card import describe as describe_set
    from edgeprof.profiler.training_sets.readahead_schema import NAME

    if read_made(dataset)["name"] == NAME:
        told = readahead_card.describe(dataset)
        print_json(asdict(told)) if as_json else print_readahead(told)
        return
    card = describe_set(dataset)
    if as_json:
        print_json({**asdict(card), "devices": [_device_entry(*item) for item in card.devices]})
    else:
        _print_card(card)


def _device_entry(machine: str, device: str, op: str, part: Part) -> dict[str, Any]:
    from dataclasses import asdict

    return {"machine": machine, "device": device, "op": op, **asdict(part)}


def _print_card(card: Card) -> None:
    from edgeprof.profiler.units import human

    about, runs = card.about, card.about["runs"]
    say("training set", f"{about['name']}, version {about['version']}, made by edgeprof {about.get('edgeprof')}")
    say("requests", f"{card.rows:,} of {len(runs):,} runs, {human(card.bytes, 'bytes')}")
    say("predicted at", about.get("moment"))
    say("machines", listed(run.get("machine") for run in runs))
    say("kernels", listed(run.get("kernel") for run in runs))
    say("workloads", len({run.get("workload") for run in runs}))
    say("left out", _left_out(about))
    _print_parts("Operations", ["operation"], [([name], part) for name, part in card.operations.items()])
    rows = [([split, name], part) for split, parts in card.splits.items() for name, part in parts.items()]
    _print_parts("Splits", ["split", "part"], rows)
    classes = {name: facts.get("class") for run in runs for name, facts in (run.get("devices") or {}).items()}
    seconds = {(item.get("machine"), item.get("device"), item.get("op")): item for item in about["deadlines"]["of"]}
    devices = [
        ([machine, device, classes.get(device), op, _deadline(seconds.get((machine, device, op)))], part)
        for machine, device, op, part in card.devices
    ]
    _print_parts("Devices", ["machine", "device", "class", "operation", "deadline"], devices)
    say("deadlines", _how_deadlines(about["deadlines"]))
    print_columns(card.columns, card.rows)


def _left_out(about: dict[str, Any]) -> str:
    from edgeprof.profiler.training_sets.latency import DROPPED

    dropped: dict[str, int] = {}
    for run in about["runs"]:
        for name, number in (run.get("dropped") or {}).items():
            dropped[name] = dropped.get(name, 0) + number
    skipped = about["skipped"]
    told = [f"{number:,} requests ({DROPPED.get(name, name)})" for name, number in dropped.items()]
    told += [f"{len(skipped):,} runs ({skipped[0].get('run')}: {skipped[0].get('reason')})"] if skipped else []
    return "; ".join(told) or "nothing"


def _how_deadlines(deadlines: dict[str, Any]) -> str:
    if deadlines.get("by") == "quantile":
        return (
            f"the {deadlines.get('quantile'):g} quantile of each device's and operation's training latencies;"
            " none where there are too few"
        )
    return "fixed, for reads and writes"


def _deadline(item: dict[str, Any] | None) -> str | None:
    from edgeprof.profiler.units import human

    return None if item is None else human(item.get("seconds"), "s")


def _print_parts(title: str, names: Sequence[str], rows: Sequence[tuple[list[Any], Part]]) -> None:
    from edgeprof.profiler.units import human

    click.echo(f"\n{title}")
    cells = [
        [
            *words,
            f"{part.rows:,}",
            human(part.latency_p50, "s"),
            human(part.latency_p99, "s"),
            share(part.missed, part.with_deadline),
        ]
        for words, part in rows
    ]
    count = len(names)
    headings = [*names, "requests", "p50", "p99", "missed"]
    make_console().print(make_table(headings, cells, right=range(count, count + 4)))
