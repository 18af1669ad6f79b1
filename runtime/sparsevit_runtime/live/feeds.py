"""What a session can be fed with, made into sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import FrameError, SourceError
from ..images.frames import FrameLike
from ..sources import open_source
from ..sources.base import Frame, Source
from ..sources.iterable import IterableSource
from .supervisor import Reconnect, Supervisor, already_open

#: A URI, path or camera index, an open source, frames, or a function that opens a live source.
SourceLike = str | Path | int | Source | Iterable[FrameLike | Frame] | Callable[[], Source]


def open_feed(source: SourceLike, reconnect: Reconnect | None = None) -> Source:
    """Opens a source for a session; a live one comes under supervision.

    Args:
        source: a URI, path or camera index (`open_source`), an open Source, an iterable of frames, or a function that
            opens a live source. Only with the function the source need not be there yet.
        reconnect: rule by which a live source is opened anew; None for never.

    Raises:
        SourceError: it cannot be opened, or it is open already and could not be opened anew.
        FrameError: it is nothing that gives frames.
    """
    if isinstance(source, (str, Path, int)):
        opened = open_source(source)
        return Supervisor(partial(open_source, source), reconnect, first=opened) if opened.live else opened
    if isinstance(source, Source):
        if not source.live or isinstance(source, Supervisor):
            return source
        if reconnect is not None:
            raise SourceError(
                f"{source.name} is open already, and nothing says how to open it anew; give its URI, or a function "
                "that opens it"
            )
        return Supervisor(already_open(source), first=source)
    if isinstance(source, np.ndarray) and source.ndim == 3:
        raise FrameError(
            f"a stream takes several frames, got one of shape {source.shape}; call the model, or pass [frame]"
        )
    if isinstance(source, Iterable):
        return IterableSource(source)
    if callable(source):
        return Supervisor(source, reconnect)
    raise FrameError(f"cannot stream from {type(source).__name__}; give a URI, a path, a camera index or frames")
