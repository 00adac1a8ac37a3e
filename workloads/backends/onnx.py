"""ONNX Runtime: inference with a PyTorch model that was exported before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprof.workloads.backends.from_file import FromFile
from edgeprof.workloads.errors import WrongSpec


class OnnxRuntime(FromFile):
    """See `edgeprof.workloads.backends.base.Backend`."""

    _session: Any = None
    _provider = "CPUExecutionProvider"

    def load(self) -> None:
        import onnxruntime

        if self.spec.unit == "cuda":
            self._provider = "CUDAExecutionProvider"
        if self._provider not in onnxruntime.get_available_providers():
            raise WrongSpec(
                "ONNX Runtime has no CUDA here; install onnxruntime-gpu instead of onnxruntime, or use --unit cpu"
            )

    def open(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = self.spec.threads
        self._session = onnxruntime.InferenceSession(path, options, providers=[self._provider])

    def answer(self, batch: Any) -> list[Any]:
        outputs: list[Any] = self._session.run(None, {"input": batch[self.input]})
        return outputs
