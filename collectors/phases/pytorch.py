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
import time
from typing import TYPE_CHECKING, Any, Callable, Dict

if TYPE_CHECKING:
    from edgeprof.collectors.phases import loading, recorder
    from edgeprof.collectors.phases.facts import is_model, model_facts
    from edgeprof.collectors.phases.tracker import State, Tracker, failed, never, timed
else:  # loaded by path, in a Python that may not have edgeprof
    import _edgeprof_loading as loading
    import _edgeprof_recorder as recorder
    from _edgeprof_facts import is_model, model_facts
    from _edgeprof_tracker import State, Tracker, failed, never, timed


def _arm_shutdown() -> None:
    """Have `_shutdown` called before the exit handlers of the libraries imported until now: last in, first out."""
    atexit.unregister(_shutdown)
    atexit.register(_shutdown)


_state = State(_arm_shutdown)


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


def _install_torch(torch: Any) -> None:
    compiler = getattr(torch, "compiler", None)
    _state.compiling = getattr(compiler, "is_compiling", never)
    _state.tracker.facts["framework"] = {"name": "torch", "version": str(torch.__version__)}
    _arm_shutdown()
    os.register_at_fork(after_in_child=_after_fork)
    torch.nn.Module.__call__ = _module_call(torch, torch.nn.Module.__call__)
    torch.nn.Module.zero_grad = timed(_state, "zero_grad", torch.nn.Module.zero_grad)
    torch.autograd.backward = _backward(torch.autograd.backward)
    torch.save = timed(_state, "checkpoint", torch.save)
    torch.load = timed(_state, "restore", torch.load)
    utilities = torch.nn.utils
    for name in ("clip_grad_norm_", "clip_grad_value_"):
        wrapped = timed(_state, "clip", getattr(utilities, name))
        setattr(utilities, name, wrapped)
        setattr(utilities.clip_grad, name, wrapped)
    if getattr(torch.version, "cuda", None) or getattr(torch.version, "hip", None):
        install_transfers(torch)


def install_transfers(torch: Any) -> None:
    """Record copies to and from an accelerator, and waits for it, as ``transfer``."""
    for name in ("to", "cuda", "cpu", "item", "tolist"):
        setattr(torch.Tensor, name, _transfer(getattr(torch.Tensor, name)))
    torch.cuda.synchronize = timed(_state, "synchronize", torch.cuda.synchronize)


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
        named_values = arguments or tuple(named.values())
        name = "loss" if isinstance(self, loss) else "forward" if is_model(self) else "transform"
        inferring = False
        begin_ns = time.monotonic_ns()
        local.module = self
        try:
            tracker.begin(name)
            if name == "forward":
                inferring = _before_forward(torch, tracker, self, named_values)
            result = original(self, *arguments, **named)
        finally:
            local.module = None
            tracker.end(name)
        if inferring:
            _after_inference(tracker, named_values, begin_ns)
        return result

    return __call__


def _before_forward(torch: Any, tracker: Tracker, module: Any, arguments: Any) -> bool:
    """Account for an outermost forward that begins; True if it is one of inference."""
    if tracker.worker or getattr(tracker.local, "backward", False):
        return False
    try:
        gradients = torch.is_grad_enabled()
        if gradients:
            tracker.training_forward(module, arguments)
        if "model" not in tracker.facts or (gradients and not tracker.facts.get("gradients")):
            tracker.facts.update(model_facts(torch, module, tracker.loader), gradients=bool(gradients))
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

    module.Optimizer.zero_grad = timed(_state, "zero_grad", module.Optimizer.zero_grad)
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


_INSTALLERS: Dict[str, Callable[[Any], None]] = {
    "torch": _install_torch,
    "torch.optim.optimizer": _install_optimizer,
    "torch.utils.data.dataloader": functools.partial(loading.install_dataloader, _state),
    "torch.utils.data._utils.fetch": functools.partial(loading.install_fetch, _state),
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
