"""Boots Linux kernels in QEMU: a script with its files back, or this machine's own root with a workload in it."""
