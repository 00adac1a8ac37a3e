"""Figures of runs as OpenMetrics: what Prometheus' own parser and linter read back."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from edgeprof import open_run
from edgeprof.cli.main import cli
from edgeprof.dashboards.app.rows import READING, Row, joined, read_row, table_of
from edgeprof.dashboards.export import export
from edgeprof.dashboards.export.openmetrics import INFO, LABELS, Families, scrape, write_folder
from edgeprof.profiler.analysis.registry import METRICS
from edgeprof.profiler.dataset import run_directories
from edgeprof.profiler.errors import NoRuns
from edgeprof.profiler.files import CannotWrite
from tests.source_tree import ROOT
from tests.synthetic_run import Shape, write_run
from tests.unit.test_report_build import HOSTILE, hostile_run

pytest.importorskip("prometheus_client", reason="needs prometheus-client: pip install 'edgeprof[dashboard]'")
from prometheus_client.openmetrics.parser import text_string_to_metric_families

SMALL = Shape(seconds=5, steps=20, requests=30)
PROMTOOL = os.environ.get("EDGEPROF_PROMTOOL") or shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    not PROMTOOL, reason="needs promtool, of Prometheus (Debian: prometheus), in the PATH or in EDGEPROF_PROMTOOL"
)
Sample = tuple[str, dict[str, str], float, Any]


def make(folder: Path, name: str, end: int = 1_000, **changes: Any) -> Path:
    """A run of a workload that ended ``end`` seconds after the epoch."""
    at = datetime.fromtimestamp(end, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    manifest = {"run": {"name": name, "started": at, "ended": at} | changes.pop("run", {}), **changes}
    return write_run(folder / f"{end:08d}-{name}", SMALL, only=("steps",), manifest=manifest)


def table(folder: Path) -> pa.Table:
    """What the dashboard's index has of a folder."""
    return table_of([read_row(path.name, path) for path in run_directories(folder)])


def samples(text: str) -> list[Sample]:
    """What the reference parser reads; it raises where the text breaks the format."""
    families = list(text_string_to_metric_families(text))
    return [(item.name, item.labels, item.value, item.timestamp) for family in families for item in family.samples]


def values(text: str, name: str, label: str = "name") -> dict[str, float]:
    return {labels[label]: value for found, labels, value, _ in samples(text) if found == name}


def promtool(*words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *words], input=text, capture_output=True, text=True, timeout=60)


def test_a_runs_metrics_are_gauges_with_their_units(tmp_path: Path) -> None:
    run = open_run(make(tmp_path, "train"))
    text = export(run, "openmetrics", tmp_path / "run.txt").read_text("utf-8")
    found = {name: value for name, _, value, _ in samples(text)}
    metrics = {name: entry["value"] for name, entry in run.metrics.items()}
    assert found["edgeprof_wall_time_seconds"] == metrics["wall_time"]
    assert found["edgeprof_storage_read_bytes"] == metrics["storage_read_bytes"]
    assert found["edgeprof_throughput_samples_per_second"] == metrics["throughput"]
    assert found["edgeprof_data_stall_ratio"] == metrics["data_stall"]
    assert found["edgeprof_energy_per_sample_joules"] == metrics["energy_per_sample"]
    assert found["edgeprof_run_end_timestamp_seconds"] == 1000.0
    assert found["edgeprof_run_exit_code"] == 0


def test_what_was_not_measured_has_no_sample_and_is_counted(tmp_path: Path) -> None:
    run = open_run(make(tmp_path, "train"))
    found = {name: value for name, _, value, _ in samples(export(run, "openmetrics", tmp_path / "run.txt").read_text())}
    assert "edgeprof_page_cache_hit_ratio" not in found
    assert found["edgeprof_run_metrics_missing"] == len(METRICS) - len([name for name in found if "_run_" not in name])


def test_every_metric_of_the_registry_can_be_exposed() -> None:
    names = {family.name for family in Families([], {}).collect()}
    assert len(names) == len(METRICS) + 4
    for metric in METRICS:
        assert any(name.startswith(f"edgeprof_{metric.name}") for name in names)


def test_a_series_is_what_runs_where_and_shows_its_newest_run(tmp_path: Path) -> None:
    make(tmp_path, "train", 2_000, run={"name": "train", "exit_code": 3})
    make(tmp_path, "train", 1_000)
    make(tmp_path, "infer", 500)
    make(tmp_path, "train", 700, host={"hostname": "other"})
    text = write_folder(tmp_path, tmp_path / "all.txt").read_text()
    codes = {
        (labels["name"], labels["host"]): value for n, labels, value, _ in samples(text) if n.endswith("exit_code")
    }
    assert codes == {("train", "orin-7"): 3, ("train", "other"): 0, ("infer", "orin-7"): 0}
    assert values(text, "edgeprof_runs", "state") == {"finished": 4}
    ids = {labels["run"] for n, labels, _, _ in samples(text) if n == "edgeprof_run_info"}
    assert len(ids) == 3
    assert not [stamp for *_, stamp in samples(text) if stamp is not None]


def test_repeats_of_a_cell_are_one_series(tmp_path: Path) -> None:
    for repeat in (1, 2):
        matrix = {"name": "study", "cell": "c0ffee", "repeat": str(repeat)}
        make(tmp_path, f"c0ffee-{repeat}", 1000 + repeat, factors={"matrix": matrix})
    text = write_folder(tmp_path, tmp_path / "all.txt").read_text()
    assert values(text, "edgeprof_run_end_timestamp_seconds") == {"c0ffee": 1002}


def test_history_has_every_run_at_its_end(tmp_path: Path) -> None:
    for end in (3000, 1000, 2000):
        make(tmp_path, "train", end)
    make(tmp_path, "cut-off", 10, run={"ended": None})
    text = write_folder(tmp_path, tmp_path / "all.txt", history=True).read_text()
    assert "cut-off" not in text
    times = [float(stamp) for name, _, _, stamp in samples(text) if name == "edgeprof_wall_time_seconds"]
    assert times == [1000, 2000, 3000]  # the format wants a series' points in order


def test_two_runs_that_ended_at_once_are_one_point(tmp_path: Path) -> None:
    make(tmp_path / "a", "train")
    shutil.move(make(tmp_path / "b", "train"), tmp_path / "a" / "twin")
    text = write_folder(tmp_path / "a", tmp_path / "all.txt", history=True).read_text()
    assert len([name for name, *_ in samples(text) if name == "edgeprof_wall_time_seconds"]) == 1


def test_hostile_text_stays_inside_its_label(tmp_path: Path) -> None:
    run = open_run(hostile_run(tmp_path / "run"))
    text = export(run, "openmetrics", tmp_path / "run.txt").read_text("utf-8")
    info = [labels for name, labels, _, _ in samples(text) if name == "edgeprof_run_info"]
    assert len(info) == 1
    assert set(info[0]) == {*LABELS, *INFO}
    assert "<script>" in info[0]["host"]
    assert not re.search("[\x00-\x08\x0b-\x1f]", text)
    assert HOSTILE.split("\n")[0][:10] in info[0]["name"]


@pytest.mark.parametrize("value", ["100", 100])
def test_a_factor_named_like_a_metric_takes_nothings_place(tmp_path: Path, value: Any) -> None:
    make(tmp_path, "other")
    run = open_run(make(tmp_path, "train", factors={"throughput": value}))
    measured = run.metrics["throughput"]["value"]
    assert measured not in (None, 100)
    for path in (write_folder(tmp_path, tmp_path / "all.txt"), export(run, "openmetrics", tmp_path / "run.txt")):
        assert values(path.read_text(), "edgeprof_throughput_samples_per_second")["train"] == measured
    assert set(values((tmp_path / "all.txt").read_text(), "edgeprof_throughput_samples_per_second")) == {
        "other",
        "train",
    }


def odd_names(folder: Path) -> None:
    path = make(folder, "odd") / "manifest.json"
    manifest = json.loads(path.read_text()) | {"factors": {"\ud800": 1, "": 2, "a\0b": 3}}
    path.write_text(json.dumps(manifest))


def text_for_numbers(folder: Path) -> None:
    path = make(folder, "text") / "metrics.parquet"
    metrics = pq.read_table(path)
    text = pa.array(["much"] * metrics.num_rows)
    pq.write_table(metrics.set_column(metrics.column_names.index("value"), "value", text), path)


@pytest.mark.parametrize("spoil", [odd_names, text_for_numbers])
def test_an_odd_run_keeps_no_other_back(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    make(tmp_path, "train")
    spoil(tmp_path)
    text = write_folder(tmp_path, tmp_path / "all.txt").read_text()
    assert "train" in values(text, "edgeprof_throughput_samples_per_second")


def damaged_metrics(folder: Path) -> None:
    (make(folder, "damaged") / "metrics.parquet").write_bytes(b"PAR1")


def without_metrics(folder: Path) -> None:
    (make(folder, "bare") / "metrics.parquet").unlink()


def damaged_manifest(folder: Path) -> None:
    (make(folder, "broken") / "manifest.json").write_text('{"schema": 1,')


def newer(folder: Path) -> None:
    (make(folder, "newer") / "manifest.json").write_text('{"schema": 99}')


def still_captured(folder: Path) -> None:
    (folder / "now" / "raw").mkdir(parents=True)


@pytest.mark.parametrize(
    ("spoil", "state"),
    [
        (damaged_metrics, "without metrics"),
        (without_metrics, "without metrics"),
        (damaged_manifest, "damaged"),
        (newer, "newer"),
        (still_captured, "not ingested"),
    ],
)
def test_a_run_that_cannot_be_read_is_counted(tmp_path: Path, spoil: Callable[[Path], None], state: str) -> None:
    make(tmp_path, "train")
    spoil(tmp_path)
    text = write_folder(tmp_path, tmp_path / "all.txt").read_text()
    assert values(text, "edgeprof_runs", "state") == {"finished": 1, state: 1}
    assert set(values(text, "edgeprof_wall_time_seconds")) == {"train"}


def test_a_value_that_is_no_number_is_missing(tmp_path: Path) -> None:
    folder = make(tmp_path, "train")
    metrics = pq.read_table(folder / "metrics.parquet")
    spoilt = [math.nan if name == "data_stall" else 1.0 for name in metrics["name"].to_pylist()]
    column = metrics.column_names.index("value")
    pq.write_table(metrics.set_column(column, "value", pa.array(spoilt)), folder / "metrics.parquet")
    text = export(open_run(folder), "openmetrics", tmp_path / "run.txt").read_text()
    assert values(text, "edgeprof_data_stall_ratio") == {}
    assert values(text, "edgeprof_cpu_time_seconds") == {"train": 1.0}


def test_an_empty_folder_and_a_place_that_cannot_be_written_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(NoRuns):
        write_folder(tmp_path, tmp_path / "all.txt")
    make(tmp_path, "train")
    with pytest.raises(CannotWrite):
        write_folder(tmp_path, tmp_path / "none" / "all.txt")


def test_a_scrape_gives_what_the_request_accepts(tmp_path: Path) -> None:
    make(tmp_path, "train")
    kind, text = scrape(table(tmp_path), "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert text.decode() == write_folder(tmp_path, tmp_path / "all.txt").read_text()
    plain, text = scrape(table(tmp_path), "*/*")
    assert plain.startswith("text/plain; version=0.0.4")
    assert b"edgeprof_wall_time_seconds{" in text


def test_a_scrape_of_an_empty_folder_is_empty(tmp_path: Path) -> None:
    assert samples(scrape(table(tmp_path / "none"), "application/openmetrics-text")[1].decode()) == []


def test_a_scrape_counts_what_the_index_has_not_read_yet(tmp_path: Path) -> None:
    make(tmp_path, "train")
    unread = Row({"id": "x", "name": "x", "state": READING}, {})
    both = joined([table(tmp_path), table_of([unread])])
    text = scrape(both, "application/openmetrics-text")[1].decode()
    assert values(text, "edgeprof_runs", "state") == {"finished": 1, "reading": 1}
    assert set(values(text, "edgeprof_wall_time_seconds")) == {"train"}


def test_more_series_than_a_scrape_can_take_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprof.dashboards.export.openmetrics.MOST_SERIES", 2)
    for end, name in enumerate(("a", "b", "a", "c"), start=1000):
        make(tmp_path, name, end)
    text = scrape(table(tmp_path), "application/openmetrics-text")[1].decode()
    assert values(text, "edgeprof_run_end_timestamp_seconds") == {"a": 1002, "c": 1003}
    assert ("edgeprof_series_left_out", {}, 1, None) in samples(text)
    assert values(text, "edgeprof_runs", "state") == {"finished": 4}


def edgeprof(*words: object) -> Any:
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=True)


def test_the_command_takes_a_run_a_folder_and_a_matrix(tmp_path: Path) -> None:
    run = make(tmp_path / "runs", "train")
    (tmp_path / "state.jsonl").write_text("")
    for source in (run, tmp_path / "runs", tmp_path):
        target = tmp_path / f"{source.name}.txt"
        done = edgeprof("export", source, "--format", "openmetrics", "-o", target)
        assert done.exit_code == 0, done.output
        assert set(values(target.read_text(), "edgeprof_wall_time_seconds")) == {"train"}
    done = edgeprof("export", tmp_path / "runs", "--format", "openmetrics", "--history", "--json")
    assert json.loads(done.output)["path"] == str(tmp_path / "runs" / "openmetrics.txt")
    refused = edgeprof("export", run, "--format", "openmetrics", "--history")
    assert "--history is for openmetrics of a folder" in str(refused.output)


def test_a_run_in_a_virtual_machine_is_one_run(tmp_path: Path) -> None:
    run = make(tmp_path, "outside")
    write_run(run / "guest", SMALL, only=("steps",), manifest={"run": {"name": "inside"}})
    done = edgeprof("export", run, "--format", "openmetrics", "-o", tmp_path / "run.txt")
    assert done.exit_code == 0, done.output
    assert set(values((tmp_path / "run.txt").read_text(), "edgeprof_wall_time_seconds")) == {"outside"}


@needs_promtool
def test_prometheus_own_linter_has_nothing_to_say(tmp_path: Path) -> None:
    make(tmp_path, "train")
    make(tmp_path, "infer")
    done = promtool("check", "metrics", text=write_folder(tmp_path, tmp_path / "all.txt").read_text())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    plain = scrape(table(tmp_path), "text/plain")[1].decode()
    assert promtool("check", "metrics", text=plain).returncode == 0


@needs_promtool
def test_prometheus_takes_the_history(tmp_path: Path) -> None:
    ends = [1_795_000_000 + 60 * minute for minute in range(3)]
    for end in ends:
        make(tmp_path, "train", end)
    file = write_folder(tmp_path, tmp_path / "all.txt", history=True)
    done = promtool("tsdb", "create-blocks-from", "openmetrics", str(file), str(tmp_path / "tsdb"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "tsdb" / "wal").mkdir()  # which a database in use has, and dump asks for
    dump = promtool("tsdb", "dump", "--match", "edgeprof_wall_time_seconds", str(tmp_path / "tsdb"))
    assert [int(line.split()[-1]) for line in dump.stdout.splitlines()] == [end * 1000 for end in ends]


DASHBOARD = json.loads((ROOT / "docs/grafana/edgeprof-fleet.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_each_query_of_the_grafana_dashboard_names_an_exported_metric() -> None:
    exported = {family.name for family in Families([], {"finished": 1}).collect()}
    for expression in EXPRESSIONS:
        named = set(re.findall(r"\bedgeprof_\w+", expression))
        assert named
        assert named <= exported, expression


def test_each_label_of_the_grafana_dashboard_is_exported() -> None:
    exported = {*LABELS, *INFO, "state"}
    legends = [target["legendFormat"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    named = {label for text in legends for label in re.findall(r"\{\{(\w+)\}\}", text)}
    named |= {label for text in EXPRESSIONS for label in re.findall(r'(\w+)=~?"', text)}
    named |= {
        label.strip()
        for text in EXPRESSIONS
        for labels in re.findall(r"by \(([^)]*)\)", text)
        for label in labels.split(",")
    }
    variables = [item for item in DASHBOARD["templating"]["list"] if item["type"] == "query"]
    named |= {re.fullmatch(r"label_values\(edgeprof_run_info, (\w+)\)", item["definition"])[1] for item in variables}
    assert {"host", "state", "bound_by"} <= named <= exported


def test_each_variable_of_the_grafana_dashboard_exists() -> None:
    variables = {item["name"] for item in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used == variables


def test_the_panels_of_the_grafana_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@needs_promtool
def test_prometheus_understands_each_query_of_the_grafana_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": text} for number, text in enumerate(EXPRESSIONS)]
    file = tmp_path / "rules.json"  # which is YAML, too
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stderr
    assert f"{len(EXPRESSIONS)} rules found" in done.stdout
