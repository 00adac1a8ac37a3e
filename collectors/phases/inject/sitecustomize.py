"""Loaded by every Python of a run with --auto: waits for an import of PyTorch, then instruments it.

Python's ``site`` imports ``sitecustomize`` at start-up.  This one takes its folder off ``sys.path``
again, hands over to the user's own ``sitecustomize`` if there is one, and leaves a finder on
``sys.meta_path`` that costs a set look-up an import until torch has been loaded.

Any Python that the run starts comes here, a Python 2 too: the syntax is what both accept, and
versions before 3.8 are only passed through.  Whatever goes wrong is written to a small file
beside the records, and the user's program goes on.
"""

import os
import sys

_INJECT = os.path.dirname(os.path.abspath(__file__))
_WATCHED = {"torch", "torch.optim.optimizer", "torch.utils.data.dataloader", "torch.utils.data._utils.fetch"}


def _note_failure(where, error):
    # type: (str, object) -> None
    """Leave the reason for the manifest."""
    try:
        path = os.path.join(os.environ["EDGEPROF_PHASES"], "%d-error.txt" % os.getpid())
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        with os.fdopen(file, "a") as stream:
            stream.write("%s: %s: %s\n" % (where, type(error).__name__, error))
    except Exception:  # noqa: S110  (there is nowhere left to say it)
        pass


def _load(name, path):
    # type: (str, str) -> object
    """Import a file by its path under ``name``, once."""
    if name in sys.modules:
        return sys.modules[name]
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _instrument():
    # type: () -> object
    """The module that instruments PyTorch."""
    folder = os.path.dirname(_INJECT)
    for name in ("recorder", "facts", "tracker", "loading"):
        _load("_edgeprof_" + name, os.path.join(folder, name + ".py"))
    return _load("_edgeprof_pytorch", os.path.join(folder, "pytorch.py"))


class _Finder(object):
    """Finds nothing itself; arranges that `_instrument` hears of the watched modules."""

    def find_spec(self, name, path=None, target=None):
        # type: (str, object, object) -> object
        if name not in _WATCHED:
            return None
        _WATCHED.discard(name)
        if not _WATCHED:
            _remove(self)
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if isinstance(finder, _Finder) or find is None:
                continue
            spec = find(name, path, target)
            if spec is not None:
                try:
                    self._hook(name, spec.loader)
                except Exception as error:
                    _note_failure("hooking the import of " + name, error)
                return spec
        return None

    def _hook(self, name, loader):
        # type: (str, object) -> None
        """Shadow this one loader's ``exec_module``; the module keeps its loader, type and all."""
        execute = loader.exec_module  # type: ignore[attr-defined]
        pytorch = _instrument()

        def exec_module(module):
            # type: (object) -> None
            if getattr(module, "__name__", name) != name:
                execute(module)  # a loader that serves several modules (a zip file's) at once
                return
            del loader.exec_module  # type: ignore[attr-defined]
            if name != "torch":
                execute(module)
                pytorch.loaded(name, module)  # type: ignore[attr-defined]
                return
            pytorch.import_begins()  # type: ignore[attr-defined]
            try:
                execute(module)
            finally:
                pytorch.import_ends()  # type: ignore[attr-defined]
            pytorch.loaded(name, module)  # type: ignore[attr-defined]

        loader.exec_module = exec_module  # type: ignore[attr-defined]


def _remove(finder):
    # type: (object) -> None
    if finder in sys.meta_path:
        sys.meta_path.remove(finder)


def _begin():
    # type: () -> None
    """Leave a sign that this Python can be instrumented, and wait for torch."""
    folder = os.environ.get("EDGEPROF_PHASES")
    if os.environ.get("EDGEPROF_AUTO") != "1" or not folder or sys.version_info < (3, 8):
        return
    try:
        os.close(
            os.open(os.path.join(folder, "%d.python" % os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        )
        sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
    except Exception as error:
        _note_failure("starting", error)


def _hand_over():
    # type: () -> None
    """Import the user's own sitecustomize, the next one down the path, in our place."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _INJECT]
    own = sys.modules.pop("sitecustomize", None)
    try:
        __import__("sitecustomize")
    except ImportError as error:
        if getattr(error, "name", "sitecustomize") not in (None, "sitecustomize"):
            raise  # the user's own lacks something: Python reports it as it would without us
        if own is not None:
            sys.modules["sitecustomize"] = own


_begin()
_hand_over()
