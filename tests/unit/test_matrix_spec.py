"""A matrix that cannot be run as it stands is told from one that can, in one sentence that names the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprof.cli.matrix import run_axes
from edgeprof.profiler.matrix.errors import WrongMatrix
from edgeprof.profiler.matrix.quantities import parse_bytes, parse_time
from edgeprof.profiler.matrix.spec import DEFAULT_REPEATS, MatrixSpec, name_of, read_spec

pytest.importorskip("yaml", reason="needs PyYAML: pip install 'edgeprof[matrix]'")

WORKLOAD = "workload: resnet18\n"
COMMAND = "command: [echo, '{word}']\n"


def read(folder: Path, text: str) -> MatrixSpec:
    path = folder / "m.yaml"
    path.write_text(text)
    return read_spec(path, run_axes())


def test_a_whole_specification_is_read(tmp_path: Path) -> None:
    spec = read(
        tmp_path,
        """
name: study-1
workload: resnet18
fixed: {size: tiny, steps: 3}
axes:
  framework: [pytorch, litert]
  memory_limit: [null, 512M]
  keras: [false, true]
constraints:
  - exclude: {framework: litert, keras: true}
  - only: {memory_limit: [default, 524288K]}
repeats: 7
seed: 4
budget: {time: 1h30m, bytes: 20G}
timeout: 90
baseline: {framework: pytorch, memory_limit: 512 M}
""",
    )
    assert (spec.name, spec.repeats, spec.seed, spec.timeout) == ("study-1", 7, 4, 90.0)
    assert (spec.time, spec.bytes) == (5400.0, 20 << 30)
    assert spec.fixed == {"workload": "resnet18", "size": "tiny", "steps": 3}
    assert {name: spec.levels_of(name) for name in spec.axes} == {
        "framework": ["pytorch", "litert"],
        "memory_limit": ["default", "512M"],
        "keras": ["false", "true"],
    }
    assert [(item.kind, item.line) for item in spec.constraints] == [("exclude", 10), ("only", 11)]
    assert spec.constraints[1].match == {"memory_limit": frozenset({"default", "512M"})}
    assert spec.baseline == {"framework": "pytorch", "memory_limit": "512M"}


def test_what_is_left_out_has_defaults(tmp_path: Path) -> None:
    spec = read(tmp_path, WORKLOAD + "axes: {batch: [1]}")
    assert (spec.name, spec.repeats, spec.time, spec.bytes) == ("m", DEFAULT_REPEATS, None, None)
    assert name_of(tmp_path / "m.yaml") == "m"


def test_a_command_has_axes_of_its_own_and_those_of_every_run(tmp_path: Path) -> None:
    spec = read(
        tmp_path, "command: [app, '--lr={lr}', '{batch}', '{data}']\naxes: {lr: [0.1], batch: [3], cpus: [1, 2]}"
    )
    assert spec.known["lr"].option is None
    assert spec.known["batch"].option is None, "a workload's option says nothing about a command: the word is meant"
    assert spec.known["cpus"].option is not None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- 1", "m.yaml:1: the matrix must be a mapping"),
        ("", "m.yaml:1: the matrix must be a mapping"),
        ("a: [", "m.yaml:1 is not YAML"),
        ("a: !!python/object:os.system {}", "is not YAML: could not determine a constructor"),
        ("1: x", "m.yaml:1: 1 is no name"),
        ("on: x", "m.yaml:1: True is no name"),
        (WORKLOAD + "workload: vit-tiny", "m.yaml:2: 'workload' stands in line 1 already"),
        (WORKLOAD + "axis: {batch: [1]}", "m.yaml:2: there is no key 'axis', did you mean 'axes'"),
        (WORKLOAD + "axes: [batch]", "m.yaml:2: `axes` must be a mapping"),
        (WORKLOAD + "axes: {}", "m.yaml:2: `axes` is empty"),
        (WORKLOAD + "axes:\n  framwork: [pytorch]", "m.yaml:3: there is no axis 'framwork', did you mean 'framework'"),
        (WORKLOAD + "axes: {output: [x]}", "there is no axis 'output'"),
        (WORKLOAD + "axes: {framework: [pytorh]}", "did you mean 'pytorch'"),
        (WORKLOAD + "axes: {batch: [0]}", "'0' is not a value of 'batch': 0 is not in the range"),
        (WORKLOAD + "axes: {batch: [[1, 2]]}", "is not one text or number"),
        (WORKLOAD + "axes: {batch: 3}", "'batch' must be a list of values"),
        (WORKLOAD + "axes: {batch: []}", "'batch' must be a list of values"),
        (WORKLOAD + "axes:\n  batch:\n    - 1\n    - 1", "m.yaml:5: 'batch' has the value 1 twice"),
        (WORKLOAD + "axes: {memory_limit: [64M, 65536K]}", "'memory_limit' has the value 65536K twice"),
        (WORKLOAD + "axes: {scheduler: [off]}", "YAML reads this as False; put it in quotes"),
        (WORKLOAD + "axes: {compile: [yess]}", "'yess' is neither true nor false"),
        (WORKLOAD + "axes: {file_system: [2020-01-01]}", "is not one text or number"),
        (WORKLOAD + "fixed: {batch: 1}\naxes: {batch: [1]}", "'batch' is fixed and an axis"),
        (WORKLOAD + "fixed: {workload: vit-tiny}\naxes: {batch: [1]}", "the workload is named twice"),
        ("axes: {workload: [resnet81]}", "did you mean 'resnet18'"),
        ("axes: {workload: [null]}", "null stands for an option that is not given"),
        ("axes: {batch: [1]}", "does not say what to run"),
        ("command: true\naxes: {cpus: [1]}", "the command must be a list of words"),
        ("command: [echo]\naxes: {batch: [1]}", "'batch' has no effect on a command of your own"),
        (COMMAND + "axes: {wort: [1]}", "there is no axis 'wort', did you mean 'word' (or name it"),
        (COMMAND + "axes: {word: [a]}\nconstraints: {exclude: 1}", "`constraints` must be a list"),
        (COMMAND + "axes: {word: [a]}\nconstraints:\n  - exlude: {word: a}", "m.yaml:4: a constraint is"),
        (COMMAND + "axes: {word: [a]}\nconstraints:\n  - exclude: {wrd: a}", "'wrd' is not an axis of this matrix"),
        (COMMAND + "axes: {word: [cold]}\nconstraints: [{only: {word: cod}}]", "(cold), did you mean 'cold'"),
        (COMMAND + "axes: {word: [aa]}\nconstraints:\n  - only: {}", "`only` names no axis"),
        (COMMAND + "axes: {word: [a]}\nbaseline: {word: b}", "'b' is none of the levels of 'word' (a)"),
        (COMMAND + "axes: {word: [a]}\nbudget: {money: 3}", "a budget has `time` and `bytes`, not 'money'"),
        (COMMAND + "axes: {word: [a]}\nbudget: {time: forever}", "'forever' is not a time"),
        (COMMAND + "axes: {word: [a]}\nbudget: {bytes: much}", "'much' is not a size"),
        (COMMAND + "axes: {word: [a]}\nrepeats: 0", "'repeats' must be a whole number from 1"),
        (COMMAND + "axes: {word: [a]}\nrepeats: true", "'repeats' must be a whole number from 1"),
        (COMMAND + "axes: {word: [a]}\ntimeout: 0", "0 is not a time"),
        (COMMAND + "name: a/b\naxes: {word: [a]}", "'a/b' is no name for a matrix"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(WrongMatrix) as caught:
        read(tmp_path, text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(WrongMatrix, match="cannot read"):
            read_spec(path, run_axes())
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(WrongMatrix, match="UTF-8"):
        read_spec(tmp_path / "bytes", run_axes())
    (tmp_path / "large").write_text("#" * (1 << 21))
    with pytest.raises(WrongMatrix, match="1 MiB"):
        read_spec(tmp_path / "large", run_axes())


def test_aliases_that_would_fill_the_memory_do_not(tmp_path: Path) -> None:
    lines = [
        "a: &a [x, x]",
        *(f"{'b' * n}: &{'b' * n} [{','.join(['*' + ('b' * (n - 1) or 'a')] * 9)}]" for n in range(1, 40)),
    ]
    with pytest.raises(WrongMatrix, match="there is no key 'a'"):
        read(tmp_path, "\n".join(lines))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("2h", 7200), ("1h30m", 5400), ("90s", 90), ("1.5m", 90), (90, 90), ("1d", 86400), ("10 min", 600)],
)
def test_times(value: object, seconds: float) -> None:
    assert parse_time(value) == seconds


@pytest.mark.parametrize("value", ["", "h", "-3", 0, -1, True, None, [1], "1x", "1h2h", float("nan"), float("inf")])
def test_what_is_no_time(value: object) -> None:
    assert parse_time(value) is None


def test_sizes() -> None:
    assert [parse_bytes(value) for value in ("20G", "1.5 MiB", "3", 7, "2kb")] == [20 << 30, 3 << 19, 3, 7, 2048]
    assert [parse_bytes(value) for value in ("", "G", "-1", True, None, 0)] == [None] * 6
