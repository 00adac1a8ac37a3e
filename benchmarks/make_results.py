"""Make a page of evaluations: tables, figures, goals, and why some were missed.

    python benchmarks/make_results.py [--schedulers DIR] [--ablation DIR] [--readahead DIR] [--cost FILE] \\
        [--prediction FILE] [--features FILE] [--switch FILE] [--notes docs/results-notes.md] -o docs/results.md

The folders are those of `edgeprof kml bench`; the files are what `edgeprof kml bench cost --json`,
`edgeprof kml eval latency`, `benchmarks/kml_features.py` and `kml_switch.py` printed.  All figures are computed; only
reasons are written by hand, in the notes: a section (``## KEY``) for each, where KEY is a goal's name, its name and
where (``tail: sdcard, sizes``), or the option's name (``schedulers``, ``switch``) for a paragraph before the tables.
A figure needs Chromium; without it the page has none.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeprof.kmodule.evaluation import plot, readahead, table
from edgeprof.kmodule.evaluation.folder import read_plan
from edgeprof.kmodule.evaluation.goals import Goal
from edgeprof.kmodule.evaluation.results import Results, save_results

UNKNOWN = "not known"
OURS = "mq-kmlib"
WINDOW = "1340,980"
PRINTED = {"prediction": "Prediction", "features": "What each feature brings", "switch": "When the workload changes"}


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("schedulers", "ablation", "readahead", "cost", *PRINTED, "notes"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    notes = read_notes(options.notes.read_text()) if options.notes else {}
    parts = ["# What was measured", "Made by `benchmarks/make_results.py`; [evaluation.md](evaluation.md) says how."]
    if options.schedulers:
        parts += ["## I/O schedulers", *schedulers(options.schedulers, notes, "schedulers", options.output)]
    if options.ablation:
        parts += ["## What each part brings", *schedulers(options.ablation, notes, "ablation", options.output)]
    if options.readahead:
        parts += ["## Read-ahead", *read_ahead(options.readahead, notes)]
    if options.cost:
        parts += ["## Instructions a request", *cost(options.cost, notes)]
    for key, title in PRINTED.items():
        if getattr(options, key):
            parts += [f"## {title}", notes.get(key, ""), as_printed(getattr(options, key).read_text().strip())]
    options.output.write_text("\n\n".join(filter(None, parts)) + "\n")


def as_printed(text: str) -> str:
    """What a program printed: a Markdown table as it is, a table for the terminal as such."""
    return text if text.startswith("|") else f"```\n{text}\n```"


def read_notes(text: str) -> dict[str, str]:
    """Sections of a page by their headings."""
    found = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return {key.strip(): words.strip() for key, words in zip(found[::2], found[1::2], strict=True)}


def schedulers(folder: Path, notes: dict[str, str], key: str, page: Path) -> Iterator[str]:
    """The part on an evaluation of schedulers."""
    results = save_results(folder)
    yield from intro(folder, notes, key)
    image = picture(results, page.parent / "images" / f"{key}.png")
    if image is not None:
        yield f"![Ratios to mq-deadline]({image.relative_to(page.parent)})"
    yield "Over all workloads, as ratios to mq-deadline (95 % interval):"
    yield markdown(table.overall(results))
    if key == "schedulers":
        yield from judged(results, notes)
    for disk, workload, mixed in results.cells:
        yield f"<details><summary>{disk}, {workload}{'' if mixed else ' (nothing to gain)'}</summary>"
        yield markdown(table.by_cell(results, disk, workload))
        yield "</details>"


def judged(results: Results, notes: dict[str, str]) -> Iterator[str]:
    """Goals: ours with reasons, the others' as numbers."""
    ours = [name for name in results.goals if results.plan["contenders"][name]["scheduler"] == OURS]
    for name in ours:
        yield from told(name, results.goals[name], notes)
    others = [f"{name} ({table.counted(goals)})" for name, goals in results.goals.items() if name not in ours]
    if others:
        yield f"The same goals of the kernel's own: {'; '.join(others)}."


def read_ahead(folder: Path, notes: dict[str, str]) -> Iterator[str]:
    """The part on an evaluation of read-ahead."""
    found = readahead.save_outcomes(folder)
    yield from intro(folder, notes, "readahead")
    yield markdown(readahead.table(found.outcomes))
    yield from told(readahead.TUNED, found.goals, notes)


def cost(path: Path, notes: dict[str, str]) -> Iterator[str]:
    """The part on instructions."""
    if "cost" in notes:
        yield notes["cost"]
    rows = [
        [item["contender"], item["load"], f"{item['instructions']:.0f}", f"{item['own']:+.0f}"]
        for item in json.loads(path.read_text())
    ]
    yield markdown((["scheduler", "requests", "instructions", "of the scheduler"], rows))


def intro(folder: Path, notes: dict[str, str], key: str) -> Iterator[str]:
    """What was done, and what the notes say of it."""
    content = read_plan(folder)
    plan, host = content["plan"], content["host"]
    yield f"Kernel {host['kernel']}, {host['machine']}, {plan['repeats']} repeats."
    if key in notes:
        yield notes[key]


def told(name: str, judged: Sequence[Goal], notes: dict[str, str]) -> Iterator[str]:
    """A contender's goals, and below them why each was missed or is open."""
    headings, rows = table.goals(judged)
    shown = [goal for goal in judged if goal.met is not True or goal.name == "gain"]
    reasons = [
        "" if goal.met else notes.get(f"{goal.name}: {goal.where}", notes.get(goal.name, UNKNOWN)) for goal in shown
    ]
    distinct = list(dict.fromkeys(filter(None, reasons)))
    numbers = {reason: str(number) for number, reason in enumerate(distinct, 1)}
    yield f"Goals of {name}: {table.counted(judged)}."
    if rows:
        told_why = [[*row, numbers.get(reason, "")] for row, reason in zip(rows, reasons, strict=True)]
        yield markdown(([*headings, "why"], told_why))
    if distinct:
        yield "\n".join(f"{number}. {reason}" for reason, number in numbers.items())


def markdown(content: table.Table) -> str:
    """A table."""
    headings, rows = content
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines)


def picture(results: Results, target: Path) -> Path | None:
    """The figure as an image; None where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return None
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        page = Path(name) / "figure.html"
        plot.figure(results).write_html(page, config={"displayModeBar": False})
        words = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={name}/profile"]
        words += [
            "--hide-scrollbars",
            f"--screenshot={target}",
            f"--window-size={WINDOW}",
            "--virtual-time-budget=5000",
            page.as_uri(),
        ]
        done = subprocess.run(words, capture_output=True, timeout=120)
    return target if done.returncode == 0 and target.is_file() else None


if __name__ == "__main__":
    main()
