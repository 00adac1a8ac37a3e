"""Metrics of a run (pure functions of its tables), the verdict on it, and the comparison of runs."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.profiler.analysis.data import RunData, Value, missing

if TYPE_CHECKING:
    import pyarrow as pa

    from edgeprof.profiler.run import Run


def compute(run: Run) -> pa.Table:
    """All metrics of a run: one row a metric, and one a metric and phase.

    Columns: name, value (null with a reason), unit, phase (null: the whole run), reason, how.
    """
    return compute_from(RunData.of(run))


def compute_from(data: RunData) -> pa.Table:
    """As `compute`, of tables in memory."""
    import pyarrow as pa

    from edgeprof.profiler.analysis.by_phase import phase_metrics
    from edgeprof.profiler.analysis.registry import METRICS

    rows = [_row(metric.name, metric.unit, None, _guarded(metric.compute, data)) for metric in METRICS]
    # A phases or process table of an unexpected shape must not cost the whole run's metrics, which say what is wrong.
    with suppress(KeyError, ValueError, TypeError, IndexError, pa.ArrowException):
        rows += [_row(item.name, item.unit, item.phase, item.value) for item in phase_metrics(data)]
    return pa.Table.from_pylist(rows, schema=_schema())


def _schema() -> pa.Schema:
    import pyarrow as pa

    text = ("unit", "phase", "reason", "how")
    return pa.schema([("name", pa.string()), ("value", pa.float64()), *((name, pa.string()) for name in text)])


def _guarded(function: Any, data: RunData) -> Value:
    """One metric; a table of an unexpected shape costs that metric only."""
    import pyarrow as pa

    try:
        value: Value = function(data)
    except (KeyError, ValueError, TypeError, IndexError, pa.ArrowException) as error:
        return missing(f"the tables do not have the expected shape ({type(error).__name__}: {error})")
    if value.value is not None and not math.isfinite(value.value):
        return missing("the tables hold no usable number for it")
    return value


def _row(name: str, unit: str, phase: str | None, value: Value) -> dict[str, Any]:
    return {
        "name": name,
        "value": value.value,
        "unit": unit,
        "phase": phase,
        "reason": value.reason,
        "how": value.how or None,
    }


def write_metrics(run: Run) -> pa.Table:
    """Compute a run's metrics and write ``metrics.parquet`` atomically.  Raises OSError."""
    import pyarrow.parquet as pq

    table = compute(run)
    path: Path = run.path / "metrics.parquet"
    temporary = path.with_name(".metrics.parquet.tmp")
    temporary.unlink(missing_ok=True)  # left by one that was killed
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return table


def verdict(run: Run, metrics: pa.Table | None = None) -> dict[str, Any]:
    """What the run was bound by: see `edgeprof.profiler.analysis.judgement.judge`."""
    from edgeprof.profiler.analysis.judgement import judge

    data = RunData.of(run)
    rows = (metrics if metrics is not None else compute_from(data)).to_pylist()
    return judge(rows, data)


def role_account(run: Run) -> dict[str, Any] | None:
    """What the roles of a run did and who delayed whom; None without roles, or for tables of an unexpected shape."""
    import pyarrow as pa

    from edgeprof.profiler.analysis.delays import account

    try:
        return account(RunData.of(run))
    except (KeyError, ValueError, TypeError, IndexError, pa.ArrowException):
        return None
