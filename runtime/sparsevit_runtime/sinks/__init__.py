"""Sinks for results, opened by URI."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import SinkError
from .base import Sink, StopStream
from .display import DisplaySink
from .images import FolderSink
from .jsonl import JsonLinesSink
from .null import NullSink
from .video import VIDEO_CODECS, VideoSink

__all__ = ["NullSink", "Sink", "StopStream", "open_sink"]

_FORMS = "out.mp4, out.avi, a folder (out/, out/?format=png), out.jsonl, display://, null://"


def open_sink(uri: str | os.PathLike[str], fps: float | None = None) -> Sink:
    """Opens a place for results. What can fail is tried here, before a long run.

    Args:
        uri: ``.mp4`` or ``.avi`` video, folder (ends with a slash, exists as one, or has no suffix), ``.jsonl``,
            ``display://`` or ``null://``.
        fps: rate of videos, frames per second; 25 when None.

    Raises:
        SinkError: the form is unknown, the folder is missing or cannot be written, or there is no screen.
    """
    text = os.fspath(uri)
    if not isinstance(text, str) or not text.strip():
        raise SinkError(f"the sink is empty; accepted: {_FORMS}")
    if "://" in text:
        if text.rstrip("/") == "display:":
            return DisplaySink()
        if text.rstrip("/") == "null:":
            return NullSink()
        raise SinkError(f"unknown sink {text!r}; accepted: {_FORMS}")
    place, mark, query = text.partition("?")
    path = Path(place).expanduser()
    suffix = path.suffix.lower()
    if place.endswith(("/", os.sep)) or path.is_dir() or not suffix:
        if not mark:
            return FolderSink(path)
        key, _, value = query.partition("=")
        if key != "format":
            raise SinkError(f"{text!r} has the unknown option {query!r}; accepted: ?format=jpg or ?format=png")
        return FolderSink(path, value)
    if mark:
        raise SinkError(f"{text!r}: a file takes no options; accepted: {_FORMS}")
    if suffix in VIDEO_CODECS:
        return VideoSink(path, fps)
    if suffix == ".jsonl":
        return JsonLinesSink(path)
    raise SinkError(f"cannot write {suffix!r} files ({text!r}); accepted: {_FORMS}")
