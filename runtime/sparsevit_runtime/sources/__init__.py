"""Sources of frames, opened by URI."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import SourceError
from ..files import expand_path
from ..texts import shown
from .base import Frame, Source
from .camera import open_camera, open_csi
from .images import IMAGE_SUFFIXES, open_folder, open_glob, open_image
from .network import NetworkSource, check_url, hide_password
from .sample import open_sample
from .synthetic import open_synthetic
from .video import VideoSource, open_video_file

__all__ = ["Frame", "Source", "open_source"]

_FORMS = (
    "a camera index (0), /dev/videoN, csi://N, rtsp://..., http(s)://..., a video file, an image, a folder of images, "
    "a glob ('frames/*.png'), synthetic://street, sample://"
)
_STREAMS = ("rtsp", "rtsps", "rtmp", "udp", "tcp", "srt")
_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".gif", ".wmv", ".flv")


def open_source(uri: str | int | os.PathLike[str]) -> Source:
    """Opens anything that delivers frames.

    Args:
        uri: camera index, ``/dev/videoN``, ``csi://N``, ``rtsp://...``, ``http(s)://...``, path of a video or an
            image, folder, glob, ``synthetic://street?size=WxH&seed=N&frames=N&fps=F`` or ``sample://``.

    Raises:
        SourceError: there is no such source, it may not be used, or nothing in it decodes; the message says what to do.
    """
    if isinstance(uri, bool) or not isinstance(uri, (str, int, os.PathLike)):
        raise SourceError(f"a source is text, a path or a number, got {type(uri).__name__}; accepted: {_FORMS}")
    text = os.fspath(uri) if isinstance(uri, os.PathLike) else str(uri)
    if not text.strip():
        raise SourceError(f"the source is empty; accepted: {_FORMS}")
    if re.fullmatch(r"-?[0-9]+(\?.*)?", text) or re.match(r"/dev/video", text):
        return open_camera(text)
    scheme, mark, _ = text.partition("://")
    return _open_uri(scheme.lower(), text) if mark else _open_path(text)


def _open_uri(scheme: str, uri: str) -> Source:
    if scheme == "synthetic":
        return open_synthetic(uri)
    if scheme == "sample":
        return open_sample(uri)
    if scheme == "csi":
        return open_csi(uri)
    if scheme in _STREAMS:
        return NetworkSource(uri)
    if scheme in ("http", "https"):
        check_url(uri)
        # A file ends; anything else behind http is a camera that is expected to go on.
        is_file = uri.partition("?")[0].lower().endswith(_VIDEO_SUFFIXES)
        return VideoSource(uri, hide_password(uri)) if is_file else NetworkSource(uri)
    raise SourceError(f"{hide_password(uri)!r} has the unknown scheme {scheme!r}; accepted: {_FORMS}")


def _open_path(text: str) -> Source:
    try:
        path = expand_path(text)
    except ValueError as error:
        raise SourceError(f"{shown(hide_password(text))} cannot be opened ({error}); accepted: {_FORMS}") from error
    if path.is_dir():
        return open_folder(path)
    if path.exists():
        return open_image(path) if path.suffix.lower() in IMAGE_SUFFIXES else open_video_file(path)
    if re.search(r"[*?\[]", text):
        return open_glob(str(path))
    raise SourceError(f"there is no file {hide_password(text)!r}{_looked_in()}; {_nearby(path)}accepted: {_FORMS}")


def _looked_in() -> str:
    try:
        return f" (looked in {Path.cwd()})"
    except OSError:  # the folder is gone
        return ""


def _nearby(path: Path) -> str:
    """What lies where the file was expected, to show a typing error."""
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {str(folder)!r} does not exist either; " if "@" not in str(folder) else ""  # a password
    try:
        names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() == path.suffix.lower())
    except OSError:  # a folder that may be entered, not listed
        return ""
    return f"files like it there: {', '.join(names[:5])}; " if names and path.suffix else ""
