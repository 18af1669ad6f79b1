"""Exit codes of the command: each has one meaning, whatever was read and written."""

from __future__ import annotations

from sparsevit_runtime.errors import DiskFullError, SourceLostError

ERROR, LOST, NO_ROOM = 1, 3, 4


def code_of(error: BaseException) -> int:
    """The exit code of an error."""
    if isinstance(error, DiskFullError):
        return NO_ROOM
    return LOST if isinstance(error, SourceLostError) else ERROR
