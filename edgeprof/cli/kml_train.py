"""``edgeprof kml train`` and ``edgeprof kml eval``: models for KMLib's kernel users, from what was captured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from edgeprof.cli.options import json_option
from edgeprof.cli.output import make_console, make_table, print_json

GROUP = {"help_option_names": ["-h", "--help"]}

model_argument = click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
source_argument = click.argument("source", type=click.Path(exists=True, path_type=Path))
output_option = click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The model file to write."
)
report_option = click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Also write figures as an HTML page."
)
seed_option = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
budget_option = click.option(
    "--instructions",
    "budget",
    type=click.IntRange(1),
    default=1500,
    show_default=True,
    help="What an inference may take; the best model within it is chosen.",
)
_quantile_option = click.option(
    "--deadline-quantile",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Of a folder of runs: what a deadline is; a training set has its own.",
)

_COLUMNS = {
    "mae": "log2 error",
    "mae_us": "error, µs",
    "r2": "R²",
    "auc": "ROC-AUC",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "action": "right action",
}


@click.group(context_settings=GROUP)
def train() -> None:
    """Train a model from captured runs."""


@click.group("eval", context_settings=GROUP)
def evaluate() -> None:
    """Judge a model by what it did not learn from."""


@train.command("latency")
@source_argument
@output_option
@report_option
@_quantile_option
@budget_option
@seed_option
@json_option
def train_latency(
    source: Path, output: Path, report: Path | None, deadline_quantile: float, budget: int, seed: int, as_json: bool
) -> None:
    """How long a request will take: what mq-kmlib predicts by.

    SOURCE is a training set of `edgeprof dataset build latency`, or a folder of runs.  The same source and seed give
    the same model.  Its card lies beside it as OUTPUT.json.
    """
    from edgeprof.kmodule.training import card as cards
    from edgeprof.kmodule.training import latency, latency_examples
    from edgeprof.kmodule.training.source import latency_set
    from edgeprof.profiler.files import check_place

    for target in filter(None, (output, report)):
        check_place(target)
    with latency_set(source, deadline_quantile) as path:
        examples = latency_examples.read(path)
    chosen, card = latency.train(examples, seed, budget, lambda line: click.echo(f"edgeprof: {line}", err=True))
    cards.write(output, chosen, card)
    if report is not None:
        _write_report(report, output, card, card["metrics"], examples)
    _tell(output, card, card["metrics"], as_json)


@evaluate.command("latency")
@model_argument
@source_argument
@report_option
@_quantile_option
@json_option
def evaluate_latency(model: Path, source: Path, report: Path | None, deadline_quantile: float, as_json: bool) -> None:
    """By requests later than those learned from, and by workloads that were not learned.

    SOURCE is a training set of `edgeprof dataset build latency`, or a folder of runs; what MODEL's card says it was
    learned from is left out.
    """
    from edgeprof.kmodule.model import Model
    from edgeprof.kmodule.training import card as cards
    from edgeprof.kmodule.training import latency, latency_examples
    from edgeprof.kmodule.training.source import latency_set

    card = cards.read(model)
    loaded = Model.load(model)
    with latency_set(source, deadline_quantile) as path:
        examples = latency_examples.read(path)
    metrics = latency.evaluate(loaded, card, examples)
    if report is not None:
        _write_report(report, model, card, metrics, examples)
    _tell(model, card, metrics, as_json)


def _write_report(
    target: Path, model: Path, card: Mapping[str, Any], metrics: Mapping[str, Any], examples: Any
) -> None:
    from edgeprof.dashboards.model_report import build
    from edgeprof.kmodule.model import Model
    from edgeprof.kmodule.training.latency_curves import curves

    build(card, metrics, curves(Model.load(model), card, examples), target)


def _tell(model: Path, card: Mapping[str, Any], metrics: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"model": str(model), **card, "metrics": metrics})
        return
    print_scores(metrics, _COLUMNS)
    about = card["model"]
    click.echo(f"{about['what']}, {about['memory_bytes']} bytes of memory, {about['instructions']} instructions")
    click.echo(model)


def print_scores(metrics: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    """A table for each part that was judged: the model and its baselines, each figure with its interval."""
    from edgeprof.kmodule.training.examples import PARTS

    for part, found in metrics.items():
        click.echo(f"\n{part}: {PARTS[part]}")
        if found.get("reason"):
            click.echo(f"  not judged: {found['reason']}")
            continue
        rows = [[name, *(score(scores[key]) for key in columns)] for name, scores in found["scores"].items()]
        make_console().print(make_table(["by", *columns.values()], rows, right=range(1, len(columns) + 1)))
        gain = found["accuracy_gain"]
        click.echo(
            f"{found['requests']:,} requests of {found['runs']} runs, {found['missed']:,} missed their deadline;"
            f" accuracy is {score(gain)} above that of the best baseline, {found['best_baseline']}"
        )


def score(figure: Mapping[str, Any]) -> str | None:
    """A figure with its interval."""
    value = figure["value"]
    if value is None:
        return None
    digits = 3 if abs(value) < 10 else 1
    text = f"{value:.{digits}f}"
    if figure["low"] is not None:
        text += f" [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"
    return text
