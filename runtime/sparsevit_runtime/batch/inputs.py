"""The work list of a job: what its INPUT names, as URIs of images and videos."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ..errors import BatchError
from ..sources.images import IMAGE_SUFFIXES
from ..texts import shown
from .places import arrow_module, is_pattern, is_remote, list_files, local_copy, local_path, read_bytes

_VIDEOS = "mp4 m4v mov avi mkv webm mpg mpeg ts m2ts mts wmv flv 3gp ogv gif h264 264 h265 265 hevc mjpeg mjpg y4m"
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _VIDEOS.split(" "))
#: Columns of a Parquet list that hold URIs, the first that is there.
_URI_COLUMNS = ("uri", "path", "source", "file", "url")
_LISTS = (".txt", ".lst", ".list")
_FORMS = "a folder, a glob, a file, or a list of URIs (.txt, .parquet)"


def suffix_of(uri: str) -> str:
    """The suffix of what a URI names, in small letters; chained file systems are named behind it."""
    return PurePosixPath(uri.partition("::")[0].partition("?")[0] if is_remote(uri) else uri).suffix.lower()


def is_image(uri: str) -> bool:
    return suffix_of(uri) in IMAGE_SUFFIXES


def list_inputs(given: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """URIs of all images and videos that an input names, in a fixed order, none of them twice.

    Args:
        given: a folder, whose subfolders count; a glob; an image or a video; a text list with a URI a line (.txt; lines
            that begin with ``#`` are left out) or a Parquet list with a column ``uri``, ``path``, ``source``, ``file``
            or ``url``; on this machine, or with the scheme of a file system that pyarrow or fsspec reaches. Or several
            of them.

    Raises:
        BatchError: nothing is there, or nothing of it is an image or a video.
        MissingDependencyError: a library that it takes is not installed.
    """
    if isinstance(given, (str, os.PathLike)):
        found = _listed(os.fspath(given))
    else:
        found = [uri for each in given for uri in _listed(os.fspath(each))]
    if not found:
        raise BatchError(f"no input is named; give {_FORMS}")
    return list(dict.fromkeys(found))


def _listed(text: str) -> list[str]:
    if not text.strip():
        raise BatchError(f"the input is empty; give {_FORMS}")
    suffix = suffix_of(text)
    if is_pattern(text.partition("::")[0]) and (is_remote(text) or not local_path(text).exists()):
        return _media(list_files(text), text)
    if suffix in _LISTS:
        return _of_text(text)
    if suffix == ".parquet" and (is_remote(text) or local_path(text).is_file()):
        return _of_parquet(text)
    if is_remote(text):
        known = suffix in IMAGE_SUFFIXES or suffix in VIDEO_SUFFIXES
        return [text] if known else _media(list_files(text), text)
    path = local_path(text)
    if path.is_dir():
        return _media(list_files(text), text)
    if not path.exists():
        raise BatchError(f"there is no {shown(text)}; give {_FORMS}")
    return [text]


def _media(found: list[str], text: str) -> list[str]:
    """Those that are images or videos by their suffix, 2.png before 10.png."""
    media = [uri for uri in found if suffix_of(uri) in IMAGE_SUFFIXES or suffix_of(uri) in VIDEO_SUFFIXES]
    if media:
        return sorted(media, key=_natural)
    others = sorted({suffix_of(uri) or "no suffix" for uri in found})
    raise BatchError(
        f"{shown(text)} names no image and no video (found: {', '.join(others[:8]) or 'nothing'}); files of other "
        "suffixes are taken from a list: files.txt"
    )


def _of_text(uri: str) -> list[str]:
    try:
        data = read_bytes(uri)
        lines = [line.strip() for line in data.decode("utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise BatchError(f"the list {shown(uri)} cannot be read ({error}); write a URI a line, in UTF-8") from error
    found = [line for line in lines if line and not line.startswith("#")]
    return _placed(found, uri)


def _of_parquet(uri: str) -> list[str]:
    parquet = arrow_module("parquet")
    try:
        with local_copy(uri) as path:
            names = parquet.read_schema(path).names
            column = next((name for name in _URI_COLUMNS if name in names), None)
            if column is None:
                raise BatchError(
                    f"the list {shown(uri)} has no column {' or '.join(_URI_COLUMNS)}; it has {', '.join(names[:8])}"
                )
            found = parquet.read_table(path, columns=[column]).column(0).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own are of these
        raise BatchError(f"the list {shown(uri)} cannot be read ({error}); is it Parquet?") from error
    return _placed([str(each) for each in found if each], uri)


def _placed(found: list[str], list_uri: str) -> list[str]:
    """Relative names are beside the list that holds them."""
    if not found:
        raise BatchError(f"the list {shown(list_uri)} is empty; write a URI a line")
    if is_remote(list_uri):
        return found
    folder = local_path(list_uri).parent
    return [each if is_remote(each) or Path(each).is_absolute() else str(folder / each) for each in found]


def _natural(uri: str) -> list[tuple[int, int, str]]:
    """Orders digits by value and the rest by letters."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", uri)]
