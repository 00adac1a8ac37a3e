"""Hands kml.ko's sources to DKMS, which builds the module anew for each kernel that is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from edgeprof.kmodule import build
from edgeprof.kmodule.errors import CannotBuild, ToolMissing
from edgeprof.profiler.guest.headers import running_tree

CONFIGURATION = build.SOURCES / "dkms.conf"


def version() -> str:
    """Of the module's package, as ``dkms.conf`` states it."""
    found = re.search(r'^PACKAGE_VERSION="(.+)"$', CONFIGURATION.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def copy_sources(root: Path = Path("/usr/src")) -> Path:
    """Put the sources where DKMS looks for them, in place of those of the same version.  Raises CannotBuild."""
    target = root / f"kml-{version()}"
    try:
        shutil.rmtree(target, ignore_errors=True)
        build.copy_module_sources(target)
        shutil.copy(CONFIGURATION, target)
    except OSError as error:
        raise CannotBuild(f"cannot write to {target}: {error.strerror}; DKMS takes root") from None
    return target


def install(root: Path = Path("/usr/src")) -> str:
    """Build and install the module for the running kernel, and for those to come; what DKMS printed.

    Raises:
        CannotBuild: there is no DKMS, or it failed.
        NoGuest: the running kernel's headers are not here.
    """
    if shutil.which("dkms") is None:
        raise ToolMissing("dkms", "dkms")
    running_tree()
    copy_sources(root)
    words = ["dkms", "install", "--force", "--sourcetree", str(root), f"kml/{version()}"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it gave no reason"]
        raise CannotBuild(f"dkms could not install the module: {said[-1]}")
    return done.stdout
