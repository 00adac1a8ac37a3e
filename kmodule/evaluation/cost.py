"""What a scheduler costs: instructions a request, counted by the guest's clock on a disk that takes no time.

Each instruction takes 8 ns of the guest's time, null_blk completes a request in the context of whoever issued it, and
nothing else runs: so the time of a job is its instructions, fio's own among them, and the difference to `none` is the
scheduler's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprof.kmodule import build
from edgeprof.kmodule.evaluation.errors import NoModel
from edgeprof.kmodule.evaluation.guest import PROCESSOR, SCHEDULERS, Machine
from edgeprof.kmodule.evaluation.plan import Contender
from edgeprof.kmodule.evaluation.script import GUEST_FUNCTIONS, MODEL_FILE
from edgeprof.profiler.guest.headers import build_tree
from edgeprof.profiler.guest.script import Guest

NS_AN_INSTRUCTION = 8
REQUESTS = 8000
LOADS = {
    "one at a time": "--rw=randread --ioengine=psync",
    "16 at once": "--rw=randrw --ioengine=libaio --iodepth=16 --iodepth_batch_submit=16 --iodepth_batch_complete_min=8",
}
"""How requests of 4 KiB come: alone, so that there is nothing to decide; and in crowds of reads and writes."""
BASELINE = "none"

_SCRIPT = """
rmmod null_blk
insmod $(grep null_blk /modules) queue_mode=2 irqmode=0 hw_queue_depth=32 nr_devices=1

run() {{
  queue=/sys/block/nullb0/queue
  PREDICTOR=$3 MODULES=$2
  load_scheduler
  echo $1 >$queue/scheduler
  cd $queue
  for setting in $4; do echo ${{setting#*=}} >${{setting%%=*}}; done
  cd /out
  fio --name=warm --filename=/dev/nullb0 --direct=1 --bs=4k --number_ios=256 --randseed=1 --rw=randread \\
    --ioengine=psync --output=/dev/null
  fio --name=cost --filename=/dev/nullb0 --direct=1 --bs=4k --number_ios={requests} --randseed=1 --thread \\
    --output-format=json --output=$5.json $6
  unload_scheduler
}}
"""


@dataclass(frozen=True)
class Cost:
    """Instructions a request: of everything, and of the scheduler alone (over `none`)."""

    contender: str
    load: str
    instructions: float
    own: float


def measure(machine: Machine, contenders: Sequence[Contender], logs: Path | None = None) -> list[Cost]:
    """Count for each contender and each of `LOADS`, in one guest.

    Raises:
        NoGuest, GuestFailed, CannotBuild, ToolMissing: a guest cannot be had here, or failed.
        NoModel: a contender needs one.
    """
    chosen = list(contenders)
    if all(each.name != BASELINE for each in chosen):
        chosen.insert(0, Contender(BASELINE, BASELINE, ""))
    tree = build_tree(machine.kernel, machine.cache)
    modules = sorted({module for each in chosen for module in each.modules})
    files = {f"{name}.ko": build.module(tree, name).read_bytes() for name in modules}
    programs: list[str | Path] = ["fio"]
    for each in chosen:
        if each.predictor and machine.model is None:
            raise NoModel(each.name)
    if machine.model is not None:
        files[MODEL_FILE] = machine.model.read_bytes()
        programs.append(build.program(Path(__file__).with_name("kml_load.c")))
    guest = Guest(
        machine.kernel,
        programs=programs,
        modules=["null_blk", *SCHEDULERS],
        files=files,
        counted=True,
        options=PROCESSOR,
        cache=machine.cache,
    )
    left = guest.run(script(chosen), timeout=60 + 30 * len(chosen) * len(LOADS), log=logs)
    found = {(each.name, load): instructions(left[_file(each, load)]) for each in chosen for load in LOADS}
    return [
        Cost(each.name, load, found[each.name, load], found[each.name, load] - found[BASELINE, load])
        for each in chosen
        for load in LOADS
    ]


def script(contenders: Sequence[Contender]) -> str:
    """What the guest runs."""
    lines = [GUEST_FUNCTIONS, _SCRIPT.format(requests=REQUESTS)]
    for each in contenders:
        settings = " ".join(f"{path}={value}" for path, value in each.settings.items())
        for load, words in LOADS.items():
            given = (each.scheduler, " ".join(each.modules), each.predictor, settings, _name(each, load), words)
            lines.append("run " + " ".join(f"'{word}'" for word in given))
    return "\n".join(lines) + "\n"


def _name(contender: Contender, load: str) -> str:
    return f"{contender.name}-{list(LOADS).index(load)}"


def _file(contender: Contender, load: str) -> str:
    return f"{_name(contender, load)}.json"


def instructions(content: bytes) -> float:
    """Of one request, from fio's own account of how long all took."""
    job = json.loads(content)["jobs"][0]
    requests = sum(job[kind]["total_ios"] for kind in ("read", "write"))
    nanoseconds = max(job[kind]["runtime"] for kind in ("read", "write")) * 1e6
    return float(nanoseconds / NS_AN_INSTRUCTION / requests)
