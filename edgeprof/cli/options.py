"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class FolderType(click.Path):
    """A folder of runs: a path, or an fsspec address such as ``s3://bucket/runs``, which stays text."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if isinstance(value, str) and "://" in value else super().convert(value, param, ctx)


class LocalFolderType(click.Path):
    """A folder of this machine: captures are written to disk, and pushed from there."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and "://" in value:
            self.fail(
                f"{value} is an address; capture into a folder of this machine, then `edgeprof dataset push` it there",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


folder_option = click.option(
    "--folder",
    type=FolderType(),
    help="Folder of runs, or its address (s3://bucket/runs).  [default: $EDGEPROF_RUNS, else edgeprof-runs]",
)
output_option = click.option(
    "-o",
    "--output",
    type=LocalFolderType(),
    envvar="EDGEPROF_RUNS",
    default="edgeprof-runs",
    show_default=True,
    help="Folder for capture directories.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
run_argument = click.argument("run", metavar="RUN")

RUN_HELP = "RUN is a path; or `last`, an id or the first characters of one, looked up in the folder of runs."
