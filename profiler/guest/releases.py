"""Kernels that differ from this machine's: of other releases of Debian, and of arm64."""

from __future__ import annotations

from pathlib import Path

from edgeprof.profiler.guest.architecture import Architecture, here
from edgeprof.profiler.guest.errors import NoGuest
from edgeprof.profiler.guest.kernel import Kernel, cache_folder, distribution_kernel, newest_image
from edgeprof.profiler.guest.packages import Apt, codename, suite_apt

SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "bookworm-backports"}
"""Releases of the kernel, and the suites of Debian that have them built with a compiler no newer than gcc 12.
JetPack 5 has a 5.10, too."""


def release_kernel(release: str, architecture: Architecture | None = None, cache: Path | None = None) -> Kernel:
    """Debian's newest kernel of a release for virtual machines: from the cache, else by apt.

    Args:
        release: one of `SUITES`.
        architecture: None: this machine's.
        cache: where kernels are unpacked; None: `cache_folder`.

    Raises:
        NoGuest: it cannot be had here.
    """
    architecture, cache = architecture or here(), cache or cache_folder()
    if release not in SUITES:
        raise NoGuest(f"there is no kernel {release} to fetch; there are: {', '.join(SUITES)}")
    if _is_own(release, architecture):
        return distribution_kernel(cache)
    place = cache / f"{release}-{architecture.debian}"
    name = next((path.name for path in place.glob("linux-image-*")), "")
    if not name:
        apt = apt_for(release, architecture, cache)
        name = newest_image(apt, f"linux-image-cloud-{architecture.debian}:{architecture.debian}")
        apt.unpack([f"{name}:{architecture.debian}"], place / name)
    version = name.removeprefix("linux-image-")
    return Kernel(place / name / "boot" / f"vmlinuz-{version}", place / name, version, architecture)


def apt_for(release: str, architecture: Architecture, cache: Path) -> Apt:
    """The apt that has a release's packages.  Raises NoGuest."""
    if _is_own(release, architecture):
        return Apt()
    if release not in SUITES:
        raise NoGuest(f"it is not known where the packages of kernels {release} are to be had")
    return suite_apt(SUITES[release], cache)


def _is_own(release: str, architecture: Architecture) -> bool:
    return architecture.is_here and codename() == SUITES.get(release)
