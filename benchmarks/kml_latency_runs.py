"""Make the runs that mq-kmlib's model is trained on: guests with modelled disks, as an evaluation has them.

    python benchmarks/kml_latency_runs.py FOLDER [--disk CLASS] [--seeds N] [--guests N]
    edgeprof kml train latency FOLDER -o mq-kmlib.kml

The programs are those of `edgeprof kml bench schedulers`, the workloads and the seeds are others: a model that is
evaluated there has seen neither.  What the folder has figures of already is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from edgeprof.kmodule.evaluation import guest
from edgeprof.kmodule.evaluation.folder import is_done
from edgeprof.kmodule.evaluation.plan import Job, contender
from edgeprof.kmodule.evaluation.record import record
from edgeprof.kmodule.evaluation.workloads import CLASSES, NO_SYNC, WORKLOADS, Part, Workload
from edgeprof.profiler.guest.releases import release_kernel

FIRST_SEED = 101
SCHEDULERS = ("mq-deadline", "none")
"""The order of arrival, nearly, with and without merging by a scheduler: what is learned is the device."""

TRAINING = tuple(
    Workload(name, program, True, "", parts)
    for name, program, parts in (
        (
            "training-frames",
            "loader",
            (
                Part("inference", "inference,size=24m,read=8k,rate=0", 600),
                Part("camera", "camera,frame=128k,sync=20", 60, rate=40),
            ),
        ),
        (
            "training-images",
            "loader",
            (
                Part("loader", "shuffled,files=250,size=60k,workers=3", 250),
                Part("checkpoint", "checkpoint,size=2m,shards=1,record=64k,every=6,write=2m", 30, think=60000),
            ),
        ),
        (
            "training-columns",
            "loader",
            (
                Part("rows", "mmap,size=40m,row=16k", 300),
                Part("copy", "checkpoint,size=12m,shards=1,record=512k,every=3,write=1m", 24),
            ),
        ),
        (
            "training-journal",
            "loader",
            (
                Part("log", "camera,frame=8k,sync=1", 80, rate=40),
                Part("inference", "inference,size=32m,read=32k,rate=0", 400),
            ),
        ),
        (
            "training-recorder",
            "loader",
            (
                Part("raw", f"camera,frame=512k,sync={NO_SYNC}", 30, rate=10),
                Part("preview", "camera,frame=64k,sync=10", 60, rate=30),
                Part("inference", "inference,size=32m,read=128k,rate=0", 250),
            ),
        ),
        (
            "training-records",
            "loader",
            (
                Part("records", "sequential,size=24m,shards=2,record=256k", 90),
                Part("rows", "mmap,size=32m,row=4k", 250),
                Part("log", "camera,frame=16k,sync=5", 60, rate=30),
            ),
        ),
        (
            "training-sizes",
            "fio",
            (
                Part("middle", "--rw=randread --bs=16k --direct=1 --ioengine=psync --offset=0 --size=64m", 400),
                Part(
                    "large",
                    "--rw=randread --bs=256k --direct=1 --ioengine=libaio --iodepth=3 --offset=96m --size=64m",
                    120,
                ),
                Part("on", "--rw=read --bs=64k --direct=1 --ioengine=psync --offset=176m --size=64m", 300),
            ),
        ),
        (
            "training-deep",
            "fio",
            (Part("deep", "--rw=randread --bsrange=4k-64k --direct=1 --ioengine=libaio --iodepth=8 --size=192m", 900),),
        ),
    )
)


def jobs(folder: Path, disks: list[str], seeds: int) -> list[Job]:
    """What is still to be run; a seed of all before the next."""
    taken = {item.name for item in WORKLOADS}
    assert not taken & {item.name for item in TRAINING}
    made = [
        Job(contender(scheduler), workload, disk, FIRST_SEED - 1 + seed)
        for seed in range(seeds)
        for disk in disks
        for workload in TRAINING
        for scheduler in SCHEDULERS
    ]
    return [job for job in made if not is_done(folder, job)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--disk", choices=CLASSES, action="append")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--guests", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    left = jobs(options.folder, options.disk or list(CLASSES), options.seeds)
    machine = guest.Machine(release_kernel("6.1"), at_once=options.guests)
    logs = options.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for number, ran in enumerate(guest.run(machine, left, logs), 1):
        content = record(ran.job, ran.left, options.folder / "runs" / ran.job.name, machine.facts)
        print(f"[{number}/{len(left)}] {ran.job.name}: {content['failed'] or json.dumps(content['completion'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
