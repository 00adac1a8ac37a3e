"""Runs one workload, in a process of its own; a capture starts it, and it may be started by hand, too.

    python -m edgeprof.workloads '{"workload": "resnet18", "data": "FOLDER"}'

The argument is a `edgeprof.workloads.spec.WorkloadSpec` as JSON.  Its last line on standard output is JSON: the fields
of `edgeprof.workloads.lifecycle.Outcome`.  Exit codes: 0; 1: it failed; 2: it cannot run as asked; 130: interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprof.collectors.phases import recorder
from edgeprof.workloads import interrupt
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.errors import UnusableData, WorkloadError, WrongSpec

if TYPE_CHECKING:
    from edgeprof.workloads.catalog import Workload
    from edgeprof.workloads.data.describe import DataSet
    from edgeprof.workloads.spec import WorkloadSpec

FAILED, REFUSED, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str]) -> int:
    """Run the workload that the arguments hold and return the exit code; errors are one sentence."""
    with _start_and_end():
        try:
            return _run(arguments)
        except KeyboardInterrupt:
            return INTERRUPTED
        except (WorkloadError, WrongSpec, DataError) as error:
            return _complain(str(error), REFUSED)
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            return _complain(f"the workload could not go on: {what}", FAILED)
        except MemoryError:
            return _complain("the workload ran out of memory; choose a smaller --batch or a larger limit", FAILED)
        except Exception as error:
            if os.environ.get("EDGEPROF_DEBUG", "") not in ("", "0"):
                raise
            words = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:500]}"
            return _complain(f"{words}; EDGEPROF_DEBUG=1 shows where", FAILED)


def _run(arguments: Sequence[str]) -> int:
    from edgeprof.workloads import backends
    from edgeprof.workloads.catalog import WORKLOADS
    from edgeprof.workloads.lifecycle import Lifecycle
    from edgeprof.workloads.spec import WorkloadSpec

    if len(arguments) != 1:
        raise WrongSpec("give one argument, the workload's spec as JSON; `edgeprof run WORKLOAD` makes it from options")
    spec = WorkloadSpec.from_json(arguments[0])
    entry = WORKLOADS.get(spec.workload)
    if entry is None:
        raise WrongSpec(f"there is no workload {spec.workload!r}; `edgeprof workloads` lists them")
    dataset = _dataset(spec, entry)
    outcome = Lifecycle(spec, entry, dataset, backends.load(spec, entry, dataset)).run()
    print(outcome.to_json(), flush=True)
    return 0


def _dataset(spec: WorkloadSpec, entry: Workload) -> DataSet:
    """The data set that the spec names, if it is of the workload's kind."""
    from edgeprof.workloads.data.describe import describe

    if not spec.data:
        raise WrongSpec("the spec names no data set; give its folder as 'data'")
    dataset = describe(Path(spec.data))
    if dataset.kind != entry.data:
        raise UnusableData(f"{entry.name} learns from {entry.data}, and {spec.data} holds {dataset.kind}")
    return dataset


@contextmanager
def _start_and_end() -> Iterator[None]:
    """Phase ``startup`` from the process's start until now, and ``shutdown`` from the end until it is gone."""
    writer = recorder.writer()
    if writer is not None:
        writer.record(recorder.BEGIN, "startup", time_ns=recorder.process_start()[0])
        writer.record(recorder.END, "startup")
    yield
    if writer is not None:
        writer.record(recorder.BEGIN, "shutdown")


def _complain(sentence: str, code: int) -> int:
    print(f"edgeprof workload: {sentence}", file=sys.stderr)
    return code


if __name__ == "__main__":
    interrupt.install()
    sys.exit(main(sys.argv[1:]))
