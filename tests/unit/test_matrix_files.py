"""The matrices that come with edgeprof can be planned, and the commands of the CI workflows exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from edgeprof.cli.main import cli
from edgeprof.cli.matrix import refusal, run_axes
from edgeprof.profiler.matrix.plan import Plan, make_plan
from edgeprof.profiler.matrix.spec import read_spec
from edgeprof.workloads.frameworks import FRAMEWORK
from tests.source_tree import ROOT

yaml = pytest.importorskip("yaml", reason="needs PyYAML: pip install 'edgeprof[matrix]'")

MATRICES = sorted((ROOT / "benchmarks" / "matrix").glob("*.yaml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PAGE = ROOT / "docs" / "matrix.md"

EXPECTED = re.compile(r"excluded in line \d+|\w+ cannot (train|infer with) \S+ here.*|.* is not installed here.*")
"""Reasons to leave a cell out that a matrix of ours may have."""


def planned(path: Path) -> Plan:
    return make_plan(read_spec(path, run_axes()), refusal)


def test_there_are_the_matrices_that_the_page_names() -> None:
    named = re.findall(r"`benchmarks/matrix/(\w+)\.yaml`", PAGE.read_text())
    assert len(MATRICES) >= 4
    assert [path.stem for path in MATRICES] == sorted(set(named))


@pytest.mark.parametrize("path", MATRICES, ids=lambda path: path.stem)
def test_a_matrix_can_be_planned_and_leaves_out_only_what_it_must(path: Path) -> None:
    plan = planned(path)
    assert plan.spec.name == path.stem
    assert plan.spec.time is not None
    assert plan.spec.bytes is not None
    assert {item.reason for item in plan.left_out if not EXPECTED.fullmatch(item.reason)} == set()
    assert set(plan.spec.baseline) <= set(plan.spec.axes)


def test_the_smoke_matrix_has_every_part() -> None:
    plan = planned(next(path for path in MATRICES if path.stem == "smoke"))
    if len(plan.cells) < 24:
        pytest.skip(f"a framework is missing: pip install 'edgeprof[{','.join(f.extra for f in FRAMEWORK.values())}]'")
    assert {name: len(values) for name, values in plan.spec.axes.items()} == {
        "framework": 2,
        "format": 2,
        "cache": 2,
        "isolation": 3,
    }


def commands(text: str, variables: dict[str, str]) -> Iterator[list[str]]:
    """The words after each ``edgeprof`` of a shell script, up to what ends a command."""
    for line in text.replace("\\\n", " ").splitlines():
        for name, value in variables.items():
            line = line.replace(f'"${name}"', shlex.quote(value))
        try:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&`")
            lexer.whitespace_split = True
            words = list(lexer)
        except ValueError:  # a quote that goes on in the next line
            continue
        for at, word in enumerate(words):
            if word.rpartition("/")[2] == "edgeprof" and at + 1 < len(words):
                rest = words[at + 1 :]
                end = next((n for n, item in enumerate(rest) if set(item) <= set("|&;<>()`")), len(rest))
                yield rest[:end]


def parse(words: list[str]) -> None:
    """Let click read a call of edgeprof.  Raises what click raises."""
    command: click.Command | None = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        name, words = words[0], words[1:]
        command = command.get_command(context, name)
        assert command is not None, f"there is no command {name!r}"
    assert command is not None
    with command.make_context(command.name or "", list(words)):
        pass


def steps_of(workflow: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            yield step, {**(job.get("env") or {}), **(step.get("env") or {})}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_whole(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["name"] == path.stem
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow[True], "YAML reads `on` as a boolean: GitHub does not"
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90
    for step, _ in steps_of(workflow):
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z/-]+@v\d+\.\d+\.\d+", step["uses"]), "pinned to one version"


def test_the_benchmark_runs_on_both_architectures_and_can_fail() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/benchmark.yml").read_text())
    job = workflow["jobs"]["matrix"]
    assert job["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
    script = "\n".join(step.get("run", "") for step, _ in steps_of(workflow))
    assert "matrix run benchmarks/matrix/ci.yaml" in script
    assert '--fail-on "$FAIL_ON"' in script
    assert "$GITHUB_STEP_SUMMARY" in script


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_commands_of_a_workflow_exist(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    found = [words for step, env in steps_of(workflow) for words in commands(step.get("run", ""), env)]
    assert found or path.stem == "ci"
    for words in found:
        parse(words)


def test_the_commands_of_the_page_exist() -> None:
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    found = [words for block in blocks for words in commands(block, {})]
    assert len(found) >= 8
    for words in found:
        parse([word for word in words if word != "..."])


def test_a_command_that_does_not_exist_is_found() -> None:
    script = "sudo .venv/bin/edgeprof matrix run x.yaml --max-tim 1h || true\necho `edgeprof runz`"
    (first, second) = commands(script, {})
    assert first == ["matrix", "run", "x.yaml", "--max-tim", "1h"]
    with pytest.raises(click.NoSuchOption):
        parse(first)
    with pytest.raises(AssertionError, match="no command 'runz"):
        parse(second)
