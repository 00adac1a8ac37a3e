"""What the PyTorch hooks of one process must remember between calls, to tell steps, samples and facts."""

import functools
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

if TYPE_CHECKING:
    from edgeprof.collectors.phases import recorder
    from edgeprof.collectors.phases.facts import samples_of
else:  # loaded by path, in a Python that may not have edgeprof
    import _edgeprof_recorder as recorder
    from _edgeprof_facts import samples_of


_NAN = float("nan")


class Tracker:
    """What the hooks of one process must remember between calls; a forked child gets a fresh one."""

    activities = frozenset(("load", "workers", "fetch", "forward", "loss", "backward", "optimizer"))
    """The first of these ends start-up."""
    begin_kind, end_kind = recorder.BEGIN, recorder.END

    def __init__(self, started: Optional[Callable[[], None]] = None) -> None:
        self.started = started  # called once, when start-up is over
        self.local = threading.local()  # module: the outermost one now running; backward: depth
        self.starting = False
        self.worker = False
        self.loads = 0
        self.load_ns = 0  # begin of the latest load
        self.batch: Optional[float] = None  # samples of the latest batch, until a training forward takes it
        self.batch_size = _NAN  # samples of the latest batch
        self.unseen = False  # the latest batch has not been through any forward
        self.loader: Optional[Dict[str, Any]] = None
        self.step_start = 0
        self.step_end = 0
        self.forwarded = False  # a training forward ran since the last step
        self.samples: Optional[float] = None  # from the loader, in this step
        self.sizes: Dict[int, float] = {}  # outermost module -> samples in this step, by its inputs
        self.optimizers: List[int] = []  # now in their step(), outermost first
        self.round: List[int] = []  # that have stepped since the latest batch
        self.inferred = False  # a forward for inference ran since the last step
        self.facts: Dict[str, Any] = {}
        self.facts_written = False

    def record(self, kind: int, name: str, value: float = _NAN, time_ns: int = 0, tid: int = 0) -> None:
        """Store a record; never raises an Exception, not even when Python has emptied our module at its end."""
        try:
            writer = recorder.writer()
            if writer is not None:
                writer.record(kind, name, value, time_ns, tid)
        except Exception:  # noqa: S110  (there is no one left to tell)
            pass

    def begin(self, name: str) -> None:
        """A phase begins on the calling thread."""
        if self.starting and name in self.activities:
            self.end_startup()
        self.record(self.begin_kind, name)

    def end(self, name: str) -> None:
        """A phase of the calling thread ends."""
        self.record(self.end_kind, name)

    def enter(self, owner: Any) -> Any:
        """Take the modules that this thread calls from now on as part of ``owner``: the transforms within a load."""
        outer = getattr(self.local, "module", None)
        self.local.module = owner
        return outer

    def leave(self, outer: Any) -> None:
        """Back to what `enter` gave."""
        self.local.module = outer

    def begin_startup(self) -> None:
        """Date the phase ``startup`` back to the process's start; it belongs to the main thread."""
        self.starting = True
        self.record(recorder.BEGIN, "startup", time_ns=recorder.process_start()[0], tid=os.getpid())

    def end_startup(self) -> None:
        self.starting = False
        self.record(recorder.END, "startup", tid=os.getpid())
        if self.started is not None:
            self.started()

    def load_begins(self) -> int:
        now = time.monotonic_ns()
        if self.optimizers and not getattr(self.local, "module", None):
            self.drop_optimizers()
        if not self.forwarded:
            self.step_start = now
        self.load_ns = now
        self.begin("load")
        return now

    def batch_loaded(self, batch: Any, loader: Optional[Dict[str, Any]]) -> None:
        self.loads += 1
        size = samples_of(batch)
        self.batch = self.batch_size = _NAN if size is None else size
        self.unseen = True
        self.loader = loader

    def drop_optimizers(self) -> None:
        """Close the phases of optimizers whose step raised: their end hook was not called."""
        for _ in self.optimizers:
            self.end("optimizer")
        self.optimizers = []

    def training_forward(self, module: Any, arguments: Any) -> None:
        """An outermost forward with gradients begins."""
        if not self.step_start:
            self.step_start = time.monotonic_ns() if self.inferred or not self.step_end else self.step_end
        self.forwarded = True
        if self.batch is not None:
            self.samples = (self.samples or 0.0) + self.batch
            self.batch = None
            self.round = []
        if not (self.optimizers and self.sizes):  # the later evaluations of a closure take no new samples
            key = id(module)
            self.sizes[key] = self.sizes.get(key, 0.0) + (samples_of(arguments) or 0.0)

    def optimizer_begins(self, optimizer: Any) -> None:
        if id(optimizer) in self.optimizers:
            self.drop_optimizers()
        self.begin("optimizer")
        self.optimizers.append(id(optimizer))

    def optimizer_ends(self, optimizer: Any) -> None:
        if id(optimizer) not in self.optimizers:
            return
        while self.optimizers.pop() != id(optimizer):
            self.end("optimizer")
        self.end("optimizer")
        if not self.optimizers:
            self.step_done(id(optimizer))

    def step_done(self, optimizer: int) -> None:
        """The outermost optimizer has stepped: a new step, or the next optimizer's share of the same one."""
        if self.round and optimizer not in self.round:
            self.record(recorder.STEP, "train+")
        else:
            self.round = []
            samples = self.samples if self.samples is not None else max(self.sizes.values(), default=0.0) or _NAN
            start = self.step_start or self.step_end
            if start:
                self.record(recorder.STEP_BEGIN, "train", time_ns=start)
            self.record(recorder.STEP, "train", samples)
        self.round.append(optimizer)
        self.step_end = time.monotonic_ns()
        self.step_start = 0
        self.forwarded = self.inferred = False
        self.samples = None
        self.sizes = {}
        self.facts["lifecycle"] = "train"
        self.write_facts_once()

    def inference_done(self, arguments: Any, begin_ns: int) -> None:
        """An outermost forward for inference has ended."""
        self.inferred = True
        if self.loads and not self.unseen:
            self.record(recorder.STEP, "infer+")
            return
        samples: Optional[float] = self.batch_size if self.loads else samples_of(arguments)
        self.record(recorder.STEP_BEGIN, "infer", time_ns=self.load_ns if self.loads else begin_ns)
        self.record(recorder.STEP, "infer", _NAN if samples is None else samples)
        self.facts.setdefault("lifecycle", "infer")
        self.write_facts_once()

    def write_facts_once(self) -> None:
        if not self.facts_written:
            self.facts_written = True
            self.write_facts()

    def write_facts(self) -> None:
        """Put the side file ``<pid>-facts.json`` beside the records."""
        writer = recorder.writer()
        if writer is None or self.worker or not self.facts.get("lifecycle"):
            return
        self.facts["start_ns"] = recorder.process_start()[0]
        path = os.path.join(writer.folder, "%d-facts.json" % os.getpid())
        try:
            with open(path + ".tmp", "w", opener=_no_follow) as file:
                json.dump(self.facts, file)
            os.replace(path + ".tmp", path)
        except (OSError, TypeError, ValueError) as error:
            failed("writing facts", error)


_failures: List[str] = []


def failed(where: str, error: BaseException) -> None:
    """Say once, in the records, that a hook did not work; the user's program goes on."""
    text = "%s: %s: %s" % (where, type(error).__name__, error)
    if text not in _failures and len(_failures) < 20:
        _failures.append(text)
        writer = recorder.writer()
        if writer is not None:
            try:
                with open(os.path.join(writer.folder, "%d-error.txt" % os.getpid()), "a", opener=_no_follow) as file:
                    file.write(text + "\n")
            except OSError:
                pass


def _no_follow(path: str, flags: int) -> int:
    """The folder may be open to other users: write through no link that they left."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


class State:
    """What the wrappers reach at run time.

    They hold this object itself, not the module's globals: wrapped methods are still called, from ``__del__``,
    when Python has already emptied the modules.
    """

    def __init__(self, started: Callable[[], None]) -> None:
        self.tracker = Tracker(started)
        self.compiling: Callable[[], bool] = never  # torch.compile traces now and must see through the wrappers


def never() -> bool:
    return False


def timed(state: State, phase: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its run time recorded as a phase."""

    @functools.wraps(original)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        if state.compiling():
            return original(*arguments, **named)
        state.tracker.begin(phase)
        try:
            return original(*arguments, **named)
        finally:
            state.tracker.end(phase)

    return wrapper
