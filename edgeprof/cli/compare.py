"""``edgeprof compare``: how runs, or groups of runs, differ from the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.options import RUN_HELP, folder_option, json_option
from edgeprof.cli.output import make_console, make_table, plain, print_json
from edgeprof.profiler.units import counted, human

if TYPE_CHECKING:
    from rich.console import Console

    from edgeprof.profiler.statistics.comparison import Compared, Question
    from edgeprof.profiler.statistics.selection import Group

REGRESSION = 1
"""Exit code where a limit of --fail-on was broken."""
CELLS_SHOWN = 30
FACTS_WIDTH = 60

GROUPS_HELP = (
    "A and B are runs, or folders of runs, or folders of matrices (compared cell by cell); or name groups with --group"
    " or --by. The first group is the base. Several runs in each group give confidence intervals and p values."
)


@click.command(epilog=f"{RUN_HELP} {GROUPS_HELP}")
@click.argument("runs", metavar="[A B ...]", nargs=-1)
@click.option(
    "--group",
    "named",
    multiple=True,
    metavar="NAME=RUN,...",
    help="A group of runs: names, folders or patterns such as '*-train-*'; repeat it for each group.",
)
@click.option("--by", metavar="FACTOR", help="A group for each value of a factor, over the folder of runs.")
@click.option("--base", metavar="NAME", help="The group to compare with.  [default: the first]")
@click.option("--all", "everything", is_flag=True, help="All metrics, not only those that people decide by.")
@click.option(
    "--fail-on",
    multiple=True,
    metavar="'METRIC>N%'",
    help="Exit with 1 where a metric is shown to be worse by more than this; may be repeated.",
)
@click.option(
    "--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Also write a page with figures, one file."
)
@click.option(
    "--align",
    type=click.Choice(["start", "step"]),
    default="start",
    show_default=True,
    help="What time 0 is in the page's figures: each run's start, or its first step.",
)
@folder_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    runs: tuple[str, ...],
    named: tuple[str, ...],
    by: str | None,
    base: str | None,
    everything: bool,
    fail_on: tuple[str, ...],
    page: Path | None,
    align: str,
    folder: Path | str | None,
    as_json: bool,
) -> int:
    """Print how runs differ from the first one, or groups of runs from the first group.

    One run each says nothing on significance; with groups, each run counts once, whatever its number of steps.
    """
    from edgeprof.profiler.dataset import runs_folder

    place = runs_folder(folder)
    if len([way for way in (runs, named, by) if way]) > 1:
        raise click.UsageError("name runs or folders, or --group, or --by, but only one of them")
    from edgeprof.profiler.statistics.selection import is_group

    if not named and not by and not any(is_group(text) for text in runs):
        if fail_on or base:
            raise click.UsageError("--fail-on and --base need groups of runs: name folders, --group or --by")
        _compare_runs(runs, place, as_json)
        if page is not None:
            _write(page, _single(runs, place), align)
        return 0
    groups = _groups(runs, named, by, base, place)
    code = _compare_groups(groups, fail_on, everything, as_json)
    if page is not None:
        _write(page, groups, align)
    return code


def _single(runs: Sequence[str], place: Path) -> list[Group]:
    from edgeprof.dashboards.compare_report.sides import single
    from edgeprof.profiler.dataset import entry_of, find_path

    return [single(entry_of(find_path(text, place))) for text in runs]


def _write(page: Path, groups: Sequence[Group], align: str) -> None:
    from edgeprof.dashboards.compare_report import build
    from edgeprof.dashboards.compare_report.sides import compared

    build(compared(groups, "step" if align == "step" else "start"), page)
    click.echo(page, err=True)


def _compare_runs(runs: Sequence[str], place: Path, as_json: bool) -> None:
    from edgeprof.profiler.analysis.compare import compare
    from edgeprof.profiler.dataset import find_run

    if len(runs) < 2:
        raise click.UsageError("name at least two runs to compare")
    result = compare([find_run(text, place) for text in runs])
    if as_json:
        print_json(result)
    else:
        _print(result, make_console())


def _groups(runs: Sequence[str], named: Sequence[str], by: str | None, base: str | None, place: Path) -> list[Group]:
    from edgeprof.profiler.statistics.selection import group_of, groups_by

    if by:
        groups = groups_by(by, place)
    elif named:
        groups = [group_of(name, texts, place) for name, texts in map(_named, named)]
    else:
        short = [Path(text).name for text in runs]
        groups = [
            group_of(name if short.count(name) == 1 else text, [text], place)
            for name, text in zip(short, runs, strict=True)
        ]
    names = [group.name for group in groups]
    if len(groups) < 2:
        raise click.UsageError("name at least two groups to compare")
    if len(set(names)) < len(names):
        raise click.UsageError(f"two groups have the same name; they are: {', '.join(names)}")
    if base is None:
        return groups
    if base not in names:
        raise click.UsageError(f"there is no group {base!r} to compare with; there are: {', '.join(names)}")
    return sorted(groups, key=lambda group: group.name != base)


def _named(text: str) -> tuple[str, list[str]]:
    name, _, rest = text.partition("=")
    texts = [part.strip() for part in rest.split(",") if part.strip()]
    if not name.strip() or not texts:
        raise click.UsageError(f"{text!r} names no group; write --group NAME=RUN,RUN")
    return name.strip(), texts


def _compare_groups(groups: Sequence[Group], fail_on: Sequence[str], everything: bool, as_json: bool) -> int:
    from edgeprof.profiler.statistics.comparison import as_dict, compare_groups
    from edgeprof.profiler.statistics.limits import parse_limit

    compared = compare_groups(groups, [parse_limit(text) for text in fail_on], everything)
    told = as_dict(compared)
    if as_json:
        print_json(told)
    else:
        _print_groups(compared, told, make_console())
    for line in compared.unchecked:
        click.echo(f"edgeprof: not checked: {plain(line)}", err=True)
    for line in compared.failures:
        click.echo(f"edgeprof: regression: {plain(line)}", err=True)
    return REGRESSION if compared.failures else 0


def _print_groups(compared: Compared, told: dict[str, Any], console: Console) -> None:
    for group in compared.groups:
        left_out = f", {len(group.left_out)} left out" if group.left_out else ""
        click.echo(f"{plain(group.name)}: {counted(len(group.processes), 'run')}{left_out}")
        for run, reason in group.left_out:
            click.echo(f"  left out: {plain(run)}: {plain(reason)}")
    base, *others = compared.groups
    for other in others:
        mine = [question for question in compared.questions if question.group == other.name]
        headings = ["metric", base.name, other.name, "p", f"{other.name}, against {base.name}"]
        rows = [_row(question) for question in mine if question.cell is None and question.found is not None]
        if base.matrix:
            click.echo("The mean over all cells, each of which counts alike:")
        console.print(make_table(headings, rows, right=[1, 2, 3]))
        _print_cells([question for question in mine if question.cell is not None], base.name, other.name, console)
    untold = {question.about.name: question.reason for question in compared.questions if question.found is None}
    for reason in dict.fromkeys(untold.values()):
        names = ", ".join(name for name, why in untold.items() if why == reason)
        click.echo(f"Not compared, {reason}: {names}")
    for sentence in told["marked"]:
        click.echo(plain(sentence))
    if compared.unmatched:
        click.echo(f"Cells without a partner: {'; '.join(map(plain, compared.unmatched))}")
    for title, key in (("Factors that differ", "factors"), ("Machine facts that differ", "host")):
        if told[key]:
            cells = [[row["name"], *(_shortened(value) for value in row["values"])] for row in told[key]]
            console.print(make_table([title, *(group.name for group in compared.groups)], cells))
        else:
            click.echo(f"{title}: none")
    click.echo(" ".join(told["method"]))


def _row(question: Question) -> list[str | None]:
    from edgeprof.profiler.statistics.comparison import told
    from edgeprof.profiler.statistics.words import p_value

    found, about = question.found, question.about
    assert found is not None
    name = about.name if question.cell is None else f"{about.name}{question.where}"
    means = [human(float(values.mean()), about.unit) for values in (found.base, found.other)]
    return [name, *means, p_value(found.corrected), told(found, about)]


def _print_cells(questions: Sequence[Question], base: str, other: str, console: Console) -> None:
    """Cells that differ; of the others only their number."""
    if not questions:
        return
    shown = [each for each in questions if each.found is not None and each.found.verdict in ("more", "less")]
    click.echo(f"In single cells: {len(shown)} differences shown, {len(questions) - len(shown)} not")
    if shown:
        rows = [_row(question) for question in shown[:CELLS_SHOWN]]
        console.print(make_table(["metric and cell", base, other, "p", f"{other}, against {base}"], rows, [1, 2, 3]))
    if len(shown) > CELLS_SHOWN:
        click.echo(f"... and {len(shown) - CELLS_SHOWN} more; --json lists them all")


def _shortened(value: object) -> str | None:
    if value is None:
        return None
    text = ", ".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else str(value)
    return text if len(text) <= FACTS_WIDTH else f"{text[: FACTS_WIDTH - 3]}..."


def _print(result: dict[str, Any], console: Console) -> None:
    labels = _labels([Path(run["path"]) for run in result["runs"]])
    for label, run in zip(labels, result["runs"], strict=True):
        click.echo(f"{plain(label)}: {plain(run['name'])} ({plain(run['path'])})")
    headings = ["metric", labels[0]]
    for label in labels[1:]:
        headings += [label, "difference", "relative"]
    rows = [_metric_row(row) for row in result["metrics"] if any(value is not None for value in row["values"])]
    console.print(make_table(headings, rows, right=range(1, len(headings))))
    for title, key in (("Factors that differ", "factors"), ("Machine facts that differ", "host")):
        if result[key]:
            cells = [[row["name"], *row["values"]] for row in result[key]]
            console.print(make_table([title, *labels], cells))
        else:
            click.echo(f"{title}: none")
    untold = [row["name"] for row in result["metrics"] if all(value is None for value in row["values"])]
    if untold:
        click.echo(f"Not measured in any of them: {', '.join(untold)}")
    for sentence in result["marked"]:
        click.echo(plain(sentence))
    click.echo(result["caution"])


def _labels(runs: Sequence[Path]) -> list[str]:
    """The shortest names by which runs can be told apart."""
    names = [run.name for run in runs]
    short = [name.rsplit("-", 1)[-1] for name in names]
    return next((labels for labels in (short, names) if len(set(labels)) == len(runs)), list(map(str, runs)))


def _metric_row(row: dict[str, Any]) -> Sequence[str | None]:
    unit = row["unit"]

    def figure(value: float | None) -> str | None:
        return None if value is None else human(value, unit)

    cells: list[str | None] = [row["name"], figure(row["values"][0])]
    for value, difference, relative in zip(row["values"][1:], row["differences"], row["relative"], strict=True):
        sign = "+" if difference is not None and difference > 0 else ""
        cells += [
            figure(value),
            None if difference is None else sign + human(difference, unit),
            None if relative is None else f"{relative:+.1%}",
        ]
    return cells
