"""Instruments PyTorch (1.12 and later) in the user's process: phases, steps and facts of an unmodified program.

Loaded by path, beside the recorder, when the program imports torch; it never imports torch itself.
What is instrumented, and how, stands in docs/phases.md.  Modules, backward passes and data
loading are wrapped at one method each; optimizers through their public global hooks.  Module
hooks are not used: with a global module hook torch.compile prints a warning into the
user's output, and a hook is not told of KeyboardInterrupt; `Module.__call__` has neither fault
and costs less for each nested module.
"""

import atexit
import functools
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Dict

if TYPE_CHECKING:
    from edgeprof.collectors.phases import recorder
    from edgeprof.collectors.phases.tracker import Tracker, failed, model_facts
else:  # loaded by path, in a Python that may not have edgeprof
    import _edgeprof_recorder as recorder
    from _edgeprof_tracker import Tracker, failed, model_facts


def _arm_shutdown() -> None:
    """Have `_shutdown` called before the exit handlers of the libraries imported until now: last in, first out."""
    atexit.unregister(_shutdown)
    atexit.register(_shutdown)


class _State:
    """What the wrappers reach at run time.

    They hold this object itself, not the module's globals: wrapped methods are still called, from ``__del__``,
    when Python has already emptied the modules.
    """

    def __init__(self) -> None:
        self.tracker = Tracker(_arm_shutdown)
        self.compiling: Callable[[], bool] = _never  # torch.compile traces now and must see through the wrappers


def _never() -> bool:
    return False


_state = _State()


def import_begins() -> None:
    """``import torch`` starts."""
    _state.tracker.begin_startup()
    _state.tracker.begin("import")


def import_ends() -> None:
    """``import torch`` is over."""
    _state.tracker.end("import")


def loaded(name: str, module: Any) -> None:
    """A module of PyTorch has been loaded: instrument it.  Never raises an Exception."""
    try:
        _INSTALLERS[name](module)
    except Exception as error:
        failed("instrumenting " + name, error)


def timed(phase: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its run time recorded as a phase."""
    state = _state

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


def _install_torch(torch: Any) -> None:
    compiler = getattr(torch, "compiler", None)
    _state.compiling = getattr(compiler, "is_compiling", _never)
    _state.tracker.facts["framework"] = {"name": "torch", "version": str(torch.__version__)}
    _arm_shutdown()
    os.register_at_fork(after_in_child=_after_fork)
    torch.nn.Module.__call__ = _module_call(torch, torch.nn.Module.__call__)
    torch.nn.Module.zero_grad = timed("zero_grad", torch.nn.Module.zero_grad)
    torch.autograd.backward = _backward(torch.autograd.backward)
    torch.save = timed("checkpoint", torch.save)
    torch.load = timed("restore", torch.load)
    utilities = torch.nn.utils
    for name in ("clip_grad_norm_", "clip_grad_value_"):
        wrapped = timed("clip", getattr(utilities, name))
        setattr(utilities, name, wrapped)
        setattr(utilities.clip_grad, name, wrapped)
    if getattr(torch.version, "cuda", None) or getattr(torch.version, "hip", None):
        install_transfers(torch)


def install_transfers(torch: Any) -> None:
    """Record copies to and from an accelerator, and waits for it, as ``transfer``."""
    for name in ("to", "cuda", "cpu", "item", "tolist"):
        setattr(torch.Tensor, name, _transfer(getattr(torch.Tensor, name)))
    torch.cuda.synchronize = timed("synchronize", torch.cuda.synchronize)


def _transfer(original: Callable[..., Any]) -> Callable[..., Any]:
    state = _state

    @functools.wraps(original)
    def wrapper(self: Any, *arguments: Any, **named: Any) -> Any:
        if state.compiling() or getattr(state.tracker.local, "module", None) is not None:
            return original(self, *arguments, **named)
        begin_ns = time.monotonic_ns()
        result = original(self, *arguments, **named)
        if not self.is_cpu or not getattr(result, "is_cpu", True):
            state.tracker.record(recorder.BEGIN, "transfer", time_ns=begin_ns)
            state.tracker.record(recorder.END, "transfer")
        return result

    return wrapper


def _backward(original: Callable[..., Any]) -> Callable[..., Any]:
    state = _state

    @functools.wraps(original)
    def backward(*arguments: Any, **named: Any) -> Any:
        if state.compiling():
            return original(*arguments, **named)
        tracker = state.tracker
        outer = getattr(tracker.local, "backward", False)  # re-entrant checkpointing runs one within another
        tracker.begin("backward")
        tracker.local.backward = True
        try:
            return original(*arguments, **named)
        finally:
            tracker.local.backward = outer
            tracker.end("backward")

    return backward


def _module_call(torch: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    """`Module.__call__` that records the outermost module's call as ``forward``, a loss function's as ``loss``."""
    state, loss = _state, torch.nn.modules.loss._Loss

    @functools.wraps(original)
    def __call__(self: Any, *arguments: Any, **named: Any) -> Any:  # noqa: N807
        tracker = state.tracker
        local = tracker.local
        if state.compiling() or getattr(local, "module", None) is not None:
            return original(self, *arguments, **named)
        local.module = self
        name = "loss" if isinstance(self, loss) else "forward"
        begin_ns = time.monotonic_ns()
        tracker.begin(name)
        inferring = _before_forward(torch, tracker, self, arguments or tuple(named.values()), name)
        try:
            result = original(self, *arguments, **named)
        finally:
            local.module = None
            tracker.end(name)
        if inferring:
            _after_inference(tracker, arguments or tuple(named.values()), begin_ns)
        return result

    return __call__


def _before_forward(torch: Any, tracker: Tracker, module: Any, arguments: Any, name: str) -> bool:
    """Account for an outermost forward that begins; True if it is one of inference."""
    if name == "loss" or tracker.worker or getattr(tracker.local, "backward", False):
        return False
    try:
        gradients = torch.is_grad_enabled()
        if gradients:
            tracker.training_forward(module, arguments)
        if "model" not in tracker.facts or (gradients and not tracker.facts.get("gradients")):
            tracker.facts.update(model_facts(torch, module, tracker), gradients=bool(gradients))
        return not gradients or not module.training
    except Exception as error:
        failed("before a forward", error)
        return False


def _after_inference(tracker: Tracker, arguments: Any, begin_ns: int) -> None:
    try:
        tracker.inference_done(arguments, begin_ns)
        tracker.unseen = False
    except Exception as error:
        failed("after a forward", error)


def _install_optimizer(module: Any) -> None:
    state = _state

    def before(optimizer: Any, arguments: Any, named: Any) -> None:
        if not state.compiling():
            state.tracker.optimizer_begins(optimizer)

    def after(optimizer: Any, arguments: Any, named: Any) -> None:
        if not state.compiling():
            state.tracker.optimizer_ends(optimizer)

    module.Optimizer.zero_grad = timed("zero_grad", module.Optimizer.zero_grad)
    if hasattr(module, "register_optimizer_step_pre_hook"):
        module.register_optimizer_step_pre_hook(before)
        module.register_optimizer_step_post_hook(after)
    else:
        _wrap_steps(module.Optimizer, before, after)


def _wrap_steps(base: Any, before: Callable[..., None], after: Callable[..., None]) -> None:
    """Before PyTorch 2.0 there are no global optimizer hooks: wrap each class's step when it is first used."""
    original = base.__init__

    def wrap(step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def wrapper(self: Any, *arguments: Any, **named: Any) -> Any:
            before(self, arguments, named)
            try:
                result = step(self, *arguments, **named)
            except BaseException:
                _state.tracker.drop_optimizers()
                raise
            after(self, arguments, named)
            return result

        wrapper._edgeprof = True  # type: ignore[attr-defined]
        return wrapper

    @functools.wraps(original)
    def __init__(self: Any, *arguments: Any, **named: Any) -> None:  # noqa: N807
        original(self, *arguments, **named)
        step = type(self).step
        if not getattr(step, "_edgeprof", False):
            type(self).step = wrap(step)

    base.__init__ = __init__


def _install_dataloader(module: Any) -> None:
    loader = module.DataLoader
    loader.__iter__ = _loader_iter(loader.__iter__)
    base = module._BaseDataLoaderIter
    base.__next__ = _loader_next(base.__next__)
    several = module._MultiProcessingDataLoaderIter
    several._shutdown_workers = timed("workers", several._shutdown_workers)


def _loader_iter(original: Callable[..., Any]) -> Callable[..., Any]:
    state = _state

    @functools.wraps(original)
    def __iter__(self: Any) -> Any:  # noqa: N807
        tracker = state.tracker
        workers = getattr(self, "num_workers", 0)
        name = "workers" if workers else "load"
        tracker.begin(name)
        try:
            iterator = original(self)
        finally:
            tracker.end(name)
        try:
            size = getattr(self, "batch_size", None) or getattr(
                getattr(self, "batch_sampler", None), "batch_size", None
            )
            iterator._edgeprof_loader = {"batch_size": size, "workers": workers}
        except Exception as error:
            failed("reading a DataLoader", error)
        return iterator

    return __iter__


def _loader_next(original: Callable[..., Any]) -> Callable[..., Any]:
    state = _state

    @functools.wraps(original)
    def __next__(self: Any) -> Any:  # noqa: N807
        tracker = state.tracker
        tracker.load_begins()
        try:
            batch = original(self)
        finally:
            tracker.end("load")
        try:
            tracker.batch_loaded(batch, getattr(self, "_edgeprof_loader", None))
        except Exception as error:
            failed("reading a batch", error)
        return batch

    return __next__


def _install_fetch(module: Any) -> None:
    for name in ("_MapDatasetFetcher", "_IterableDatasetFetcher"):
        fetcher = getattr(module, name)
        fetcher.fetch = _fetch(fetcher.fetch)


def _fetch(original: Callable[..., Any]) -> Callable[..., Any]:
    state = _state

    @functools.wraps(original)
    def fetch(self: Any, *arguments: Any, **named: Any) -> Any:
        tracker = state.tracker
        if not tracker.worker and not _become_worker(tracker):
            return original(self, *arguments, **named)  # in the main process this is part of "load"
        tracker.begin("fetch")
        try:
            return original(self, *arguments, **named)
        finally:
            tracker.end("fetch")

    return fetch


def _become_worker(tracker: Tracker) -> bool:
    """Whether this process is a DataLoader's worker; says so in the records at the first time."""
    data = sys.modules.get("torch.utils.data")
    information = data.get_worker_info() if data is not None else None
    if information is None:
        return False
    tracker.worker = True
    tracker.record(recorder.ROLE, "worker", float(information.id))
    return True


_INSTALLERS: Dict[str, Callable[[Any], None]] = {
    "torch": _install_torch,
    "torch.optim.optimizer": _install_optimizer,
    "torch.utils.data.dataloader": _install_dataloader,
    "torch.utils.data._utils.fetch": _install_fetch,
}


def _after_fork() -> None:
    before = _state.tracker
    _state.tracker = Tracker(_arm_shutdown)
    _state.tracker.facts["framework"] = before.facts.get("framework")


def _shutdown() -> None:
    """Python begins to shut down: the phase ``shutdown`` lasts until the process is gone."""
    try:
        if _state.tracker.starting:
            _state.tracker.end_startup()
        _state.tracker.record(recorder.BEGIN, "shutdown", tid=os.getpid())
        _state.tracker.write_facts()
    except Exception as error:
        failed("at exit", error)
