"""What a command that runs for months does about its memory."""

from __future__ import annotations

import gc


def settle() -> None:
    """Has the garbage collector pass over what is there now, the libraries above all: with it a full collection holds
    every thread up for a tenth of a second, and frames with it. What lay in earlier calls' is looked at again first."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
