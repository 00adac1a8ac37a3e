"""LiteRT (TensorFlow Lite): inference with a Keras model that was converted before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprof.workloads.backends.from_file import FromFile
from edgeprof.workloads.backends.quiet import quiet


class LiteRT(FromFile):
    """See `edgeprof.workloads.backends.base.Backend`."""

    _interpreter: Any = None
    _details: Any = None
    _outputs: tuple[int, ...] = ()

    def load(self) -> None:
        from ai_edge_litert import interpreter  # noqa: F401  (its import is what takes time)

    def open(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with quiet():
            self._interpreter = Interpreter(str(path), num_threads=self.spec.threads or None)
            self._interpreter.allocate_tensors()
        (self._details,) = self._interpreter.get_input_details()
        self._outputs = tuple(output["index"] for output in self._interpreter.get_output_details())

    def answer(self, batch: Any) -> list[Any]:
        values = batch[self.input].astype(self._details["dtype"], copy=False)
        self._interpreter.set_tensor(self._details["index"], values)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]
