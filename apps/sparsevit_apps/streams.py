"""The process's standard streams, which whoever started it may have closed."""

from __future__ import annotations

import os
import sys


def fill_standard_streams() -> None:
    """Has something stand at 0, 1 and 2 where nothing does: the next file that is opened would be there, and whatever a
    library tells on stderr be written into it.

    Reading is at the end then, writing to stdout fails as it does on a full disk, and what is told on stderr is lost.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # the lowest number that is free: this one
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def let_go_of_stdout() -> None:
    """Nothing more is written there, not by the interpreter at its end either."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
