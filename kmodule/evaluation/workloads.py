"""The workloads of an evaluation: fixed mixes of jobs, chosen before anything was measured, each with its reason.

Two programs do the work.  The loader (`kmodule/loader/loader.c`) does what deep-learning programs do, on files of
ext4; fio reads the bare disk, to show one property at a time.  All jobs of a workload start together and do a fixed
number of operations, so that every contender completes the same work.  Nothing but reads goes to the bare disk: there
`none` can let a read wait for seconds behind plugged writes (docs/test-disk.md), and any order would look good.
"""

from __future__ import annotations

from dataclasses import dataclass

PACE = {"sdcard": 1, "emmc": 4, "ssd": 4, "nvme": 4}
"""Classes of the test disk (docs/test-disk.md), and by how much jobs that go by the clock are faster there: the
camera that fills a third of a card would leave a faster disk idle.  Faster still, a guest's processor is the limit."""
CLASSES = tuple(PACE)


@dataclass(frozen=True)
class Part:
    """One job of a workload.

    Attributes:
        name: of its completion time; unique in the workload.
        words: options of fio, or of one of the loader's jobs.
        operations: how many it does.
        rate: operations a second, on the slowest class; 0: it goes by no clock.
        think: microseconds of computing after each operation, likewise.
    """

    name: str
    words: str
    operations: int
    rate: int = 0
    think: int = 0


@dataclass(frozen=True)
class Workload:
    """Jobs that run side by side.

    Attributes:
        program: ``fio`` or ``loader``.
        mixed: whether an order can gain anything; where it cannot, nothing may be lost.
        why: what it stands for.
        epochs: how often the loader's jobs are done, each time from a cold cache: a data set that memory does not hold.
    """

    name: str
    program: str
    mixed: bool
    why: str
    parts: tuple[Part, ...]
    epochs: int = 1


NO_SYNC = 1000000
"""Frames after which a camera makes them durable: never within a workload."""

WORKLOADS = (
    Workload(
        "reads-writeback",
        "loader",
        True,
        "Reads that a model waits for, while frames that nobody waits for are written back.",
        (
            Part("inference", "inference,size=32m,read=16k,rate=0", 1000),
            Part("camera", f"camera,frame=256k,sync={NO_SYNC}", 45, rate=30),
        ),
    ),
    Workload(
        "reads-camera",
        "loader",
        True,
        "The same with larger reads, and with frames made durable once a second: now some writes are waited for.",
        (
            Part("inference", "inference,size=32m,read=64k,rate=0", 500),
            Part("camera", "camera,frame=256k,sync=30", 60, rate=30),
        ),
    ),
    Workload(
        "log-writeback",
        "loader",
        True,
        "A log made durable record by record, beside the same writeback: all that is waited for are small writes.",
        (
            Part("log", "camera,frame=4k,sync=1", 90, rate=60),
            Part("camera", f"camera,frame=256k,sync={NO_SYNC}", 45, rate=30),
        ),
    ),
    Workload(
        "training-checkpoint",
        "loader",
        True,
        "Four workers load images in random order while the trainer now and then saves 4 MiB and waits for it.",
        (
            Part("loader", "shuffled,files=300,size=110k,workers=4", 300),
            Part("checkpoint", "checkpoint,size=2m,shards=1,record=128k,every=3,write=4m", 15, think=150000),
        ),
    ),
    Workload(
        "rows-copy",
        "loader",
        True,
        "Random rows of a mapped file beside a copy that writes as fast as it may: the device is always full.",
        (
            Part("rows", "mmap,size=48m,row=4k", 400),
            Part("copy", "checkpoint,size=20m,shards=1,record=1m,every=2,write=2m", 20),
        ),
    ),
    Workload(
        "sizes",
        "fio",
        True,
        "Small reads of one program behind large reads of another: only who knows what a request costs can tell.",
        (
            Part("small", "--rw=randread --bs=4k --direct=1 --ioengine=psync --offset=0 --size=64m", 600),
            Part(
                "large",
                "--rw=randread --bs=512k --direct=1 --ioengine=libaio --iodepth=4 --offset=128m --size=64m",
                100,
            ),
        ),
    ),
    Workload(
        "sequential",
        "fio",
        False,
        "One program that reads on and on: there is never a choice.",
        (Part("reader", "--rw=read --bs=128k --direct=1 --ioengine=psync --offset=0 --size=192m", 300),),
    ),
    Workload(
        "shuffled",
        "fio",
        False,
        "Reads of one size in random places, by four threads that each wait for theirs: no order is better than any.",
        tuple(
            Part(f"reader-{number}", "--rw=randread --bs=64k --direct=1 --ioengine=psync --offset=0 --size=192m", 125)
            for number in range(1, 5)
        ),
    ),
    Workload(
        "light",
        "loader",
        False,
        "Two models that read now and then: the device has room to spare, and hardly anything ever waits.",
        (
            Part("first", "inference,size=8m,read=64k", 60, rate=40),
            Part("second", "inference,size=8m,read=16k", 90, rate=60),
        ),
    ),
)
"""The first six can gain from a good order; the last three cannot, and must not lose."""
