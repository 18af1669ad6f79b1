"""What a session can be fed with, made into sources."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import FrameError, PermanentSourceError, SourceError
from ..images.frames import FrameLike
from ..sources import may_be_live, open_source
from ..sources.addresses import hide_password
from ..sources.base import Frame, Source
from ..sources.iterable import IterableSource
from .driver import open_within
from .reconnect import BRIEF, Reconnect
from .supervisor import Supervisor, already_open

_log = logging.getLogger(__name__)

#: A URI, path or camera index, an open source, frames, or a function that opens a live source.
SourceLike = str | Path | int | Source | Iterable[FrameLike | Frame] | Callable[[], Source]


def open_feed(source: SourceLike, reconnect: Reconnect | None = None) -> Source:
    """Opens a source for a session; a live one comes under supervision.

    Args:
        source: a URI, path or camera index (`open_source`), an open Source, an iterable of frames, or a function that
            opens a live source. With a function, or a rule that says so, a live source need not be there yet.
        reconnect: rule by which a live source is opened anew. None: a source named by its URI has some seconds to come
            back after it broke (`BRIEF`), any other has none.

    Raises:
        SourceError: it cannot be opened, or it is open already and could not be opened anew.
        FrameError: it is nothing that gives frames.
    """
    if isinstance(source, (str, Path, int)):
        return _open_uri(source, reconnect or BRIEF)
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


def _open_uri(uri: str | Path | int, policy: Reconnect) -> Source:
    live = may_be_live(uri)
    if live is False:
        return open_source(uri)
    name = hide_password(str(uri))
    open = partial(open_source, uri, policy.timeouts)
    waits = policy.before_first
    if live and waits:
        return Supervisor(open, policy, name=name)
    try:
        opened = open_within(open, policy.open_timeout_s, name)
    except SourceError as error:
        if not waits or isinstance(error, PermanentSourceError):
            raise
        _log.warning("%s is not there yet: %s", name, error)
        return Supervisor(open, policy, name=name)  # taken for a camera, until its server says what it is
    return Supervisor(open, policy, first=opened) if opened.live else opened
