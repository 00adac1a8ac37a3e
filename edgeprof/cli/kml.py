"""``edgeprof kml``: the in-kernel library: build it, load it, look at it, measure it, boot a kernel to try it in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.kml_guest import ARCHITECTURES, guest
from edgeprof.cli.options import json_option
from edgeprof.cli.output import make_console, make_table, print_json
from edgeprof.profiler.errors import EdgeprofError

if TYPE_CHECKING:
    from edgeprof.profiler.guest.headers import BuildTree


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Machine learning inside the kernel: KMLib's user library and its kernel module."""


@command.command(short_help="Build libkml.so and kml.ko.")
@click.option(
    "--kernel-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Build folder or headers of the kernel.  [default: the running kernel's]",
)
@click.option("--release", metavar="RELEASE", help="Fetch Debian's headers of such a kernel: 5.10, 6.1 or 6.12.")
@click.option("--arch", type=click.Choice(ARCHITECTURES), help="Of the processor.  [default: this machine's]")
@click.option("--only", type=click.Choice(["library", "module"]), help="Build this one alone.")
@click.option("--dkms", is_flag=True, help="Install the module by DKMS, for this kernel and those to come (as root).")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Copy what was built there.")
@json_option
def build(
    kernel_dir: Path | None,
    release: str | None,
    arch: str | None,
    only: str | None,
    dkms: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Build libkml.so and kml.ko, and print where they are; what is there already is not built again."""
    from edgeprof.kmodule.build import SYMBOLS, library, module
    from edgeprof.kmodule.dkms import install
    from edgeprof.profiler.guest import architecture

    if (kernel_dir is not None) + (release is not None) + dkms > 1:
        raise click.UsageError("--kernel-dir, --release and --dkms each name a kernel: give one of them")
    if dkms:
        click.echo(install(), nl=False)
        return
    chosen = architecture.find(arch) if arch else None
    built: dict[str, Path] = {}
    if only != "module":
        built["library"] = library(chosen)
    if only != "library":
        tree = _tree(kernel_dir, release, chosen or architecture.here())
        built["module"] = module(tree)
        built["symbols"] = built["module"].with_name(SYMBOLS)
    if output is not None:
        built = {part: _copied(path, output) for part, path in built.items()}
    if as_json:
        print_json({part: {"path": str(path), "bytes": path.stat().st_size} for part, path in built.items()})
    else:
        for path in built.values():
            click.echo(path)


command.add_command(guest)


@command.command(short_help="Load kml.ko, or a model into a predictor.")
@click.argument("module", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--model",
    "models",
    nargs=2,
    multiple=True,
    metavar="PREDICTOR FILE",
    help="Give a predictor the model of a file instead; the module must be there.",
)
def load(module: Path | None, models: tuple[tuple[str, str], ...]) -> None:
    """Load kml.ko into the running kernel (as root); without MODULE it is built, where need be."""
    from edgeprof.kmodule import device
    from edgeprof.kmodule.build import module as build_module
    from edgeprof.profiler.guest.headers import running_tree

    if not models:
        if not Path("/proc/modules").exists():
            raise EdgeprofError("this kernel loads no modules; `edgeprof kml guest --kml` boots one that does")
        if device.is_loaded():
            raise EdgeprofError("the module kml is loaded already; `edgeprof kml unload` takes it out")
        device.insert(module or build_module(running_tree()))
        return
    contents = [(name, _content(Path(file))) for name, file in models]
    with device.Device() as opened:
        for name, content in contents:
            opened.load(opened.find(name), content)


@command.command(short_help="Print the predictors of the running kernel.")
@json_option
def status(as_json: bool) -> None:
    """Print the predictors of the running kernel and their counters (as root)."""
    from edgeprof.kmodule import abi, device

    with device.Device() as opened:
        found = [(predictor, opened.statistics(predictor)) for predictor in opened.predictors()]
    if as_json:
        print_json([{**_shape(predictor), **counters} for predictor, counters in found])
        return
    headings = ["predictor", "shape", "model", "predictions", "collected", "dropped", "learned from", "loss"]
    rows = [
        [
            predictor.name,
            f"{predictor.inputs} to {predictor.outputs}",
            f"number {counters['models']}" if counters["model_bytes"] else "none",
            counters["predictions"],
            counters["pushed"],
            counters["dropped"],
            counters["trained"],
            f"{counters['loss'] / abi.ONE:.4f}",
        ]
        for predictor, counters in found
    ]
    if rows:
        make_console().print(make_table(headings, rows, right=range(3, len(headings))))
    else:
        click.echo("the module is loaded, and nothing uses it yet")


@command.command(short_help="Unload kml.ko, or a predictor's model.")
@click.option("--model", "predictors", multiple=True, metavar="PREDICTOR", help="Take its model away instead.")
def unload(predictors: tuple[str, ...]) -> None:
    """Unload kml.ko from the running kernel (as root)."""
    from edgeprof.kmodule import device

    if not predictors:
        device.remove()
        return
    with device.Device() as opened:
        for name in predictors:
            opened.unload(opened.find(name))


@command.command(short_help="Measure the library on this machine.")
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True, help="Of each figure.")
@json_option
def bench(rounds: int, as_json: bool) -> None:
    """Measure the library on this machine: nanoseconds a call, sizes, stack.  It takes an idle machine."""
    from dataclasses import asdict

    from edgeprof.kmodule.bench import lines, measure

    measured = measure(rounds)
    if as_json:
        print_json(asdict(measured))
    else:
        click.echo("\n".join(lines(measured)))


def _tree(kernel_dir: Path | None, release: str | None, architecture: Any) -> BuildTree:
    from edgeprof.profiler.guest.headers import build_tree, given_tree, running_tree
    from edgeprof.profiler.guest.releases import release_kernel

    if release is not None:
        return build_tree(release_kernel(release, architecture))
    tree = given_tree(kernel_dir) if kernel_dir is not None else running_tree()
    if tree.architecture != architecture:
        raise EdgeprofError(
            f"{tree.path} is of an {tree.architecture.kernel} kernel, and {architecture.kernel} was asked for:"
            " name its folder with --kernel-dir, or its release with --release"
        )
    return tree


def _copied(path: Path, folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(path, folder))
    except OSError as error:
        raise EdgeprofError(f"cannot write to {folder}: {error.strerror}") from None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EdgeprofError(f"cannot read {path}: {error.strerror}") from None


def _shape(predictor: Any) -> dict[str, Any]:
    return {
        "name": predictor.name,
        "inputs": predictor.inputs,
        "outputs": predictor.outputs,
        "mode": predictor.mode.name.lower(),
        "consumer": predictor.consumer.name.lower(),
    }
