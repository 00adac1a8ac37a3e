"""``edgeprof data``: make a data set, or say what one is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.options import json_option
from edgeprof.cli.output import make_console, print_json
from edgeprof.cli.quantities import SizeType
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.workloads.data.spec import KINDS, DataSpec
from edgeprof.workloads.errors import WorkloadError
from edgeprof.workloads.spec import FORMATS

if TYPE_CHECKING:
    from edgeprof.workloads.data.describe import DataSet


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Make data sets for the built-in workloads, and describe them; `edgeprof run WORKLOAD` makes what it needs."""


@command.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--format", "data_format", type=click.Choice(FORMATS), default="folder", show_default=True)
@click.option("--size", type=SizeType(), default="64M", show_default=True, help="Of all files together.")
@click.option("--side", type=click.IntRange(32, 4320), help="Shorter side of images, pixels.  [default: the kind's]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed, the same bytes.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where data sets are kept.  [default: $EDGEPROF_DATA_CACHE, else ~/.cache/edgeprof/data]",
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but the path and errors.")
def make(kind: str, data_format: str, size: int, side: int | None, seed: int, folder: Path | None, quiet: bool) -> None:
    """Make a data set of KIND and print its path; a complete one that is there already is taken."""
    from edgeprof.profiler.storage.folders import data_folder
    from edgeprof.workloads.data.make import make as make_data_set

    say = (lambda line: None) if quiet else (lambda line: click.echo(f"edgeprof: {line}", err=True))
    spec = DataSpec(kind, data_format, size, side or 0, seed)
    try:
        path = make_data_set(spec, folder or data_folder(), say)
    except WorkloadError as error:
        raise EdgeprofError(str(error)) from None
    click.echo(path)


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def describe(path: Path, as_json: bool) -> None:
    """Say what the data set in PATH is: one that edgeprof made, or your own images or texts in class folders."""
    from edgeprof.workloads.data.describe import check_files
    from edgeprof.workloads.data.describe import describe as describe_data_set

    try:
        dataset = describe_data_set(path)
        check_files(dataset)
    except WorkloadError as error:
        raise EdgeprofError(str(error)) from None
    if as_json:
        print_json(_told(dataset))
        return
    console = make_console()
    for name, value in _lines(dataset):
        console.print(f"{name + ':':<10} {value}", markup=False, highlight=False, soft_wrap=True)


def _told(dataset: DataSet) -> dict[str, Any]:
    return {"path": str(dataset.path), "own": dataset.own, **dataset.to_json()}


def _lines(dataset: DataSet) -> list[tuple[str, str]]:
    from edgeprof.profiler.units import human

    shape = ""
    if dataset.image:
        shape = f"{dataset.image[1]} x {dataset.image[0]} pixels"
    elif dataset.sequence:
        shape = f"{dataset.sequence[0]} words" if dataset.kind == "text" else f"{dataset.sequence[0]} steps"
    lines = [
        ("kind", dataset.kind),
        ("format", dataset.format),
        ("samples", f"{dataset.samples:,}" + (f" of {shape}" if shape else "")),
        ("bytes", f"{dataset.bytes:,} ({human(dataset.bytes, 'bytes')}) in {len(dataset.files):,} files"),
    ]
    if dataset.class_names:
        lines.append(("classes", ", ".join(dataset.class_names[:20]) + (", ..." if dataset.classes > 20 else "")))
    lines.append(("made", "no, your own" if dataset.own else f"by edgeprof, seed {dataset.seed}"))
    return lines
