"""Still images from files, whole or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from ..errors import ImageError

_JPEG, _PNG, _PNG_END = b"\xff\xd8", b"\x89PNG", b"IEND"
_JPEG_END = 0xD9
#: Formats that keep 16 bits as they are written: PNG, TIFF, and the binary kinds of PNM.
_DEEP = (_PNG, b"II*\0", b"MM\0*", b"P5", b"P6")
_TWELVE_BITS = 2**12
#: Where a scan's data ends: at any marker but the zero of an escaped byte and the restarts.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def read_image(path: str | Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Decodes an image file.

    OpenCV decodes a truncated JPEG or PNG as far as it goes and fills the rest with grey; here that is an error. Of 16
    bits it keeps the upper eight. Where all values are below 4096 they are a camera's 12 bits, and the upper eight of
    those are kept.

    Args:
        path: the file.
        flags: flags of `cv2.imdecode`.

    Returns:
        The image as OpenCV gives it: (H, W, 3) uint8 BGR by default.

    Raises:
        ImageError: missing, truncated, or no image; the message is a sentence without the path.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"it cannot be read ({error.strerror})") from error
    return decode_image(data, flags)


def decode_image(data: bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Decodes what an image file holds; see `read_image`.

    Raises:
        ImageError: truncated, or no image; the message is a sentence.
    """
    if is_truncated(data):
        raise ImageError(f"it is truncated after {len(data)} bytes")
    try:
        image = _decoded(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:  # such as sizes that its header claims
        raise ImageError(f"it does not decode ({error.err})") from error
    if image is None:
        raise ImageError(f"its {len(data)} bytes do not decode as an image")
    return np.asarray(image)


def _decoded(data: np.ndarray, flags: int) -> np.ndarray | None:
    image: np.ndarray | None
    if flags == cv2.IMREAD_COLOR and data[:4].tobytes().startswith(_DEEP):
        image = cv2.imdecode(data, flags | cv2.IMREAD_ANYDEPTH)
        if image is None or image.dtype == np.uint8:
            return image
        if image.dtype == np.uint16 and image.max() < _TWELVE_BITS:  # its upper byte alone would be nearly black
            twelve: np.ndarray = (image >> 4).astype(np.uint8)
            return twelve
    image = cv2.imdecode(data, flags)
    return image


def is_truncated(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end; other formats are taken for whole.

    A JPEG's end mark may stand in a thumbnail at its beginning, too, and anything may follow it, such as the video of a
    motion photo: its segments are walked through.
    """
    if data.startswith(_JPEG):
        return not _jpeg_ends(data)
    return data.startswith(_PNG) and data.rfind(_PNG_END) < 0


def _jpeg_ends(data: bytes) -> bool:
    """Whether the segments of a JPEG lead to its end mark."""
    at = len(_JPEG)
    while marker := _JPEG_MARKER.search(data, at):
        kind, at = marker[0][-1], marker.end()
        if kind == _JPEG_END:
            return True
        at += int.from_bytes(data[at : at + 2], "big")  # of a segment; a scan's header is one, its data follow
    return False
