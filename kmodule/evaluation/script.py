"""The shell scripts of an evaluation's jobs: disk anew, files made, scheduler chosen, work traced, trace saved.

The same script serves a guest's test disk and a real disk: what differs is set in variables before it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from edgeprof.kmodule.evaluation.plan import Job
from edgeprof.kmodule.evaluation.trace import EVENTS
from edgeprof.kmodule.evaluation.workloads import PACE, Part

DISK = "kml_disk"
DISK_MIB = 256
INSTANCE = "edgeprof-evaluation"
JOB_FILE, MODEL_FILE = "job.sh", "model.kml"
LOADER_FILE = "loader"

WRITEBACK = {
    "dirty_background_bytes": 1 << 20,
    "dirty_bytes": 16 << 20,
    "dirty_expire_centisecs": 50,
    "dirty_writeback_centisecs": 20,
}
"""When the kernel writes dirty pages back, and at what amount writers wait: the usual tenth and fifth of memory and
half a minute, made as small as the jobs are beside real ones."""
TRACE_KIB = 32768
"""Room for a job's events, which are read after it."""

JOB_SCRIPT = f"""
# One job: NAME DISK_CLASS SEED MODULES PREDICTOR SCHEDULER TUNE PREPARE WORK, set by the caller.
queue=/sys/block/$DISK/queue
trace=$TRACING/instances/{INSTANCE}
out=$OUT/$NAME
mkdir -p $out
{"".join(f"echo {value} >/proc/sys/vm/{name}{chr(10)}" for name, value in WRITEBACK.items())}
load_disk
echo none >$queue/scheduler
if [ -n "$PREPARE" ]; then
  $MKE2FS -q -t ext4 -N 2048 -J size=4 -F -E $ZEROING /dev/$DISK
  mount -t ext4 /dev/$DISK $FILES
  eval "$PREPARE"
  umount $FILES
  mount -t ext4 /dev/$DISK $FILES
fi
sync
echo 3 >/proc/sys/vm/drop_caches
load_scheduler
echo $SCHEDULER >$queue/scheduler
cd $queue
for setting in $TUNE; do echo ${{setting#*=}} >${{setting%%=*}}; done
cd /

[ -d $trace ] || mkdir $trace
echo 0 >$trace/tracing_on
echo mono >$trace/trace_clock
echo {TRACE_KIB} >$trace/buffer_size_kb
echo >$trace/trace
IFS=: read major minor </sys/block/$DISK/dev
for event in {" ".join(EVENTS)}; do
  echo "dev == $((major << 20 | minor))" >$trace/events/block/$event/filter
  echo 1 >$trace/events/block/$event/enable
done

echo 1 >$trace/tracing_on
eval "$WORK"
sync
[ -z "$PREPARE" ] || umount $FILES
echo 0 >$trace/tracing_on

raw=$out/raw/tracefs
mkdir -p $raw/formats
for cpu in $trace/per_cpu/cpu*; do
  $DD if=$cpu/trace_pipe_raw of=$raw/${{cpu##*/}}.raw bs=$PAGE iflag=nonblock 2>/dev/null || true # until it is empty
  cat $cpu/stats >$raw/stats.${{cpu##*/}}
done
cat $TRACING/events/header_page >$raw/header_page
cat $TRACING/events/header_event >$raw/header_event
for event in {" ".join(EVENTS)}; do cat $trace/events/block/$event/format >$raw/formats/block.$event; done
cat $queue/scheduler >$out/scheduler
mkdir $out/state
for file in $queue/iosched/* /sys/kernel/debug/block/$DISK/sched/statistics /sys/kernel/debug/$DISK/counters; do
  [ ! -f $file ] || cat $file >$out/state/${{file##*/}}
done
unload_scheduler
unload_disk
"""

GUEST = f"""
export DISK={DISK} TRACING=/sys/kernel/tracing OUT=/out FILES=/files PAGE=4096
export DD=/programs/dd MKE2FS=/programs/mke2fs ZEROING=assume_storage_prezeroed=1
mkdir -p /files
dmesg -c >/dev/null
"""
"""Before the jobs of a guest."""

GUEST_FUNCTIONS = f"""
load_disk() {{ insmod /kml_disk.ko class=$DISK_CLASS seed=$SEED size_mib={DISK_MIB}; }}
unload_disk() {{ rmmod {DISK}; }}
load_scheduler() {{
  for module in $MODULES; do insmod /$module.ko; done
  [ -z "$PREDICTOR" ] || kml_load $PREDICTOR /{MODEL_FILE}
}}
unload_scheduler() {{
  echo none >$queue/scheduler
  reversed=
  for module in $MODULES; do reversed="$module $reversed"; done
  for module in $reversed; do rmmod $module; done
}}
"""


def guest_script(jobs: Sequence[Job]) -> str:
    """What a guest runs; a job that fails leaves its words and does not end the others."""
    lines = [GUEST]
    for job in jobs:
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables(job).items())
        lines.append(f"mkdir -p /out/{job.name}")
        lines.append(
            f"{words} sh -e /{JOB_FILE} >/out/{job.name}/printed 2>&1 || {{ echo $? >/out/{job.name}/failed;"
            f" {{ umount /files; echo none >/sys/block/{DISK}/queue/scheduler;"
            f" for module in mq_kmlib kml_readahead kml {DISK}; do rmmod $module; done; }} 2>/dev/null || true; }}"
        )
    lines.append("dmesg >/out/log")
    return "\n".join(lines) + "\n"


def variables(job: Job) -> dict[str, str]:
    """What the job's script reads."""
    prepare, work = commands(job)
    return {
        "NAME": job.name,
        "DISK_CLASS": job.disk,
        "SEED": str(job.seed),
        "SCHEDULER": job.contender.scheduler,
        "MODULES": " ".join(job.contender.modules),
        "PREDICTOR": job.contender.predictor,
        "TUNE": " ".join(f"{path}={value}" for path, value in job.contender.settings.items()),
        "PREPARE": prepare,
        "WORK": work,
    }


def commands(job: Job) -> tuple[str, str]:
    """How a job's files are made (empty: it has none), and its work."""
    if job.workload.program == "fio":
        words = [f"--output-format=json --output=$out/fio.json --randseed={job.seed} --filename=/dev/$DISK --thread"]
        words += [f"--name={part.name} {part.words} --number_ios={part.operations}" for part in job.workload.parts]
        return "", " ".join(["fio", *words])
    parts = " ".join(_loader_job(part, PACE.get(job.disk, 1)) for part in job.workload.parts)
    epochs = " ".join(str(number) for number in range(job.workload.epochs))
    work = f"loader --zeros --seed {job.seed}$epoch $FILES {parts} >$out/{LOADER_FILE}-$epoch.json"
    prepare = f"loader --prepare --zeros --seed {job.seed} $FILES {parts}"
    return prepare, f"for epoch in {epochs}; do {work}; echo 1 >/proc/sys/vm/drop_caches; done"


def _loader_job(part: Part, pace: int) -> str:
    words = [part.words, f"ops={part.operations}"]
    words += [f"rate={part.rate * pace}"] if part.rate else []
    words += [f"think={part.think // pace}"] if part.think else []
    return ",".join(words)
