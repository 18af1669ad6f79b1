"""Annotated frames as image files: one picture, or a folder of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import SinkError
from ..files import check_replaceable, resolve_links, write_atomic
from .base import Sink
from .paths import check_folder, check_target

if TYPE_CHECKING:
    from ..tasks import Result

_log = logging.getLogger(__name__)

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 90)
#: Encoder settings by suffix. OpenCV's own default for PNG is its fastest: any explicit level turns filters on.
PICTURE_SUFFIXES: dict[str, tuple[int, ...]] = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": (),
    ".bmp": (),
    ".webp": (cv2.IMWRITE_WEBP_QUALITY, 90),
    ".tif": (),
    ".tiff": (),
}
#: Formats that a folder of frames can be asked for.
IMAGE_FORMATS = ("jpg", "png")
#: The format of a folder that gets the answers themselves.
LABELS = "labels"


class PictureSink(Sink):
    """Writes one annotated picture, at the size of its frame.

    Args:
        path: path of the picture, with one of `PICTURE_SUFFIXES`.
        overwrite: replaces a file that this program did not write.

    Raises:
        SinkError: the folder is missing or cannot be written, or the file may not be replaced.
    """

    needs_image = True

    def __init__(self, path: Path, overwrite: bool = True):
        self.name = str(path)
        self._path = resolve_links(path)
        self._frame: int | None = None
        check_target(self._path, overwrite)

    @property
    def written(self) -> tuple[str, ...]:
        return () if self._frame is None else (self.name,)

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        if self._frame is not None:
            raise SinkError(
                f"{self.name} takes one picture, and frame {result.frame_index} came after frame {self._frame}; write "
                "to a folder (out/) or a video, or run one frame (--frames 1)"
            )
        image = self._checked(image)
        _expect_other_file(self._path, result)
        write_atomic(self._path, _encode(image, self._path.suffix.lower(), self.name))
        self._frame = result.frame_index

    def close(self) -> None:
        """Nothing is left open."""
        if self._frame is None:
            _log.warning("%s: no frame came, so there is no picture", self.name)

    def abort(self) -> None:
        """Nothing is half-written."""


class FolderSink(Sink):
    """Writes annotated frames; each file appears whole.

    Still images keep their names: ``a/photo.jpg`` becomes ``photo.jpg``, in their own format where it can be written
    and else as JPEG. Of two images of one name the second is ``b-photo.jpg`` after its folder. Other frames are
    ``frame_000000.jpg`` and so on, by the frame's index. `abort` leaves the frames that are complete.

    Args:
        folder: place of the pictures, made when missing; its parent must exist.
        image_format: "jpg" or "png" for all; None for that of each image, and JPEG for other frames.
        overwrite: replaces files that this program did not write.

    Raises:
        SinkError: the folder cannot be made or written, or the format is unknown.
    """

    needs_image = True
    kind = "frames"

    def __init__(self, folder: Path, image_format: str | None = None, overwrite: bool = True):
        self.name = str(folder)
        if image_format not in (None, *IMAGE_FORMATS):
            raise SinkError(f"{self.name}: unknown image format {image_format!r}; accepted: {', '.join(IMAGE_FORMATS)}")
        self._folder = folder
        self._suffix = None if image_format is None else f".{image_format}"
        self._overwrite = overwrite
        self._written: dict[str, str] = {}  # file written -> file read
        if not folder.exists():
            check_folder(folder.parent)
            folder.mkdir(exist_ok=True)
        check_folder(folder)
        old = sum(1 for _ in folder.glob(f"frame_[0-9]*{self._suffix or '.jpg'}"))
        if old:
            told = "%s holds %d %s of an earlier run; those of the same number are replaced"
            _log.warning(told, folder, old, self.kind)

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        image = self._checked(image)
        path = self._place(result)
        write_atomic(path, _encode(image, path.suffix.lower(), self.name))

    def close(self) -> None:
        """Nothing is left open."""

    def abort(self) -> None:
        """Nothing is half-written."""

    def _place(self, result: Result) -> Path:
        path = resolve_links(self._folder / self._name(result))
        check_replaceable(path, self._overwrite)
        _expect_other_file(path, result)
        return path

    def _name(self, result: Result) -> str:
        if not result.file:
            return f"frame_{result.frame_index:06d}{self._suffix or '.jpg'}"
        read = Path(result.file)
        suffix = self._suffix or (read.suffix if read.suffix.lower() in PICTURE_SUFFIXES else ".jpg")
        beside = read.name if suffix != read.suffix else f"{read.parent.name}-{read.stem}"
        for stem in (read.stem, beside, f"{read.parent.name}-{read.name}"):
            if self._written.setdefault(f"{stem}{suffix}", result.file) == result.file:
                return f"{stem}{suffix}"
        return f"{result.frame_index:06d}-{read.stem}{suffix}"


class LabelsSink(FolderSink):
    """Writes label maps, 8-bit grey .png of the frames' size in which a pixel is the number of its class; named as
    `FolderSink` names pictures.

    Args:
        folder, overwrite: see `FolderSink`.
    """

    needs_image = False
    kind = "label maps"

    def __init__(self, folder: Path, overwrite: bool = True):
        super().__init__(folder, "png", overwrite)

    def write(self, result: Result, image: np.ndarray | None = None) -> None:
        result.save(self._place(result))


def _expect_other_file(path: Path, result: Result) -> None:
    """Raises SinkError when the picture would take the place of the image that it was made from."""
    if result.file and path.exists() and path.samefile(result.file):
        raise SinkError(f"{str(path)!r} is the image that is read; write to another folder or file")


def _encode(image: np.ndarray, suffix: str, name: str) -> bytes:
    try:
        done, data = cv2.imencode(suffix, image, list(PICTURE_SUFFIXES[suffix]))
    except cv2.error as error:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise SinkError(f"OpenCV cannot encode a picture of {size} as {suffix[1:]} for {name}: {error.err}") from error
    if not done:
        raise SinkError(f"OpenCV cannot encode a picture as {suffix[1:]} for {name}; choose .png or .jpg")
    return bytes(data)
