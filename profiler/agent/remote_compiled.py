"""Lays the zipapp's modules down once, compiled: a small board takes seconds to compile them at each run.

They lie below ``HOME/agents``, apart for each zipapp and each Python.  Where that is not possible, all goes on from the
zip file.
"""

import os
import shutil
import sys
import zlib
from typing import List, Optional

from edgeprof.profiler.agent.remote_protocol import Refused, private_folder


def use_compiled() -> Optional[str]:
    """Let modules that are imported from now on come from the compiled ones; their folder, or None."""
    archive = getattr(__spec__.loader, "archive", None)  # of zipimport: none where this is no zipapp
    if archive is None:
        return None
    try:
        with open(archive, "rb") as file:
            check = zlib.crc32(file.read())
        name = "{}-{:08x}-{}".format(os.path.basename(archive), check, sys.implementation.cache_tag)
        folder = os.path.join(private_folder("agents"), name)
        if not os.path.isdir(folder):
            _lay_down(archive, folder)
    except (OSError, Refused, ImportError, SyntaxError):
        return None
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "edgeprof" and hasattr(module, "__path__"):
            module.__path__ = [os.path.join(folder, *name.split("."))]
    return folder


def _lay_down(archive: str, folder: str) -> None:
    """Unpack and compile, all or nothing, also where the power fails.  Raises OSError, SyntaxError."""
    import py_compile  # once for each zipapp: its import takes a while, too
    from zipfile import ZipFile

    temporary = "{}.{}.tmp".format(folder, os.getpid())
    try:
        with ZipFile(archive) as content:
            content.extractall(temporary)
        for path in _files(temporary):
            if path.endswith(".py"):
                # The folder is named after the content: what lies in it never changes, and need not be compared.
                mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
                py_compile.compile(path, dfile=path.replace(temporary, folder), doraise=True, invalidation_mode=mode)
        for path in _files(temporary):
            _make_durable(path)
        os.rename(temporary, folder)
    except py_compile.PyCompileError as error:
        raise SyntaxError(str(error)) from None
    except OSError:
        if not os.path.isdir(folder):  # else another one was faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files(folder: str) -> List[str]:
    return [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]


def _make_durable(path: str) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
