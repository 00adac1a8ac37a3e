"""The capture agent: launches the workload, copies bytes while it runs, writes the manifest, restores the machine.

Standard library only and Python 3.8 syntax, so that it runs on a board's own Python with nothing installed.
It is single-threaded on purpose: one timer, one loop, nothing that could hold a lock or a core.
"""
