"""Sinks for results, opened by URI."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import SinkError
from ..files import expand_path
from ..sources.addresses import hide_password
from ..tasks.masks import MASK_FORMS
from .base import Sink, StopStream
from .coco import CocoSink
from .display import DisplaySink
from .images import LABELS, PICTURE_SUFFIXES, FolderSink, LabelsSink, PictureSink
from .jsonl import JsonLinesPipe, JsonLinesSink
from .null import NullSink
from .options import choice, parse_bytes, parse_count, parse_duration, read_options
from .parts import Rotation
from .video import VIDEO_SUFFIXES, VideoSink

__all__ = ["NullSink", "Sink", "StopStream", "folder_of", "open_sink"]

_FORMS = (
    "out.mp4, out.avi, a folder (out/, out/?format=png, out/?format=labels), a picture (out.jpg, out.png), out.jsonl "
    "(out.jsonl?masks=rle), out.json (COCO), - (JSON lines to stdout), http://localhost:8080, display://, null://; "
    "videos and .jsonl in parts: out.mp4?every=10m, ?size=500MB, ?every=1h&keep=24"
)
_MASKS = {"masks": choice(*MASK_FORMS)}
_FOLDERS = {"format": str}
_PARTS = {"every": parse_duration, "size": parse_bytes, "keep": parse_count}


def open_sink(
    uri: str | os.PathLike[str], fps: float | None = None, *, overwrite: bool = True, live: bool = False
) -> Sink:
    """Opens a place for results. What can fail is tried here, before a long run.

    Args:
        uri: ``.mp4`` or ``.avi`` video, folder (ends with a slash, exists as one, or has no suffix), picture
            (``.jpg``, ``.png``, ...), ``.jsonl``, ``.json`` (COCO), ``-`` or a named pipe for JSON lines as they come,
            ``http://host:port`` for browsers (`sinks.web`), ``display://`` or ``null://``. A folder takes
            ``?format=jpg``, ``png`` or ``labels``; JSON lines take ``?masks=rle``, ``counts`` or ``polygons``. Videos
            and .jsonl go on in new parts, ``out-0001.mp4`` and so on, with ``?every=10m`` (s, m, h, d),
            ``?size=500MB`` or both (``&``), and ``keep=24`` keeps only the newest.
        fps: frames per second of results that have no time, and of videos that OpenCV encodes; 25 when None.
        overwrite: replaces files that are there. Without it only those that this program wrote are replaced.
        live: the frames come from a live source (`Source.live`), so what is written cannot be made again: it stands
            under its own name from the first frame, a kill leaves what is readable up to the last second, and whatever
            ends it, `abort` and a full disk, too, it is kept.

    Raises:
        SinkError: the form is unknown, the folder is missing or cannot be written, a file may not be replaced, there is
            no screen, or an address cannot be served at.
        MissingDependencyError: the form needs an extra that is not installed.
    """
    text = os.fspath(uri)
    if not isinstance(text, str) or not text.strip():
        raise SinkError(f"the sink is empty; accepted: {_FORMS}")
    if "://" in text:
        if text.rstrip("/") == "display:":
            return DisplaySink()
        if text.rstrip("/") == "null:":
            return NullSink()
        if text.startswith(("http://", "https://")):
            from .web import open_web

            return open_web(text)
        raise SinkError(f"unknown sink {hide_password(text)!r}; accepted: {_FORMS}")
    place, mark, _ = text.partition("?")
    if place == "-":
        return JsonLinesPipe(None, **read_options(text, _MASKS, _FORMS))
    path = _expanded(place)
    if path.is_fifo() or path.is_char_device():
        return JsonLinesPipe(path, **read_options(text, _MASKS, _FORMS))
    suffix = path.suffix.lower()
    if folder_of(text) is not None:
        image_format = read_options(text, _FOLDERS, _FORMS).get("format")
        if image_format == LABELS:
            return LabelsSink(path, overwrite)
        return FolderSink(path, image_format, overwrite)
    if suffix == ".jsonl":
        options = read_options(text, _MASKS | _PARTS, _FORMS)
        return JsonLinesSink(
            path, overwrite, options.pop("masks", None), live=live, rotation=_rotation(**options), fps=fps
        )
    if suffix == ".json":
        return CocoSink(path, overwrite, read_options(text, _MASKS, _FORMS).get("masks"), live=live)
    if suffix in VIDEO_SUFFIXES:
        options = read_options(text, _PARTS, _FORMS)
        return VideoSink(path, fps, overwrite, live=live, rotation=_rotation(**options))
    if mark:
        raise SinkError(f"{text!r}: such a file takes no options; accepted: {_FORMS}")
    if suffix in PICTURE_SUFFIXES:
        return PictureSink(path, overwrite)
    raise SinkError(f"cannot write {suffix!r} files ({text!r}); accepted: {_FORMS}")


def _rotation(every: float | None = None, size: int | None = None, keep: int | None = None) -> Rotation:
    return Rotation(every, size, keep)


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
