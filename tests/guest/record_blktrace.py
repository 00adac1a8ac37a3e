"""Records a block trace with the real blktrace in a guest, and what blkparse makes of it.

    python -m tests.guest.record_blktrace FOLDER

writes to FOLDER ``vdb.blktrace.0``; ``blkparse.txt``, what blkparse prints for it (a
line a record, see `FORMAT`); and ``deltas.txt``, the times that it computes between
the actions of a request.  The reader of blktrace files is held to these.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.guest.machine import Guest, debian_kernel

FORMAT = r"%D %c %s %T.%9t %p %a %d %S %N %e %C\n"
"""Of blkparse: device, CPU, sequence, seconds, pid, action, rwbs, sector, bytes, error, command."""

SCRIPT = """
disk=/dev/vdb queue=/sys/block/vdb/queue
echo 64 > $queue/max_sectors_kb
clocks() { awk '{ print $1 }' /proc/uptime; }
trace() { blktrace -d $disk -o "$1" > "$1.out" 2>&1 & tracer=$!
  for i in $(seq 200); do [ "$(cat /sys/block/vdb/trace/enable)" = 1 ] && break; sleep 0.05; done; }
end() { kill -INT $tracer; wait $tracer || true; }
job() { fio --filename=$disk --size=8m --direct=1 --minimal --output=/tmp/fio "$@"; }

clocks > uptime
echo mq-deadline > $queue/scheduler
trace vdb
job --name=reader --rw=randread --bs=4k --ioengine=psync --number_ios=40
job --name=writer --rw=randwrite --bs=4k --ioengine=libaio --iodepth=8 --iodepth_batch=8 --number_ios=40 --fsync=16
job --name=split --rw=write --bs=256k --ioengine=psync --number_ios=4
job --name=forward --rw=read --bs=4k --ioengine=libaio --iodepth=8 --iodepth_batch=8 --number_ios=32
job --name=backward --rw=write:-8k --bs=4k --ioengine=libaio --iodepth=8 --iodepth_batch=8 --number_ios=32 --offset=4m
echo none > $queue/scheduler
job --name=direct --rw=randrw --bs=8k --ioengine=libaio --iodepth=4 --number_ios=40 --sync=dsync
blkdiscard -o 1048576 -l 1048576 $disk
/programs/mke2fs -q -t ext4 -O ^has_journal $disk 6144
end
clocks >> uptime
blkparse -i vdb -f '{format}' -q > blkparse.txt
blkparse -i vdb -t -q > deltas.txt
cat vdb.out
"""


def record() -> dict[str, bytes]:
    """The files of a fresh recording by name, with ``uptime``: seconds since boot before and after it.

    Raises:
        NoGuest, GuestFailed: see `tests.guest.machine`.
    """
    guest = Guest(
        debian_kernel(),
        programs=("fio", "blktrace", "blkparse", "blkdiscard", "mke2fs"),
        modules=("mq_deadline",),
        disks=(32 << 20,),
    )
    return guest.run(SCRIPT.replace("{format}", FORMAT), timeout=80)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for name, content in record().items():
        (target / name).write_bytes(content)
        print(f"{target / name}: {len(content)} bytes")
