"""Becomes a command that is tied to the life of the process that started it; a program of its own.

``python -I -S tied.py PARENT COMMAND...``: when the parent dies, however that happens, the kernel sends the command
SIGINT.  Asking for that between fork and exec is safe in a process with one thread only; here it is always.  The
kernel means the *thread* that forked: it has to live as long as the command.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
NOT_FOUND = 127


def main() -> None:
    """Tie and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # it is ignored in what shells start with &
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # it died before the line above
    try:
        os.execvp(command[0], command)  # noqa: S606  (a list of words, no shell)
    except OSError as error:
        print(f"edgeprof: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(NOT_FOUND)


if __name__ == "__main__":
    main()
