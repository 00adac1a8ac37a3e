"""``edgeprof kml guest``: boot a kernel in QEMU, run a script in it, and bring back what it gave."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from edgeprof.cli.quantities import SizeType
from edgeprof.profiler.errors import EdgeprofError

if TYPE_CHECKING:
    from edgeprof.profiler.guest.architecture import Architecture
    from edgeprof.profiler.guest.kernel import Kernel

ARCHITECTURES = ["x86_64", "arm64"]


@click.command(short_help="Boot a kernel in QEMU and run a script in it.")
@click.argument("script", type=click.File("r"))
@click.option(
    "--kernel",
    metavar="RELEASE|IMAGE",
    help="5.10, 6.1 or 6.12, fetched from Debian, or an image file.  [default: this distribution's newest]",
)
@click.option("--arch", type=click.Choice(ARCHITECTURES), help="Of the guest.  [default: this machine's]")
@click.option("--kml", "with_kml", is_flag=True, help="Build kml.ko for the kernel, and load it before the script.")
@click.option("--module", "modules", multiple=True, metavar="NAME|FILE", help="Load this module, too; in this order.")
@click.option("--program", "programs", multiple=True, metavar="NAME|FILE", help="Have this program in /programs.")
@click.option(
    "--file", "files", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Have it in /."
)
@click.option("--python", is_flag=True, help="Have this machine's Python there, and edgeprof in /project.")
@click.option("--disk", "disks", multiple=True, type=SizeType(), help="An empty disk of this size: /dev/vdb and on.")
@click.option("--memory", type=SizeType(), default="1G", show_default=True)
@click.option("--cpus", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--accel", type=click.Choice(["kvm", "tcg"]), help="tcg: software emulation.  [default: kvm where it boots]"
)
@click.option(
    "--count-instructions", "counted", is_flag=True, help="Let time follow the instructions, so that figures repeat."
)
@click.option("--timeout", type=click.FloatRange(1), default=120.0, show_default=True, help="Seconds of an attempt.")
@click.option("--attempts", type=click.IntRange(1), default=2, show_default=True, help="Of a guest that hangs.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files that the script leaves in /out, and the guest's console.log.",
)
@click.pass_context
def guest(
    ctx: click.Context,
    script: TextIO,
    kernel: str | None,
    arch: str | None,
    with_kml: bool,
    modules: tuple[str, ...],
    programs: tuple[str, ...],
    files: tuple[Path, ...],
    python: bool,
    disks: tuple[int, ...],
    memory: int,
    cpus: int,
    accel: str | None,
    counted: bool,
    timeout: float,
    attempts: int,
    output: Path | None,
) -> None:
    """Boot a kernel in QEMU and run SCRIPT (a shell script; - is standard input) in it, as root, in /out.

    What it prints is printed, what it leaves in /out is brought back, and its exit code is that of the command.
    Nothing of this machine can be changed from inside.
    """
    import edgeprof
    from edgeprof.kmodule.build import module
    from edgeprof.profiler.guest import accelerator
    from edgeprof.profiler.guest.architecture import find, here
    from edgeprof.profiler.guest.headers import build_tree
    from edgeprof.profiler.guest.kernel import cache_folder
    from edgeprof.profiler.guest.qemu import TCG
    from edgeprof.profiler.guest.script import Guest

    named_programs = [_name_or_file(word) for word in programs]
    named_modules = [_name_or_file(word) for word in modules]
    chosen = _kernel(kernel, find(arch) if arch else here())
    own = [module(build_tree(chosen))] if with_kml else []
    console = _console(output)
    asked = TCG if counted and accel is None else accel or ""
    booted = Guest(
        chosen,
        programs=named_programs,
        modules=[*own, *named_modules],
        files={path.name: path.read_bytes() for path in files},
        python=python,
        project=Path(edgeprof.__file__).parent if python else None,
        disks=disks,
        memory=memory >> 20,
        cpus=cpus,
        accelerator=accelerator.choose(asked, chosen, cache_folder(), _say),
        counted=counted,
    )
    outcome = booted.execute(script.read(), timeout, attempts, console)
    click.echo(outcome.output, nl=False)
    if output is not None:
        for name, content in outcome.files.items():
            path = output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    elif outcome.files:
        _say(f"what the script left in /out is gone ({', '.join(outcome.files)}): name a folder for it with --output")
    ctx.exit(outcome.exit_code)


def _kernel(asked: str | None, architecture: Architecture) -> Kernel:
    from edgeprof.profiler.guest.kernel import distribution_kernel, given_kernel
    from edgeprof.profiler.guest.releases import SUITES, release_kernel

    if asked in SUITES:
        return release_kernel(asked, architecture)
    if asked is not None:
        return given_kernel(Path(asked), architecture)
    return distribution_kernel() if architecture.is_here else release_kernel("6.1", architecture)


def _name_or_file(word: str) -> str | Path:
    path = Path(word)
    if path.is_file():
        return path
    if path.suffix == ".ko" or "/" in word:
        raise EdgeprofError(f"there is no file {word}; name a file, or a module or program of this machine's")
    return word


def _console(output: Path | None) -> Path | None:
    if output is None:
        return None
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "console.log").write_bytes(b"")
    except OSError as error:
        raise EdgeprofError(f"cannot write to {output}: {error.strerror}") from None
    return output / "console.log"


def _say(sentence: str) -> None:
    click.echo(f"edgeprof: {sentence}", err=True)
