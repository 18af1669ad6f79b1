"""Still images: one file, a folder, or a glob."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..errors import ImageError, SourceError
from ..images.image_files import read_image
from ..texts import is_unicode
from .animation import HEAD, AnimationSource, is_animated
from .base import Frame, Source
from .video import FALLBACK_FPS, check_readable

_log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2", ".avif")
)


class ImageSource(Source):
    """Images in order, as 8-bit BGR and turned the way their EXIF orientation says.

    Images that do not decode are skipped and counted, with a warning that names them, and keep their index. Sizes may
    differ from frame to frame; timestamps count at 25 per second.

    Args:
        name: text of what was asked for, for messages.
        paths: files in order, at least one.

    Raises:
        SourceError: none of them decodes.
    """

    def __init__(self, name: str, paths: list[Path]):
        self.name = name
        self.frame_count = len(paths)
        self._paths: Iterator[tuple[int, Path]] = iter(enumerate(paths))
        self._pending = self._next_image()
        if self._pending is None:
            which = f"the image {name!r}" if len(paths) == 1 else f"any of the {len(paths)} images of {name!r}"
            raise SourceError(
                f"cannot decode {which}; damaged, not readable, or in a format this OpenCV ({cv2.__version__}) lacks. "
                "Convert to PNG or JPEG"
            )
        if len(paths) == 1:
            height, width = self._pending[2].shape[:2]
            self.size_wh = (width, height)

    def read(self) -> Frame | None:
        found, self._pending = self._pending or self._next_image(), None
        if found is None:
            return None
        index, path, image = found
        return Frame(image, index, round(index / FALLBACK_FPS * 1e9), file=str(path))

    def close(self) -> None:
        self._pending = None
        self._paths = iter(())

    def _next_image(self) -> tuple[int, Path, np.ndarray] | None:
        for index, path in self._paths:
            try:
                image = read_image(path)
            except ImageError as error:
                _log.warning("skipped %s: %s", path, error)
                self.damaged += 1
                continue
            if (pages := _pages(path)) > 1:
                _log.warning("%s has %d pages: the first stands for it; split it to have all", path, pages)
            elif self.frame_count != 1 and _animated(path):
                _log.warning("%s is animated: its first frame stands for it; to have all, give it alone", path)
            return index, path, image
        return None


def open_image(path: Path) -> Source:
    """Opens one image file; an animated one has its frames.

    Raises:
        SourceError: it is empty, may not be read, or does not decode.
        MissingDependencyError: it is animated, and nothing that is installed reads that.
    """
    check_readable(path)
    # What is read of a pipe is gone.
    return AnimationSource(path) if path.is_file() and _animated(path) else ImageSource(str(path), [path])


def open_folder(path: Path) -> ImageSource:
    """Opens the images of a folder, not of its subfolders, in natural order: 2.png before 10.png.

    Raises:
        SourceError: the folder holds no images, or none decodes.
    """
    try:
        names = [p for p in path.iterdir() if p.is_file()]
    except OSError as error:
        raise SourceError(f"cannot list the folder {str(path)!r} ({error.strerror}); check its permissions") from error
    images = [p for p in names if p.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        found = sorted({p.suffix.lower() or "no suffix" for p in names})
        raise SourceError(
            f"the folder {str(path)!r} holds no images (found: {', '.join(found[:8]) or 'no files'}); accepted "
            f"suffixes: {', '.join(sorted(IMAGE_SUFFIXES))}. Name a video inside it, or a glob for its subfolders: "
            f"{path}/**/*.jpg"
        )
    return ImageSource(str(path), sorted(images, key=_natural))


def open_glob(pattern: str) -> ImageSource:
    """Opens the images that match a glob, in natural order; ``**`` crosses folders.

    Raises:
        SourceError: nothing matches, or none decodes.
    """
    paths = [Path(p) for p in glob.glob(pattern, recursive=True)]
    images = [p for p in paths if p.is_file()]
    if not images:
        raise SourceError(
            f"no file matches {pattern!r}; check the folder, and quote the pattern so that the shell leaves it alone"
        )
    return ImageSource(pattern, sorted(images, key=_natural))


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Orders digits by value and the rest by letters."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", str(path))]


def _pages(path: Path) -> int:
    """Pages of a TIFF; 1 of any other image, and where OpenCV cannot tell."""
    if path.suffix.lower() not in (".tif", ".tiff") or not is_unicode(str(path)) or not hasattr(cv2, "imcount"):
        return 1
    try:
        return int(cv2.imcount(str(path)))
    except cv2.error:
        return 1


def _animated(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return is_animated(file.read(HEAD))
    except OSError:
        return False
