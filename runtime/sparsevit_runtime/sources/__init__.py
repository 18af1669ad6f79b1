"""Sources of frames, opened by URI."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import PermanentSourceError, SourceError
from ..files import expand_path
from ..texts import shown
from .addresses import check_url, hide_password
from .base import Frame, Source, Timeouts
from .camera import open_camera, open_csi
from .http_source import open_http
from .images import IMAGE_SUFFIXES, open_folder, open_glob, open_image
from .network import NetworkSource
from .sample import open_sample
from .synthetic import open_synthetic
from .video import open_video_file

__all__ = ["Frame", "Source", "open_source"]

_FORMS = (
    "a camera index (0), /dev/videoN, csi://N, rtsp://..., http(s)://..., a video file, an image, a folder of images, "
    "a glob ('frames/*.png'), synthetic://street, sample://"
)
_STREAMS = ("rtsp", "rtsps", "rtmp", "udp", "tcp", "srt")
_CAMERA = re.compile(r"-?[0-9]+(\?.*)?$|/dev/video")


def open_source(uri: str | int | os.PathLike[str], timeouts: Timeouts | None = None) -> Source:
    """Opens anything that delivers frames.

    Args:
        uri: camera index, ``/dev/videoN``, ``csi://N``, ``rtsp://...``, ``http(s)://...``, path of a video or an
            image, ``-`` (stdin) or a named pipe with one, folder, glob,
            ``synthetic://street?size=WxH&seed=N&frames=N&fps=F`` or ``sample://``.
        timeouts: limits for what comes over a network.

    Raises:
        PermanentSourceError: the URI is none, or its server refuses it: trying again is of no use.
        SourceError: there is no such source, it may not be used, or nothing in it decodes; the message says what to do.
    """
    if isinstance(uri, bool) or not isinstance(uri, (str, int, os.PathLike)):
        raise SourceError(f"a source is text, a path or a number, got {type(uri).__name__}; accepted: {_FORMS}")
    text = os.fspath(uri) if isinstance(uri, os.PathLike) else str(uri)
    if not text.strip():
        raise SourceError(f"the source is empty; accepted: {_FORMS}")
    if _CAMERA.match(text):
        return open_camera(text)
    scheme, mark, _ = text.partition("://")
    return _open_uri(scheme.lower(), text, timeouts) if mark else _open_path("/dev/stdin" if text == "-" else text)


def may_be_live(uri: str | int | os.PathLike[str]) -> bool | None:
    """Whether a URI names something without an end, as far as its form tells; None where only its server knows.

    Raises:
        PermanentSourceError: it is an address that is not valid.
    """
    text = os.fspath(uri) if isinstance(uri, os.PathLike) else str(uri)
    scheme, mark, _ = text.partition("://")
    scheme = scheme.lower() if mark else ""
    if scheme in ("http", "https", *_STREAMS):
        check_url(text)
        return None if scheme.startswith("http") else True
    return scheme == "csi" or (not mark and _CAMERA.match(text) is not None)


def _open_uri(scheme: str, uri: str, timeouts: Timeouts | None) -> Source:
    if scheme == "synthetic":
        return open_synthetic(uri)
    if scheme == "sample":
        return open_sample(uri)
    if scheme == "csi":
        return open_csi(uri, timeouts)
    if scheme in _STREAMS:
        timeouts = timeouts or Timeouts()
        return NetworkSource(uri, timeouts.open_ms, timeouts.read_ms)
    if scheme in ("http", "https"):
        return open_http(uri, timeouts)
    raise PermanentSourceError(f"{hide_password(uri)!r} has the unknown scheme {scheme!r}; accepted: {_FORMS}")


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
