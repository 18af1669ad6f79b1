"""Sinks for results, opened by URI."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..arguments import as_flag, as_float
from ..errors import ArgumentError, SinkError
from ..files import writable_path
from ..sources.addresses import hide_password
from ..tasks.masks import MASK_FORMS
from . import mqtt, rtsp, webhook
from .base import Sink, StopStream
from .coco import CocoSink
from .display import DisplaySink
from .images import LABELS, PICTURE_SUFFIXES, FolderSink, LabelsSink, PictureSink
from .jsonl import JsonLinesPipe, JsonLinesSink
from .null import NullSink
from .options import choice, parse_bytes, parse_count, parse_duration, read_options
from .parts import Rotation
from .video import VIDEO_SUFFIXES, VideoSink

__all__ = ["NullSink", "Sink", "StopStream", "check_sink", "folder_of", "is_stdout", "open_sink"]

_FORMS = (
    "out.mp4, out.avi, a folder (out/, out/?format=png, out/?format=labels), a picture (out.jpg, out.png), out.jsonl "
    "(out.jsonl?masks=rle), out.json (COCO), - (JSON lines to stdout), http://localhost:8080, mqtt://host/topic, "
    "rtsp://host/path, webhook+https://host/path, display://, null://; videos and .jsonl in parts: out.mp4?every=10m, "
    "?size=500MB, ?every=1h&keep=24"
)
#: Stdout, and its names on Linux: behind these may be a file, which is not to be taken for another's.
_STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
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
            ``http://host:port`` for browsers (`sinks.web`), ``mqtt://host/topic`` (`sinks.mqtt`),
            ``webhook+https://host/path`` (`sinks.webhook`), ``rtsp://host/path`` (`sinks.rtsp`), ``display://`` or
            ``null://``. A folder takes ``?format=jpg``, ``png`` or ``labels``; JSON lines take ``?masks=rle``,
            ``counts`` or ``polygons``. Videos and .jsonl go on in new parts, ``out-0001.mp4`` and so on, with
            ``?every=10m`` (s, m, h, d), ``?size=500MB`` or both (``&``), and ``keep=24`` keeps only the newest.
        fps: frames per second of results that have no time, and of videos that OpenCV encodes; 25 when None.
        overwrite: replaces files that are there. Without it only those that this program wrote are replaced.
        live: the frames come from a live source (`Source.live`), so what is written cannot be made again: it stands
            under its own name from the first frame, a kill leaves what is readable up to the last second, and whatever
            ends it, `abort` and a full disk, too, it is kept.

    Raises:
        SinkError: the form is unknown, the folder is missing or cannot be written, a file may not be replaced, there is
            no screen, or an address cannot be served at.
        MissingDependencyError: the form needs an extra that is not installed.
        ArgumentError: an argument is of another type.
    """
    text = os.fspath(uri) if isinstance(uri, (str, os.PathLike)) else uri
    if not isinstance(text, str):
        raise ArgumentError(f"a sink is text or a path, got {type(text).__name__}; accepted: {_FORMS}")
    fps = None if fps is None else as_float(fps, "fps")
    return _understood(text, fps, as_flag(overwrite, "overwrite"), as_flag(live, "live"))()


def check_sink(uri: str) -> None:
    """Reads a URI as `open_sink` does, and opens nothing.

    Raises:
        SinkError: the form or an option is unknown.
        MissingDependencyError: the form needs an extra that is not installed.
    """
    _understood(uri, None, True, False)


def _understood(text: object, fps: float | None, overwrite: bool, live: bool) -> Callable[[], Sink]:
    """What opens the sink that a URI names."""
    if not isinstance(text, str) or not text.strip():
        raise SinkError(f"the sink is empty; accepted: {_FORMS}")
    if "://" in text:
        return _understood_address(text)
    place, mark, _ = text.partition("?")
    if is_stdout(text):
        return partial(JsonLinesPipe, None, **read_options(text, _MASKS, _FORMS))
    if place.startswith("/dev/video"):
        raise SinkError(f"{text!r} is a camera, and no place for results; accepted: {_FORMS}")
    path = writable_path(place)
    if path.is_fifo() or path.is_char_device():
        return partial(JsonLinesPipe, path, **read_options(text, _MASKS, _FORMS))
    suffix = path.suffix.lower()
    if folder_of(text) is not None:
        image_format = read_options(text, _FOLDERS, _FORMS).get("format")
        if image_format == LABELS:
            return partial(LabelsSink, path, overwrite)
        return partial(FolderSink, path, image_format, overwrite)
    if suffix == ".jsonl":
        options = read_options(text, _MASKS | _PARTS, _FORMS)
        masks = options.pop("masks", None)
        return partial(JsonLinesSink, path, overwrite, masks, live=live, rotation=_rotation(**options), fps=fps)
    if suffix == ".json":
        return partial(CocoSink, path, overwrite, read_options(text, _MASKS, _FORMS).get("masks"), live=live)
    if suffix in VIDEO_SUFFIXES:
        options = read_options(text, _PARTS, _FORMS)
        return partial(VideoSink, path, fps, overwrite, live=live, rotation=_rotation(**options))
    if mark:
        raise SinkError(f"{text!r}: such a file takes no options; accepted: {_FORMS}")
    if suffix in PICTURE_SUFFIXES:
        return partial(PictureSink, path, overwrite)
    raise SinkError(f"cannot write {suffix!r} files ({text!r}); accepted: {_FORMS}")


def _understood_address(text: str) -> Callable[[], Sink]:
    if text.rstrip("/") == "display:":
        return DisplaySink
    if text.rstrip("/") == "null:":
        return NullSink
    scheme = text.partition("://")[0].lower()
    if scheme in ("http", "https"):
        from .web import check_web, open_web

        check_web(text)
        return partial(open_web, text)
    if scheme in mqtt.SCHEMES:
        mqtt.check_mqtt(text)
        return partial(mqtt.open_mqtt, text)
    if scheme in rtsp.SCHEMES:
        rtsp.check_rtsp(text)
        return partial(rtsp.RtspSink, text)
    if scheme in webhook.SCHEMES:
        webhook.read_webhook(text)
        return partial(webhook.open_webhook, text)
    raise SinkError(f"unknown sink {hide_password(text)!r}; accepted: {_FORMS}")


def _rotation(every: float | None = None, size: int | None = None, keep: int | None = None) -> Rotation:
    return Rotation(every, size, keep)


def is_stdout(uri: str) -> bool:
    """Whether a sink's URI names the process's stdout, for JSON lines."""
    return uri.partition("?")[0] in _STDOUT


def folder_of(uri: str) -> Path | None:
    """The folder that a sink's URI names, there or not; None for every other form.

    Raises:
        SinkError: it is no path.
    """
    place = uri.partition("?")[0]
    if "://" in uri or is_stdout(uri):
        return None
    path = writable_path(place)
    if path.is_fifo() or path.is_char_device():
        return None
    return path if place.endswith(("/", os.sep)) or path.is_dir() or not path.suffix else None
