"""``edgeprof kml``: the in-kernel library: build it, load it, look at it, measure it, boot a kernel to try it in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprof.cli.kml_bench import bench
from edgeprof.cli.kml_guest import ARCHITECTURES, guest
from edgeprof.cli.kml_train import evaluate, train
from edgeprof.cli.kml_train_readahead import evaluate_readahead, train_readahead
from edgeprof.cli.options import json_option
from edgeprof.cli.output import make_console, make_table, print_json
from edgeprof.profiler.errors import EdgeprofError

if TYPE_CHECKING:
    from edgeprof.profiler.guest.headers import BuildTree


MODULES = ("kml", "mq_kmlib", "kml_readahead")
"""That are loaded into a kernel; the others use kml."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Machine learning inside the kernel: KMLib's user library and its kernel module."""


@command.command(short_help="Build libkml.so and the kernel modules.")
@click.option(
    "--kernel-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Build folder or headers of the kernel.  [default: the running kernel's]",
)
@click.option(
    "--kernel-source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The kernel's sources, of which mq_kmlib takes headers.  [default: Debian's package]",
)
@click.option("--release", metavar="RELEASE", help="Fetch Debian's headers of such a kernel: 5.10, 6.1 or 6.12.")
@click.option("--arch", type=click.Choice(ARCHITECTURES), help="Of the processor.  [default: this machine's]")
@click.option(
    "--only",
    "parts",
    type=click.Choice(["library", *MODULES, "kml_disk"]),
    multiple=True,
    default=("library", "kml"),
    show_default=True,
    help="Build this; may be given more than once.",
)
@click.option("--dkms", is_flag=True, help="Install the module by DKMS, for this kernel and those to come (as root).")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Copy what was built there.")
@json_option
def build(
    kernel_dir: Path | None,
    kernel_source: Path | None,
    release: str | None,
    arch: str | None,
    parts: tuple[str, ...],
    dkms: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Build libkml.so and kernel modules, and print where they are; what is there already is not built again."""
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
    tree = None
    for part in parts:
        if part == "library":
            built[part] = library(chosen)
            continue
        tree = tree or _tree(kernel_dir, release, chosen or architecture.here())
        built[part] = module(tree, part, kernel_source)
        if part == "kml":
            built["symbols"] = built[part].with_name(SYMBOLS)
    if output is not None:
        built = {part: _copied(path, output) for part, path in built.items()}
    if as_json:
        print_json({part: {"path": str(path), "bytes": path.stat().st_size} for part, path in built.items()})
    else:
        for path in built.values():
            click.echo(path)


command.add_command(guest)
train.add_command(train_readahead)
evaluate.add_command(evaluate_readahead)
command.add_command(train)
command.add_command(evaluate)


@command.command(short_help="Load a kernel module, or a model into a predictor.")
@click.argument("words", nargs=-1, metavar="[kml|mq_kmlib|kml_readahead|FILE [PARAMETER=VALUE]...]...")
@click.option(
    "--model",
    "models",
    nargs=2,
    multiple=True,
    metavar="PREDICTOR FILE",
    help="Give a predictor the model of a file instead; the module must be there.",
)
def load(words: tuple[str, ...], models: tuple[tuple[str, str], ...]) -> None:
    """Load modules into the running kernel (as root), kml if none is named.

    One that is named without its file is built, where need be, and kml is loaded before those that use it.  Parameters
    of a module stand behind it.
    """
    from edgeprof.kmodule import device
    from edgeprof.kmodule.training import card

    if not models:
        _insert(words or ("kml",))
        return
    contents = []
    for name, file in models:
        card.check(Path(file))
        contents.append((name, _content(Path(file))))
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


@command.command(short_help="Unload a kernel module, or a predictor's model.")
@click.argument("modules", nargs=-1, metavar="[kml|mq_kmlib|kml_readahead]...")
@click.option("--model", "predictors", multiple=True, metavar="PREDICTOR", help="Take its model away instead.")
def unload(modules: tuple[str, ...], predictors: tuple[str, ...]) -> None:
    """Unload modules from the running kernel (as root), kml if none is named."""
    from edgeprof.kmodule import device

    if not predictors:
        for name in modules or ("kml",):
            device.remove(name)
        return
    with device.Device() as opened:
        for name in predictors:
            opened.unload(opened.find(name))


command.add_command(bench)


def _insert(words: tuple[str, ...]) -> None:
    from edgeprof.kmodule import device
    from edgeprof.kmodule.build import module
    from edgeprof.profiler.guest.headers import running_tree

    modules: list[tuple[str, list[str]]] = []
    for word in words:
        if "=" not in word:
            modules.append((word, []))
        elif modules:
            modules[-1][1].append(word)
        else:
            raise click.UsageError(f"no module stands before {word}")
    for name, _ in modules:
        if name not in MODULES and not Path(name).is_file():
            raise EdgeprofError(f"{name} is neither a file nor one of {', '.join(MODULES)}")
    if not Path("/proc/modules").exists():
        raise EdgeprofError("this kernel loads no modules; `edgeprof kml guest --kml` boots one that does")
    for name, parameters in modules:
        if name not in MODULES:
            device.insert(Path(name), parameters)
            continue
        if device.is_loaded(name):
            raise EdgeprofError(f"the module {name} is loaded already; `edgeprof kml unload {name}` takes it out")
        if name != "kml" and not device.is_loaded("kml"):
            device.insert(module(running_tree()))
        device.insert(module(running_tree(), name), parameters)


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
