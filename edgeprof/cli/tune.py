"""``edgeprof tune``: set disks' read-ahead, and if asked their schedulers, by what the running programs do."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import click

from edgeprof.cli.options import json_option
from edgeprof.profiler.agent.signals import SignalWait, blocked

ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


@click.command()
@click.argument("disks", metavar="DISK...", nargs=-1, required=True)
@click.option(
    "--model",
    "model_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of the best read-ahead, as `edgeprof kml train readahead` makes it.  [default: a simple rule]",
)
@click.option("--observe", is_flag=True, help="Say what would be tried, and change nothing.")
@click.option("--schedulers", is_flag=True, help="Try the schedulers that this kernel has, too.")
@click.option("--leave-open-files", is_flag=True, help="A change counts for files that are opened later only.")
@click.option("--seconds", type=click.FloatRange(min=1), help="End after so long.  [default: at Ctrl-C or SIGTERM]")
@json_option
def command(
    disks: tuple[str, ...],
    model_file: Path | None,
    observe: bool,
    schedulers: bool,
    leave_open_files: bool,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Tune disks while programs use them (as root).

    A DISK is a block device or a folder on one.  A change is tried in turns with what was there before and kept only
    if more of what programs want is read a second; at the end all is as it was.
    """
    # Blocked, a signal waits until the tuner waits for it: no change is ever cut off half-way.  Before the imports:
    # NumPy starts threads, which would take it otherwise.
    with blocked(ENDING):
        from edgeprof.kmodule.tuning.advice import load_model, rule
        from edgeprof.kmodule.tuning.service import Settings, tune
        from edgeprof.kmodule.tuning.tuner import Told
        from edgeprof.profiler.storage.tools import need_root

        def tell(told: Told) -> None:
            if as_json:
                click.echo(json.dumps({"time": time.time(), "sentence": told.sentence, **told.facts}))
            else:
                click.echo(f"{time.strftime('%H:%M:%S')} {told.sentence}")

        need_root("tuning")
        settings = Settings(
            load_model(model_file) if model_file is not None else rule(),
            observe=observe,
            schedulers=schedulers,
            open_files=not leave_open_files,
            seconds=seconds,
        )
        signals = SignalWait(ENDING)
        done = tune(disks, settings, lambda pause: signals.wait(pause) is not None, tell)
        share = done["cpu_seconds"] / done["seconds"]
        told = f"ended after {done['seconds']:.0f} s, with {share:.2%} of one core; all is as it was"
        tell(Told(told, {"event": "ends", "cpu_share": share, **done}))
