"""Sinks for results, opened by URI."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import SinkError
from ..files import expand_path
from ..tasks.masks import MASK_FORMS
from .base import Sink, StopStream
from .display import DisplaySink
from .images import IMAGE_FORMATS, LABELS, PICTURE_SUFFIXES, FolderSink, LabelsSink, PictureSink
from .jsonl import JsonLinesPipe, JsonLinesSink
from .null import NullSink
from .video import VIDEO_SUFFIXES, VideoSink

__all__ = ["NullSink", "Sink", "StopStream", "folder_of", "open_sink"]

_FORMS = (
    "out.mp4, out.avi, a folder (out/, out/?format=png, out/?format=labels), a picture (out.jpg, out.png), out.jsonl "
    "(out.jsonl?masks=rle), - (JSON lines to stdout), display://, null://"
)


def open_sink(uri: str | os.PathLike[str], fps: float | None = None, *, overwrite: bool = True) -> Sink:
    """Opens a place for results. What can fail is tried here, before a long run.

    Args:
        uri: ``.mp4`` or ``.avi`` video, folder (ends with a slash, exists as one, or has no suffix), picture
            (``.jpg``, ``.png``, ...), ``.jsonl``, ``-`` or a named pipe for JSON lines as they come, ``display://`` or
            ``null://``. A folder takes ``?format=jpg``, ``png`` or ``labels``; JSON lines take ``?masks=rle``,
            ``counts`` or ``polygons``.
        fps: rate of videos, frames per second; 25 when None.
        overwrite: replaces files that are there. Without it only those that this program wrote are replaced.

    Raises:
        SinkError: the form is unknown, the folder is missing or cannot be written, a file may not be replaced, or there
            is no screen.
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
    key, _, value = query.partition("=")
    if place == "-":
        return JsonLinesPipe(None, _masks(text, mark, key, value))
    path = _expanded(place)
    if path.is_fifo() or path.is_char_device():
        return JsonLinesPipe(path, _masks(text, mark, key, value))
    suffix = path.suffix.lower()
    if folder_of(text) is not None:
        if not mark:
            return FolderSink(path, overwrite=overwrite)
        if key != "format":
            formats = ", ".join(f"?format={name}" for name in (*IMAGE_FORMATS, LABELS))
            raise SinkError(f"{text!r} has the unknown option {query!r}; accepted: {formats}")
        return LabelsSink(path, overwrite) if value == LABELS else FolderSink(path, value, overwrite)
    if suffix == ".jsonl":
        return JsonLinesSink(path, overwrite, _masks(text, mark, key, value))
    if mark:
        raise SinkError(f"{text!r}: such a file takes no options; accepted: {_FORMS}")
    if suffix in VIDEO_SUFFIXES:
        return VideoSink(path, fps, overwrite)
    if suffix in PICTURE_SUFFIXES:
        return PictureSink(path, overwrite)
    raise SinkError(f"cannot write {suffix!r} files ({text!r}); accepted: {_FORMS}")


def _masks(text: str, mark: str, key: str, value: str) -> str | None:
    """The form of masks that the options of JSON lines ask for."""
    if not mark:
        return None
    if key != "masks" or value not in MASK_FORMS:
        forms = ", ".join(f"?masks={name}" for name in MASK_FORMS)
        raise SinkError(f"{text!r} has an unknown option; accepted: {forms}")
    return value


def folder_of(uri: str) -> Path | None:
    """The folder that a sink's URI names, there or not; None for every other form.

    Raises:
        SinkError: it is no path.
    """
    place = uri.partition("?")[0]
    if "://" in uri or place == "-":
        return None
    path = _expanded(place)
    if path.is_fifo() or path.is_char_device():
        return None
    return path if place.endswith(("/", os.sep)) or path.is_dir() or not path.suffix else None


def _expanded(place: str) -> Path:
    try:
        return expand_path(place)
    except ValueError as error:
        raise SinkError(f"{place[:80]!r} is no path that can be written ({error}); choose another") from error
