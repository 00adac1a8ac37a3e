"""The verdict's rules: one function a bottleneck, with its thresholds and why they are what they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeprof.profiler.analysis.symptoms import Symptoms

INPUT_STALL = 0.10
"""Waiting for input is a bottleneck from here on: MLPerf Storage asks for an accelerator utilisation of 90 %."""

CLEAR_STALL = 0.30
"""From here on the wait for input outweighs what noise and warm-up could explain."""

IO_PRESSURE = 0.10
"""Share of time with a task waiting for I/O from which storage is a suspect."""

HEAVY_IO_PRESSURE = 0.40
"""Without phases, I/O pressure alone names storage only where it fills much of the run."""

MEMORY_PRESSURE = 0.05
"""Share of time with a task waiting for memory: a healthy run has none, reclaim in the background costs none."""

REFAULT_SHARE = 0.25
"""Share of the bytes read from storage that had been in the page cache before and were thrown out for lack of room."""

FAULT_TIME = 0.05
"""Share of the run spent in major faults, estimated as their number times the median read latency."""

SWAP_RATE = 1e6
"""Bytes a second read back from swap that are no longer incidental."""

CHECKPOINT_SHARE = 0.10
"""Share of the run in the phase checkpoint from which writing is a bottleneck."""

THROTTLED_SHARE = 0.05
"""Share of the run in which a processor was slowed by heat or current."""

CPU_BUSY = 0.80
"""Share of the CPUs the run may use from which they are the limit."""

COMPUTE_SHARE = 0.60
"""Share of the step time in forward, backward and optimizer phases from which computing is the limit."""

BLOCKED_SHARE = 0.20
"""Share of samples in which the loading processes sat in uninterruptible sleep (state D), that is in I/O."""

WORKER_BUSY = 0.60
"""CPU use of a loading process from which decoding and augmenting is its work, not waiting."""

GPU_BUSY = 0.80
"""Utilisation from which the GPU is the limit."""


@dataclass(frozen=True)
class Finding:
    """One bottleneck: how much of the run it explains, and what supports it."""

    bound_by: str
    share: float
    evidence: tuple[str, ...]
    advice: tuple[str, ...]
    strong: bool = field(default=False)


def percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _thermal(seen: Symptoms) -> Finding | None:
    share = seen.share_of_run("throttled_time")
    if share is None or share < THROTTLED_SHARE:
        return None
    evidence = f"A processor was throttled for {seen.value('throttled_time'):.1f} s, {percent(share)} of the run."
    advice = (
        "Cool the board better, or choose a lower power mode or fixed clocks so that speed is steady.",
        "Compare runs only when both started from the same temperature.",
    )
    return Finding("thermal", share, (evidence,), advice, strong=share >= 0.2)


def _memory(seen: Symptoms) -> Finding | None:
    pressure, fault_time = seen.value("psi_memory_some"), seen.fault_time()
    evidence, share = [], 0.0
    if pressure is not None and pressure >= MEMORY_PRESSURE:
        share = pressure
        evidence.append(f"Tasks waited for memory in {percent(pressure)} of the time (PSI, {seen.whose_psi}).")
    if fault_time is not None and fault_time >= FAULT_TIME:
        share = max(share, fault_time)
        count = seen.value("major_faults") or 0
        evidence.append(f"{count:.0f} major faults took about {percent(fault_time)} of the run.")
    if seen.refault_share is not None and seen.refault_share >= REFAULT_SHARE and evidence:
        share = max(share, seen.value("data_stall") or 0.0)
        evidence.append(f"{percent(seen.refault_share)} of what storage gave had just been in the page cache.")
    if seen.swap_rate is not None and seen.swap_rate >= SWAP_RATE and evidence:
        evidence.append(f"{seen.swap_rate / 1e6:.1f} MB/s came back from swap, on the whole machine.")
    if not evidence:
        return None
    advice = ["Use fewer DataLoader workers or a smaller prefetch factor or batch, so that the page cache has room."]
    if seen.memory_limit:
        advice.append(f"The run was limited to {seen.memory_limit / 1e6:.0f} MB; try a higher --memory-limit.")
    advice.append("Store the data more compactly, so that the working set fits in memory.")
    return Finding("memory", share, tuple(evidence), tuple(advice), strong=len(evidence) > 1)


def _input(seen: Symptoms) -> Finding | None:
    stall = seen.value("data_stall")
    if stall is None:
        return _input_without_phases(seen)
    if stall < INPUT_STALL:
        return None
    evidence = [f"The main process waited for input in {percent(stall)} of its step time."]
    advice: tuple[str, ...]
    storage, preparing = _storage_signs(seen), _preparing_signs(seen)
    evidence += storage + preparing
    if storage and not preparing:
        advice = _STORAGE_ADVICE
    elif preparing and not storage:
        advice = _PREPARING_ADVICE
    elif storage and preparing:
        advice = (*_STORAGE_ADVICE[:2], *_PREPARING_ADVICE[:2])
    else:
        evidence.append("Neither storage nor the loading processes' CPU use explains the wait by itself.")
        advice = ("Try more DataLoader workers or a larger prefetch factor, and see whether the wait shrinks.",)
    return Finding("input", stall, tuple(evidence), advice, strong=stall >= CLEAR_STALL or bool(storage or preparing))


_STORAGE_ADVICE = (
    "Storage is too slow for this input: pack many small files into fewer large ones, or use faster storage.",
    "Raise read-ahead for sequential input, or lower it if little of what is read ahead is used.",
    "More DataLoader workers keep more requests in flight where the device can serve them.",
)
_PREPARING_ADVICE = (
    "Decoding and augmenting takes the loading processes' CPU time: use cheaper transforms, or store prepared data.",
    "Add DataLoader workers while CPUs are idle; where none is, fewer threads in the main process may help.",
)


def _storage_signs(seen: Symptoms) -> list[str]:
    signs = []
    pressure = seen.value("psi_io_some")
    if pressure is not None and pressure >= IO_PRESSURE:
        signs.append(f"Tasks waited for I/O in {percent(pressure)} of the time (PSI, {seen.whose_psi}).")
    if seen.loaders_blocked is not None and seen.loaders_blocked >= BLOCKED_SHARE:
        signs.append(f"The loading processes sat in I/O (state D) in {percent(seen.loaders_blocked)} of the samples.")
    latency = seen.value("block_read_latency_p50")
    if signs and latency is not None:
        tail = seen.value("block_read_latency_p99") or latency
        signs.append(f"A read request took {latency * 1e3:.2g} ms (median) to {tail * 1e3:.2g} ms (p99).")
    return signs


def _preparing_signs(seen: Symptoms) -> list[str]:
    signs = []
    if seen.loaders_busy is not None and seen.loaders_busy >= WORKER_BUSY:
        signs.append(f"The loading processes used {percent(seen.loaders_busy)} of a CPU each: they compute, not wait.")
    if seen.cpu_busy is not None and seen.cpu_busy >= CPU_BUSY:
        signs.append(f"The run used {percent(seen.cpu_busy)} of the CPUs it may use.")
    return signs


def _input_without_phases(seen: Symptoms) -> Finding | None:
    """Where no phase tells the wait for input: I/O pressure while the run mostly reads."""
    pressure, read = seen.value("psi_io_some"), seen.value("storage_read_bytes")
    if pressure is None or read is None or pressure < HEAVY_IO_PRESSURE:
        return None
    if read < (seen.value("storage_write_bytes") or 0.0):
        return None
    evidence = (
        f"Tasks waited for I/O in {percent(pressure)} of the time (PSI, {seen.whose_psi}).",
        f"The run read {read / 1e6:.1f} MB from storage, more than it wrote.",
        "No phase was recorded, so the wait is not tied to loading input.",
    )
    return Finding(
        "input", pressure, evidence, ("Mark the phases, or run with --auto, to see what waits.", *_STORAGE_ADVICE)
    )


def _writeback(seen: Symptoms) -> Finding | None:
    share, written = seen.phase_shares.get("checkpoint"), seen.value("storage_write_bytes")
    pressure = seen.value("psi_io_some")
    if share is not None and share >= CHECKPOINT_SHARE:
        evidence = [f"The phase checkpoint took {percent(share)} of the run."]
    else:
        if seen.phase_shares or pressure is None or pressure < HEAVY_IO_PRESSURE:
            return None
        if written is None or written <= (seen.value("storage_read_bytes") or 0.0):
            return None
        share = pressure
        evidence = [f"Tasks waited for I/O in {percent(pressure)} of the time (PSI, {seen.whose_psi})."]
    if written:
        evidence.append(f"The run wrote {written / 1e6:.1f} MB to storage.")
    tail = seen.value("block_write_latency_p99")
    if tail is not None:
        evidence.append(f"A write request took up to {tail * 1e3:.2g} ms (p99).")
    if seen.dirty_peak is not None and seen.dirty_limit and seen.dirty_peak >= 0.8 * seen.dirty_limit:
        evidence.append(f"Dirty pages reached {percent(seen.dirty_peak / seen.dirty_limit)} of the kernel's limit.")
    advice = (
        "Write checkpoints less often, or from another thread while training goes on.",
        "Lower vm.dirty_background_bytes, so that writing starts earlier and in smaller portions.",
        "Put checkpoints on another device than the data.",
    )
    return Finding("writeback", share, tuple(evidence), advice, strong=len(evidence) > 1 and bool(seen.phase_shares))


def _compute(seen: Symptoms) -> Finding | None:
    stall = seen.value("data_stall")
    computing = seen.computing or 0.0
    evidence = []
    if computing >= COMPUTE_SHARE:
        what = "step time" if seen.steps else "run"
        evidence.append(f"Forward, backward and optimizer took {percent(computing)} of the {what}.")
    if seen.gpu_busy is not None and seen.gpu_busy >= GPU_BUSY:
        evidence.append(f"The GPU was busy in {percent(seen.gpu_busy)} of the time.")
    if seen.cpu_busy is not None and seen.cpu_busy >= CPU_BUSY:
        evidence.append(f"The run used {percent(seen.cpu_busy)} of the CPUs it may use.")
    if not evidence or (stall is not None and stall >= INPUT_STALL):
        return None
    if stall is not None:
        evidence.append(f"The main process waited for input in only {percent(stall)} of its step time.")
    share = max(computing, seen.gpu_busy or 0.0, seen.cpu_busy or 0.0)
    share *= 1 - (stall or 0.0)
    if stall is None:  # busy CPUs may as well be decoding input: without phases that cannot be told
        share = min(share, 0.5)
    advice = (
        "Memory and I/O are not the limit here: a smaller model, lower precision or a faster processor would help.",
        "Check the thread count and the CPU governor before blaming the model.",
    )
    return Finding("compute", share, tuple(evidence), advice, strong=stall is not None and len(evidence) > 1)


RULES = (_thermal, _memory, _input, _writeback, _compute)
"""All rules; a rule gives None where its figures were not captured or are below its threshold."""
