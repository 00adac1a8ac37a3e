"""``edgeprof kml train readahead`` and ``edgeprof kml eval readahead``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from edgeprof.cli.kml_train import model_argument, output_option, score, seed_option, source_argument
from edgeprof.cli.options import json_option
from edgeprof.cli.output import make_console, make_table, plain, print_json

_PARTS = {
    "workload": "each workload by a model that learned nothing of it",
    "machine": "each machine by a model that learned nothing of it",
    "new": "of which this model learned nothing",
    "learned": "that this model learned from",
}
_SCORES = {
    "model": "where it settles",
    "model_all_along": "with the way there",
    "model_from_anywhere": "from any setting",
    "default": "always 128 KiB",
    "best_fixed": "always the one best for the others",
    "oracle": "always the best",
}


@click.command("readahead")
@source_argument
@output_option
@click.option(
    "--instructions",
    "budget",
    type=click.IntRange(1),
    default=5000,
    show_default=True,
    help="What an inference may take; a few are made a second.",
)
@seed_option
@json_option
def train_readahead(source: Path, output: Path, budget: int, seed: int, as_json: bool) -> None:
    """Which read-ahead to set: what kml-readahead and `edgeprof tune` choose by.

    SOURCE is a training set of `edgeprof dataset build readahead`, or a folder of runs.  The same source and seed give
    the same model.  Its card lies beside it as OUTPUT.json.
    """
    from edgeprof.kmodule.training import card as cards
    from edgeprof.kmodule.training import readahead
    from edgeprof.kmodule.training.readahead_examples import read
    from edgeprof.profiler.files import check_place

    check_place(output)
    with _training_set(source) as path:
        examples = read(path, seed)
    chosen, card = readahead.train(examples, seed, budget, lambda line: click.echo(f"edgeprof: {line}", err=True))
    cards.write(output, chosen, card)
    _tell(output, card, card["metrics"], as_json)


@click.command("readahead")
@model_argument
@source_argument
@json_option
def evaluate_readahead(model: Path, source: Path, as_json: bool) -> None:
    """By how fast workloads become when MODEL sets the read-ahead of their disk.

    SOURCE is a training set of `edgeprof dataset build readahead`, or a folder of runs.
    """
    from edgeprof.kmodule.model import Model
    from edgeprof.kmodule.training import card as cards
    from edgeprof.kmodule.training import readahead
    from edgeprof.kmodule.training.readahead_examples import read

    card = cards.read(model)
    with _training_set(source) as path:
        metrics = readahead.evaluate(Model.load(model), card, read(path))
    _tell(model, card, metrics, as_json)


@contextmanager
def _training_set(source: Path) -> Iterator[Path]:
    """The file that is named, or one made of a folder of runs while it is used."""
    if not source.is_dir():
        yield source
        return
    from edgeprof.kmodule.training.readahead_measure import KernelMeasure
    from edgeprof.profiler.training_sets.readahead_build import build

    with TemporaryDirectory(prefix="edgeprof-") as scratch:
        yield build(source, Path(scratch) / "readahead.parquet", KernelMeasure()).path


def _tell(model: Path, card: Mapping[str, Any], metrics: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"model": str(model), **card, "metrics": metrics})
        return
    for part, found in metrics.items():
        click.echo(f"\n{part}: {_PARTS[part]}")
        if found.get("reason"):
            click.echo(f"  not judged: {found['reason']}")
        else:
            _print_part(found)
    about = card["model"]
    click.echo(f"\n{about['what']}, {about['memory_bytes']} bytes of memory, {about['instructions']} instructions")
    click.echo(model)


def _print_part(found: Mapping[str, Any]) -> None:
    headings = ["workload", "machine", "best", "settles at", "of the best", "default", "speed-up"]
    rows = [
        [
            plain(cell["workload"]),
            plain(cell["machine"]),
            f"{cell['best_kib']} KiB",
            f"{cell['settles_at_kib']} KiB",
            f"{cell['model']:.2f}",
            f"{cell['default']:.2f}",
            f"{cell['model'] / cell['default']:.2f}x",
        ]
        for cell in found["cells"]
    ]
    make_console().print(make_table(headings, rows, right=range(2, len(headings))))
    relative = [[words, score(found["relative_throughput"][name])] for name, words in _SCORES.items()]
    make_console().print(make_table(["throughput over the best, on average", ""], relative, right=[1]))
    speed_up = found["speed_up"]
    click.echo(
        f"speed-up over the default {score(speed_up['mean'])} on average, {speed_up['least']:.2f} to"
        f" {speed_up['most']:.2f}; below 0.98 in {speed_up['worse_than_0.98']} of {len(found['cells'])}"
    )
    click.echo(
        f"single windows: the answer is as good as the best in {score(found['action_accuracy'])} of them, and off by"
        f" {score(found['mae_steps'])} steps of a factor of 2"
    )
