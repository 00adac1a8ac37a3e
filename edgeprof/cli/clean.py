"""``edgeprof clean``: undo what an interrupted run left on the machine."""

from __future__ import annotations

import json

import click

from edgeprof.profiler.errors import EdgeprofError


@click.command()
@click.option("--kill", is_flag=True, help="Also end workloads that outlived their edgeprof; otherwise they go on.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(kill: bool, as_json: bool) -> None:
    """Undo what interrupted runs left behind: tracing instances, cgroups, settings, helper processes.

    Capture directories are kept; `edgeprof ingest` reads them.
    """
    from edgeprof.profiler.agent.undo import clean_all

    try:
        result = clean_all(kill)
    except OSError as error:
        raise EdgeprofError(f"cannot read the undo journals: {error.strerror} ({error.filename})") from None
    if as_json:
        click.echo(json.dumps(result._asdict(), indent=2))
    else:
        for sentence in [*result.undone, *result.running]:
            click.echo(sentence)
        if not any(result):
            click.echo("nothing to clean")
    if result.failed:
        raise EdgeprofError(
            "; ".join(result.failed) + "; run `edgeprof clean` again as the user who ran edgeprof, or as root"
        )
