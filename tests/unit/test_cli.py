"""The command line: what it prints, its exit codes, and that it loads only what is asked for."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from edgeprof.cli import main as cli
from edgeprof.cli.output import plain, print_json
from edgeprof.collectors.base import Roots
from edgeprof.profiler.agent import doctor
from edgeprof.profiler.errors import EdgeprofError
from tests import tiny_run
from tests.source_tree import ROOT
from tests.unit.test_metrics import EXPECTED

FIRST, SECOND, BROKEN = "20261121T120000Z-tiny-abc123", "20261121T130000Z-tiny-def456", "20261121T140000Z-x-999999"


class Said(NamedTuple):
    """What a call of edgeprof gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON that follows the standard (no NaN)."""
        return json.loads(self.out, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))


Call = Callable[..., Said]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two good runs and a damaged one."""
    folder: Path = tmp_path_factory.mktemp("runs")
    tiny_run.write(folder / FIRST)
    tiny_run.write(folder / SECOND, without=("power",), run={"wall_time": 12.0}, host={"kernel": "6.12"})
    (folder / BROKEN).mkdir()
    (folder / BROKEN / "manifest.json").write_text("{")
    return folder


@pytest.fixture
def edgeprof(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls edgeprof in this process, with the folder of runs as the default."""
    monkeypatch.setenv("EDGEPROF_RUNS", str(runs))
    monkeypatch.delenv("EDGEPROF_DEBUG", raising=False)

    def call(*args: str) -> Said:
        code = cli.main(args)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


class TestMain:
    def test_help_lists_every_command_in_order_and_loads_none(self, tmp_path: Path) -> None:
        code = (
            "import sys; from edgeprof.cli.main import main; main(['--help']);"
            "print(*[name for name in sys.modules if name.startswith('edgeprof.cli.') or name in"
            " ('rich', 'numpy', 'pyarrow', 'duckdb', 'plotly', 'pandas', 'asyncio')])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
        listed = re.findall(r"^  (\w+)  ", done.stdout.split("Commands:")[1], re.MULTILINE)
        assert listed == list(cli.COMMANDS)
        assert done.stdout.splitlines()[-1] == "edgeprof.cli.main"

    @pytest.mark.parametrize("name", list(cli.COMMANDS))
    def test_each_command_has_help(self, edgeprof: Call, name: str) -> None:
        said = edgeprof(name, "--help")
        assert said.code == 0
        assert said.out.startswith(f"Usage: edgeprof {name}")

    def test_without_a_command_it_prints_its_help(self, edgeprof: Call) -> None:
        assert edgeprof() == edgeprof("--help")

    @pytest.mark.parametrize("group", [["kml"], ["matrix"], ["data"], ["dataset"], ["dataset", "build"]])
    def test_a_group_without_a_command_prints_its_help(self, edgeprof: Call, group: list[str]) -> None:
        said = edgeprof(*group)
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith(f"Usage: edgeprof {' '.join(group)} ")
        assert "\nCommands:\n" in said.out

    def test_version(self, edgeprof: Call) -> None:
        from edgeprof import __version__

        assert edgeprof("--version") == Said(0, f"edgeprof {__version__}\n", "")

    @pytest.mark.parametrize(
        ("args", "sentence"),
        [
            (["sho"], "there is no command 'sho', did you mean 'show'"),
            (["qwertz"], "there is no command 'qwertz'; `edgeprof --help`"),
            (["--nonsense"], "no such option '--nonsense'"),
            (["show"], "missing argument 'RUN'; `edgeprof show --help`"),
            (["runs", "--foldr", "x"], "did you mean '--folder'"),
            (["compare", "abc"], "at least two runs"),
            (["query", "select 1", "--json", "--csv"], "choose --json or --csv"),
            (["export", "abc"], "missing option '--format'"),
        ],
    )
    def test_a_wrong_call_is_one_sentence_and_120(self, edgeprof: Call, args: list[str], sentence: str) -> None:
        said = edgeprof(*args)
        assert (said.code, said.out) == (120, "")
        assert said.err.startswith("edgeprof: ")
        assert said.err.count("\n") == 1
        assert sentence in said.err

    def test_an_expected_failure_is_one_sentence_with_its_own_code(
        self, edgeprof: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failure = EdgeprofError("the disk\nis full")
        failure.exit_code = 122
        monkeypatch.setattr("edgeprof.cli.runs.list_runs", raiser(failure))
        assert edgeprof("runs") == Said(122, "", "edgeprof: the disk is full\n")

    def test_a_bug_is_one_sentence_and_125(self, edgeprof: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edgeprof.cli.runs.list_runs", raiser(KeyError("x")))
        said = edgeprof("runs")
        assert said.code == 125
        assert said.err.count("\n") == 1
        assert "KeyError" in said.err
        assert "--debug" in said.err

    def test_debug_shows_the_traceback_of_a_bug(self, edgeprof: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edgeprof.cli.runs.list_runs", raiser(KeyError("x")))
        with pytest.raises(KeyError):
            edgeprof("--debug", "runs")
        monkeypatch.setenv("EDGEPROF_DEBUG", "1")
        with pytest.raises(KeyError):
            edgeprof("runs")

    def test_debug_after_the_command_is_the_commands_own(self, edgeprof: Call) -> None:
        assert edgeprof("runs", "--debug").code == 120

    def test_interrupted_is_130(self, edgeprof: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edgeprof.cli.runs.list_runs", raiser(KeyboardInterrupt()))
        assert edgeprof("runs").code == 130

    def test_a_commands_own_exit_code_passes(self, edgeprof: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edgeprof.cli.runs.list_runs", raiser(click.exceptions.Exit(42)))
        assert edgeprof("runs").code == 42

    def test_a_closed_pipe_is_no_error(self, runs: Path) -> None:
        sql = "select range as a from range(300000)"
        with subprocess.Popen(
            [sys.executable, "-m", "edgeprof.cli.main", "query", sql, "--csv", "--folder", str(runs)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"a\n"
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 141

    def test_the_page_names_every_command_and_exit_code(self) -> None:
        page = (ROOT / "docs/cli.md").read_text()
        assert re.findall(r"^\| `edgeprof (\w+)", page, re.MULTILINE) == list(cli.COMMANDS)
        codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
        assert {cli.USAGE_ERROR, cli.BUG, cli.INTERRUPTED, cli.BROKEN_PIPE} <= codes


def raiser(error: BaseException) -> Callable[..., Any]:
    """A function that raises."""

    def function(*_: object, **__: object) -> None:
        raise error

    return function


class TestRuns:
    def test_table(self, edgeprof: Call) -> None:
        said = edgeprof("runs")
        assert said.code == 0
        lines = said.out.splitlines()
        first = next(line for line in lines if "abc123" in line)
        for text in ("tiny", "exit 0", "10 s", "4 samples/s", "25 %", "8.19 kB", "450 MB", "0.5 %", "input"):
            assert text in first
        assert "damaged" in next(line for line in lines if "999999" in line)
        assert any("cannot be read" in line for line in lines)

    def test_json(self, edgeprof: Call, runs: Path) -> None:
        content = edgeprof("runs", "--json").json
        assert content["folder"] == str(runs)
        assert [(run["id"], run["state"]) for run in content["runs"]] == [
            (FIRST, "finished"),
            (SECOND, "finished"),
            (BROKEN, "damaged"),
        ]
        assert content["runs"][0]["metrics"]["throughput"]["value"] == 4.0

    def test_no_runs(self, edgeprof: Call, tmp_path: Path) -> None:
        said = edgeprof("runs", str(tmp_path))
        assert said.code == 0
        assert "no runs in" in said.out
        assert edgeprof("runs", "--folder", str(tmp_path), "--json").json["runs"] == []

    def test_damaged_metrics_hide_no_run(self, edgeprof: Call, tmp_path: Path) -> None:
        tiny_run.write(tmp_path / FIRST)
        (tmp_path / FIRST / "metrics.parquet").write_bytes(b"PAR1 no more")
        assert "abc123" in edgeprof("runs", str(tmp_path)).out


class TestShow:
    def test_json_has_the_fixed_shape(self, edgeprof: Call) -> None:
        content = edgeprof("show", "abc123", "--json").json
        parts = ["run", "factors", "metrics", "phases", "collectors", "overhead", "verdict", "roles", "marks"]
        assert list(content) == parts
        assert {name: item["value"] for name, item in content["metrics"].items()} == pytest.approx(EXPECTED)
        assert all(set(item) == {"value", "unit", "reason"} for item in content["metrics"].values())
        assert [phase["name"] for phase in content["phases"]] == ["load", "forward"]
        assert content["phases"][0]["metrics"]["wall_time"] == {
            "value": pytest.approx(2.0),
            "unit": "s",
            "reason": None,
        }
        assert set(content["verdict"]) == {"bound_by", "confidence", "evidence", "advice"}

    def test_for_a_person(self, edgeprof: Call) -> None:
        out = edgeprof("show", "abc").out
        for text in (
            "Bound by input",
            "25% of its step time",
            "throughput",
            "4 samples/s",
            "450 MB",
            "load",
            "forward",
        ):
            assert text in out
        assert "gpu: no NVIDIA driver was found (to get it: install it)" in out
        assert "80 ms of CPU time" in out
        assert "\x1b" not in out

    def test_of_a_virtual_machine_it_tells_what_happened_inside(self, edgeprof: Call, tmp_path: Path) -> None:
        tiny_run.write(tmp_path / FIRST, run={"name": "qemu", "wall_time": 60.0})
        tiny_run.write(tmp_path / FIRST / "guest", run={"name": "the-workload"})
        out = edgeprof("show", str(tmp_path / FIRST)).out
        assert out.split()[:1] == ["the-workload"]
        (row,) = edgeprof("runs", str(tmp_path), "--json").json["runs"]
        assert row["metrics"]["wall_time"]["value"] == 10.0

    def test_missing_metrics_are_named_with_their_reason(self, edgeprof: Call) -> None:
        assert (
            "energy, energy_net, energy_per_sample: the collector power captured nothing for it"
            in edgeprof("show", "def").out
        )

    def test_a_run_without_tables_says_how_to_get_them(self, edgeprof: Call, tmp_path: Path) -> None:
        tiny_run.write(tmp_path / FIRST, without=tuple(tiny_run.TABLES), metrics=False)
        said = edgeprof("show", str(tmp_path / FIRST))
        assert said.code == 0
        assert "edgeprof ingest" in said.out

    def test_text_of_the_run_cannot_steer_the_terminal(self, edgeprof: Call, tmp_path: Path) -> None:
        evil = "\x1b]0;title\x07[red]x[/red]"
        tiny_run.write(tmp_path / FIRST, run={"name": evil, "command": ["sh", "-c", evil]}, notes=[evil])
        for command in ("show", "runs"):
            out = edgeprof(command, str(tmp_path / FIRST if command == "show" else tmp_path)).out
            assert "\x1b" not in out
            assert "\\x1b]0;title\\x07[red]x[/red]" in out

    @pytest.mark.parametrize(
        ("text", "part"), [("nope", "no run 'nope'"), ("2026", "names several runs"), ("999999", "cannot be read")]
    )
    def test_a_run_that_cannot_be_shown(self, edgeprof: Call, text: str, part: str) -> None:
        said = edgeprof("show", text)
        assert (said.code, said.out) == (120, "")
        assert part in said.err
        assert said.err.count("\n") == 1

    def test_damaged_metrics_are_one_sentence(self, edgeprof: Call, tmp_path: Path) -> None:
        path = tiny_run.write(tmp_path / FIRST)
        (path / "metrics.parquet").write_bytes(b"PAR1 no more")
        for args in (("show", str(path)), ("compare", str(path), "abc")):
            said = edgeprof(*args)
            assert (said.code, said.err.count("\n")) == (120, 1)
            assert "edgeprof ingest --force" in said.err


class TestCompare:
    def test_json(self, edgeprof: Call) -> None:
        content = edgeprof("compare", "abc", "def", "--json").json
        wall = next(row for row in content["metrics"] if row["name"] == "wall_time")
        assert wall["differences"] == [2.0]
        assert wall["relative"] == [pytest.approx(0.2)]
        assert content["host"] == [{"name": "kernel", "values": ["6.1", "6.12"]}]

    def test_for_a_person(self, edgeprof: Call) -> None:
        out = edgeprof("compare", "abc", "def").out
        row = next(line.split() for line in out.splitlines() if line.strip().startswith("wall_time"))
        assert row == ["wall_time", "10", "s", "12", "s", "+2", "s", "+20.0%"]
        assert "says nothing on significance" in out
        assert "Factors that differ: none" in out

    def test_runs_that_share_a_short_id_are_told_apart(self, edgeprof: Call, tmp_path: Path) -> None:
        runs = [tiny_run.write(tmp_path / name) for name in ("20261121T120000Z-before-1", "20261121T120000Z-after-1")]
        out = edgeprof("compare", *map(str, runs)).out
        assert [line.partition(":")[0] for line in out.splitlines()[:2]] == [run.name for run in runs]

    def test_more_than_two(self, edgeprof: Call) -> None:
        content = edgeprof("compare", "abc", "def", "abc", "--json").json
        wall = next(row for row in content["metrics"] if row["name"] == "wall_time")
        assert wall["differences"] == [2.0, 0.0]


class TestQuery:
    def test_table(self, edgeprof: Call) -> None:
        out = edgeprof("query", "select run_id, count(*) as steps from steps group by all order by all").out
        assert re.search(rf"{FIRST} +4\b", out)

    def test_json(self, edgeprof: Call) -> None:
        rows = edgeprof("query", "select 1 as a, null as b, 'nan'::double as c", "--json").json
        assert rows == [{"a": 1, "b": None, "c": None}]

    def test_csv(self, edgeprof: Call) -> None:
        out = edgeprof("query", """select 'a "b", c' as text, 2 as n""", "--csv").out
        assert list(csv.reader(io.StringIO(out))) == [["text", "n"], ['a "b", c', "2"]]

    def test_only_the_runs_named(self, edgeprof: Call) -> None:
        assert edgeprof("query", "select distinct run_id from steps", "--run", "def", "--json").json == [
            {"run_id": SECOND}
        ]

    def test_many_rows_are_cut_on_the_terminal_only(self, edgeprof: Call) -> None:
        assert "800 more rows" in edgeprof("query", "from range(1000)").out
        assert len(edgeprof("query", "from range(1000)", "--json").json) == 1000

    def test_wide_rows_are_printed_as_records(self, edgeprof: Call) -> None:
        columns = ", ".join(f"'{'x' * 40}' as column_{number}" for number in range(40))
        assert re.search(r"^row 1\n  column_0 +x{40}$", edgeprof("query", f"select {columns}").out, re.MULTILINE)

    def test_a_mistake_is_one_sentence(self, edgeprof: Call) -> None:
        said = edgeprof("query", "select *\nfrom nowhere")
        assert said.code == 120
        assert "nowhere" in said.err
        assert said.err.count("\n") == 1

    def test_no_runs(self, edgeprof: Call, tmp_path: Path) -> None:
        said = edgeprof("query", "select 1", "--folder", str(tmp_path))
        assert said.code == 120
        assert "no run that can be read" in said.err


class TestIngest:
    def test_tables_that_are_there_are_kept_without_force(self, edgeprof: Call, runs: Path) -> None:
        before = (runs / FIRST / "metrics.parquet").stat().st_mtime_ns
        said = edgeprof("ingest", "abc123", "--json")
        assert "--force" in said.err
        assert said.json["metrics"]["throughput"]["value"] == 4.0
        assert (runs / FIRST / "metrics.parquet").stat().st_mtime_ns == before


class TestDoctor:
    def test_json_says_of_each_collector_whether_it_works_and_why_not(self, edgeprof: Call) -> None:
        from edgeprof.collectors.registry import NAMES

        content = edgeprof("doctor", "--json").json
        assert [item["name"] for item in content["collectors"]] == list(NAMES)
        assert all(item["available"] or item["reason"] for item in content["collectors"])
        assert not [item for item in content["collectors"] if "probe failed" in item["reason"]]
        assert {"kernel", "user", "cgroups", "tracefs", "perf"} <= {item["name"] for item in content["machine"]}

    def test_for_a_person(self, edgeprof: Call) -> None:
        said = edgeprof("doctor")
        assert said.code == 0
        assert "procfs" in said.out
        assert os.uname().release in said.out

    def test_a_machine_that_has_nothing_is_examined_too(self, tmp_path: Path) -> None:
        for name in ("proc", "sys", "dev"):
            (tmp_path / name).mkdir()
        roots = Roots(*(str(tmp_path / name) for name in ("proc", "sys", "dev")))
        found = doctor.examine(str(tmp_path / "runs"), roots)
        facts = {check.name: check for check in found.machine}
        assert facts["perf events"].good is False
        assert facts["pressure"].remedy
        assert "cannot be told" in facts["cgroups"].value
        assert facts["lockdown"].good is None
        assert len(found.collectors) > 5

    def test_lockdown_is_told_by_its_mode(self, tmp_path: Path) -> None:
        security = tmp_path / "sys" / "kernel" / "security"
        security.mkdir(parents=True)
        (tmp_path / "proc").mkdir()
        roots = Roots(str(tmp_path / "proc"), str(tmp_path / "sys"), "/dev")
        for text, good in (("[none] integrity confidentiality", True), ("none integrity [confidentiality]", False)):
            (security / "lockdown").write_text(text + "\n")
            facts = {check.name: check for check in doctor.examine(str(tmp_path), roots).machine}
            assert facts["lockdown"].good is good


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": Path("x")})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": "x"}


def test_plain_text_keeps_what_is_readable() -> None:
    assert plain("°C 12\u202f345 é 漢") == "°C 12\u202f345 é 漢"
    assert plain("a\tb\x1b[1m\u202e") == "a\\tb\\x1b[1m\\u202e"
